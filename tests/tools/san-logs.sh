#!/bin/sh
# Fails, and shows them, when a sanitizer wrote anything into the directory.
status=0
for log in "$1"/*; do
    [ -s "$log" ] || continue
    status=1
    head -n 60 "$log" >&2
done
exit $status
