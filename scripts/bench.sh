#!/usr/bin/env bash
# Installs the rivals, builds what is measured, and runs the scenarios. Arguments go to `sallyport-bench run`.
set -euo pipefail
cd "$(dirname "$0")/.."

./scripts/setup.sh bench
echo "Building; the first time takes some minutes."
cargo build --quiet --locked --release -p sallyport -p sallyport-bench -p sallyport-ws-bridge --bins --example bare_pingora
exec "${CARGO_TARGET_DIR:-target}/release/sallyport-bench" run "$@"
