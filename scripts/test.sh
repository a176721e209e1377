#!/usr/bin/env bash
# Every test of the workspace; keeps what they print, so that the results can be shown again at the end of all steps.
set -euo pipefail
cd "$(dirname "$0")/.."

log="${CARGO_TARGET_DIR:-target}/test.log"
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"
