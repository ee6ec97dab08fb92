#!/bin/bash
# Runs every fuzz target of a build for some seconds, several at a time. Usage: fuzz-all.sh BUILD SECONDS JOBS
set -u
build=$1 seconds=$2 jobs=$3
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_one() {
    target=$1 name=$(basename "$1")
    corpus="$work/$name" log="$work/$name.log"
    mkdir -p "$corpus"
    seeds="$here/fuzz/corpus/${name#fuzz_}"
    [ -d "$seeds" ] || seeds=
    case ${name#fuzz_} in
    head | response | rewrite | chunked | conn) words=http ;;
    *) words=${name#fuzz_} ;;
    esac
    dictionary=
    [ ! -f "$here/fuzz/$words.dict" ] || dictionary=-dict=$here/fuzz/$words.dict
    ASAN_OPTIONS=detect_leaks=1 "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="$work/$name-" -print_final_stats=1 $dictionary "$corpus" $seeds >"$log" 2>&1
    status=$?
    if [ $status -eq 0 ]; then
        echo "ok   $name $(grep -o 'stat::number_of_executed_units: *[0-9]*' "$log" | grep -o '[0-9]*$') inputs"
    else
        echo "FAIL $name"
        tail -n 60 "$log"
        for artifact in "$work/$name"-*; do [ -f "$artifact" ] && base64 "$artifact" | head -n 40; done
    fi
    return $status
}

targets=$(find "$build/tests/fuzz" -maxdepth 1 -type f -name 'fuzz_*' -executable | sort)
[ -n "$targets" ] || { echo "no fuzz targets in $build"; exit 1; }
failed=0 running=0
for target in $targets; do
    run_one "$target" &
    running=$((running + 1))
    if [ $running -ge "$jobs" ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
done
while [ $running -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit $failed
