#!/usr/bin/env bash
# Runs every fuzz target for some seconds (FUZZ_SECONDS, default 20). A crash fails the step; its input is kept in
# fuzz/artifacts. Longer runs: FUZZ_SECONDS=3600 make fuzz
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-20}
PATH="$(realpath "${CARGO_TARGET_DIR:-target}")/tools/bin:$PATH"
# Without a sanitizer, because those need a nightly compiler; the targets check properties, and our crates forbid
# unsafe code.
options=(--sanitizer none --fuzz-dir fuzz)
targets=$(cargo fuzz list --fuzz-dir fuzz)
[ -n "$targets" ] || { echo "there are no fuzz targets" >&2; exit 1; }
cargo fuzz build "${options[@]}"
for target in $targets; do
    echo "--- $target, ${seconds}s"
    cargo fuzz run "${options[@]}" "$target" -- -max_total_time="$seconds" -rss_limit_mb=2048 -print_final_stats=0 \
        -verbosity=0
done
