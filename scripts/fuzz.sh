#!/usr/bin/env bash
# Runs every fuzz target for some seconds (FUZZ_SECONDS, default 20). A crash fails the step; its input is kept in
# fuzz/artifacts. Longer runs: FUZZ_SECONDS=3600 make fuzz
set -euo pipefail
cd "$(dirname "$0")/.."
exec fuzz/run.sh "${FUZZ_SECONDS:-20}"
