#!/bin/sh
# Something small to send: the program as one file, and the test that is to run on the board.
set -eu
cd "$(dirname "$0")"
rm -rf build
mkdir build
"${PYTHON:-python3}" -m zipapp digits --output build/digits.pyz
cp check.sh build/
