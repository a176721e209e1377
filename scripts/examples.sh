#!/usr/bin/env bash
# `sallyport check` on the routes.yaml of the demo and on every example.
set -euo pipefail
cd "$(dirname "$0")/.."

sallyport="${CARGO_TARGET_DIR:-target}/debug/sallyport"
cargo build --quiet --locked -p sallyport
shopt -s nullglob
files=(routes.yaml examples/*.yaml examples/*/routes.yaml)
[ ${#files[@]} -gt 1 ] || { echo "no examples were found" >&2; exit 1; }
for file in "${files[@]}"; do
    "$sallyport" check "$file"
done
echo "${#files[@]} files are good"
