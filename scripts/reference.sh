#!/usr/bin/env bash
# The reference of routes.yaml, made from the types that read the file.
#   scripts/reference.sh            writes docs/reference.md
#   scripts/reference.sh --check    fails if docs/reference.md says something else than the types
set -euo pipefail
cd "$(dirname "$0")/.."

reference=docs/reference.md
sallyport="${CARGO_TARGET_DIR:-target}/debug/sallyport"
cargo build --quiet --locked -p sallyport

case "${1:-}" in
    "")
        "$sallyport" schema --markdown >"$reference.new"
        mv "$reference.new" "$reference"
        ;;
    --check)
        if ! "$sallyport" schema --markdown | diff -u --label "$reference" --label "the types" "$reference" -; then
            echo "$reference does not say what the types say; run scripts/reference.sh and commit what it writes" >&2
            exit 1
        fi
        echo "$reference is up to date"
        ;;
    *)
        echo "usage: scripts/reference.sh [--check]" >&2
        exit 2
        ;;
esac
