#!/bin/sh
# ukai beside its peers and a floor, in a network namespace without a way out. Needs root.
# Usage: tests/bench/run.sh [--quick] [BUILD [options of run.py]]
set -eu
cd "$(dirname "$0")/../.."

quick=
[ "${1:-}" != --quick ] || { quick=--quick; shift; }
build=${1:-build}
[ $# -eq 0 ] || shift

[ "$(id -u)" -eq 0 ] || { echo "$0: needs root for its network namespace" >&2; exit 1; }
[ -n "$quick" ] || contrib/packages bench
[ -f "$build/build.ninja" ] || meson setup "$build"
ninja -C "$build" ukai tests/bench/bench_loadgen tests/bench/bench_floor
exec unshare --net python3 tests/bench/run.py --build "$build" $quick "$@"
