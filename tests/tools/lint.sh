#!/bin/bash
# What a tool can see of the style guide: arrows between folders, banned calls, header guards, headers that compile
# alone, globals, exported prefixes, format. Prints every finding; fails when there is one.
set -u
cd "$(dirname "$0")/../.."
status=0
bad() { printf '%s\n' "$1"; status=1; }
sources=$(git ls-files 'proxy/*.[ch]' 'acl/*.[ch]' 'conf/*.[ch]')

# Arrows. A folder may include itself and what stands before it.
order="proxy/base acl conf proxy/loop proxy/report proxy/net proxy/http proxy/dns proxy/flow proxy/daemon"
rank() { i=0; for f in $order; do i=$((i + 1)); [ "$f" = "$1" ] && { echo $i; return; }; done; echo 0; }
while IFS=: read -r file line include; do
    from=$(dirname "$file") to=$(dirname "$include")
    [ "$file" = proxy/main.c ] && continue
    a=$(rank "$from") b=$(rank "$to")
    [ "$b" -gt 0 ] || { bad "$file:$line: include \"$include\" is not written from the root"; continue; }
    [ "$b" -le "$a" ] || bad "$file:$line: the arrow from $from to $to points the wrong way"
    [ "$from" = proxy/dns ] && [ "$to" = proxy/http ] && bad "$file:$line: dns does not use http"
done < <(grep -nE '^#include "' $sources | sed -E 's/^([^:]+):([0-9]+):#include "([^"]+)".*/\1:\2:\3/')

# Banned calls and headers.
while IFS= read -r hit; do bad "$hit: banned"; done < <(grep -nE \
    '(^|[^_[:alnum:]])(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|getaddrinfo|inet_addr|inet_aton|alloca|rand|localtime|gets|usleep|sleep)[[:space:]]*\(|event2/(dns|http)[.a-z_]*\.h|bufferevent' \
    $sources)
while IFS= read -r hit; do bad "$hit: only main.c exits"; done < <(grep -nE '(^|[^_[:alnum:]])exit[[:space:]]*\(' $sources |
    grep -v '^proxy/main.c:' | grep -vE 'at_exit|^[^:]*schema_doc')
while IFS= read -r hit; do bad "$hit: say it with an issue number, or do it"; done < <(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $sources)
while IFS= read -r hit; do bad "$hit: no typedef for structs or enums"; done < <(grep -nE '^typedef (struct|enum|union)' $sources)

# Guards, and each header alone.
for header in $(printf '%s\n' $sources | grep '\.h$'); do
    guard=$(printf '%s' "$header" | tr 'a-z/.' 'A-Z__')
    grep -q "^#ifndef $guard\$" "$header" || bad "$header: the guard is not $guard"
    gcc -std=gnu11 -D_GNU_SOURCE -I. -Wall -Wextra -Wno-unused-parameter -fsyntax-only -x c "$header" 2>/tmp/lint.$$ ||
        { bad "$header: does not compile alone"; cat /tmp/lint.$$; }
done
rm -f /tmp/lint.$$

# Writable data outside the allow-list.
build=${UKAI_BUILD:-build-check}
if [ -f "$build/build.ninja" ]; then
    while read -r object symbol; do
        case "$object:$symbol" in
        *base*log.c.o:*) ;;
        *) bad "$object: global variable $symbol" ;;
        esac
    done < <(find "$build/proxy" "$build/acl" "$build/conf" -name '*.c.o' 2>/dev/null | while read -r object; do
        # .data.rel.ro holds constants with pointers in them
        objdump -t "$object" | awk -v object="$object" '/ O / && / (\.data|\.bss)(\.[a-z_0-9]*)?\t/ && !/\.data\.rel\.ro/ {print object, $NF}'
    done | grep -vE '__asan|__odr|completed|\.str')
fi

# Format.
if command -v clang-format >/dev/null; then
    for file in $sources; do
        clang-format --dry-run -Werror "$file" 2>/dev/null || bad "$file: not formatted, run \`make fmt\`"
    done
fi

# Manual pages.
for page in doc/*.8 doc/*.5; do
    [ -f "$page" ] || continue
    mandoc -T lint -W warning "$page" || bad "$page: mandoc warns"
done
exit $status
