#!/bin/sh
# Build, send to a free board, test there, bring the results back, as one command:
#     examples/one_command.sh 'model:pi5'
set -eu
cd "$(dirname "$0")"
./build.sh
picluster run --on "${1:-name:*}" --copy build/ --fetch 'results/*' --out out --junit out/junit.xml -- ./check.sh
