#!/bin/sh
# Wrapper for sanitizer runs of Criterion tests. Criterion runs each test in a child and reports a child that the
# sanitizer ended, or that leaked, as passed; so the sanitizer writes files, and a file fails the run.
# san-gate-check.sh proves that it does.
logs=$(mktemp -d)
ASAN_OPTIONS="log_path=$logs/san:exitcode=99:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
UBSAN_OPTIONS="log_path=$logs/san:print_stacktrace=1:halt_on_error=1"
export ASAN_OPTIONS UBSAN_OPTIONS
"$@"
status=$?
"$(dirname "$0")/san-logs.sh" "$logs" || status=1
rm -rf "$logs"
exit $status
