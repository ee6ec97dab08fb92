#!/bin/sh
# Proves that the sanitizer gate gates: a test that leaks, one that overflows and one that reads freed memory must each
# fail under it although Criterion calls them passed, and a clean one must pass.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build() { # NAME BODY
    cat >"$work/$1.c" <<C
#include <criterion/criterion.h>
#include <limits.h>
#include <stdlib.h>
void *volatile place;
volatile int number = INT_MAX;
Test(gate, $1) { $2 }
C
    gcc -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all "$work/$1.c" -o "$work/$1" -lcriterion
}
build clean 'cr_expect(1);'
build leak 'place = malloc(33); place = NULL;'
build overflow 'number = number + 1;'
build freed 'char *p = malloc(8); place = p; free(p); number = ((char *)place)[1];'

"$here/san-gate.sh" "$work/clean" >/dev/null 2>&1 || { echo "the gate fails a clean test" >&2; exit 1; }
for bad in leak overflow freed; do
    if "$here/san-gate.sh" "$work/$bad" >/dev/null 2>&1; then
        echo "the gate lets a test with '$bad' pass" >&2
        exit 1
    fi
done
echo "the sanitizer gate gates"
