#!/usr/bin/env bash
# What of `make test` this machine cannot run. In continuous integration that is a failure; elsewhere it is said loudly, there
# and once more at the end.
#   scripts/not-run.sh NOTE    fails where CI is `true`, else prints the note and keeps it
#   scripts/not-run.sh         prints the notes that were kept, and forgets them
set -euo pipefail
cd "$(dirname "$0")/.."

kept="${CARGO_TARGET_DIR:-target}/not-run.txt"

loudly() {
    local line='********************************************************************************'
    printf '\n%s\n  NOT RUN, NOT PASSED:\n' "$line"
    sed 's/^/  - /'
    printf '%s\n\n' "$line"
}

if [ $# -gt 0 ]; then
    if [ "${CI:-}" = true ]; then
        echo "In continuous integration this must run: $1" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$kept")"
    echo "$1" >>"$kept"
    loudly <<<"$1" >&2
elif [ -s "$kept" ]; then
    sort -u "$kept" | loudly >&2
    rm -f "$kept"
fi
