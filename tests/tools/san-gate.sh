#!/bin/sh
# Wrapper for sanitizer runs of Criterion tests. Criterion runs each test in a child and reports a child that the
# sanitizer ended, or that leaked, as passed; so the sanitizer writes files, and a file fails the run.
logs=$(mktemp -d)
ASAN_OPTIONS="log_path=$logs/san:exitcode=99:detect_leaks=1${ASAN_OPTIONS:+:$ASAN_OPTIONS}"
UBSAN_OPTIONS="log_path=$logs/san:print_stacktrace=1:halt_on_error=1"
LSAN_OPTIONS="suppressions=$(dirname "$0")/lsan.supp:print_suppressions=0"
export ASAN_OPTIONS UBSAN_OPTIONS LSAN_OPTIONS
"$@"
status=$?
"$(dirname "$0")/san-logs.sh" "$logs" || status=1
rm -rf "$logs"
exit $status
