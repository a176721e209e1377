#!/usr/bin/env bash
# Real clients against a running edge: builds the program and runs stories.py in the environment of scripts/setup.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath "${CARGO_TARGET_DIR:-target}")
cargo build --quiet --locked -p sallyport
export SALLYPORT="$target/debug/sallyport" PYTHONDONTWRITEBYTECODE=1
exec "$target/venv/bin/python" tests/clients/stories.py
