#!/bin/sh
# Runs on the board: computes, compares with what is known, and leaves what it found in results/.
set -eu
mkdir results
python3 digits.pyz 1000 >results/digits.txt
printf '%s  results/digits.txt\n' 295f746faabb8aa916b56fbab05ddd7cfe787d2fff704e4af0f4f898338c38e3 | sha256sum --check
uname -nm >results/where.txt
