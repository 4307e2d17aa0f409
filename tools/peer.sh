#!/bin/sh
# Runs a test of tests/peers with the Python environment that `./dev peers` makes; 77 (skipped) where there is none.
cd "$(dirname "$0")/.." || exit 1
if [ ! -f build/peers/installed.txt ]; then
  echo "skipped: no Python environment in build/peers (./dev peers makes it where PyPI is reached)"
  exit 77
fi
exec build/peers/bin/python "$@"
