#!/usr/bin/env bash
# Every test of the workspace, with a Kafka broker for those that need a real one; keeps what they print, so that the
# results can be shown again at the end of all steps. SALLYPORT_TEST_KAFKA=host:port takes a broker that runs already.
set -euo pipefail
cd "$(dirname "$0")/.."

log="${CARGO_TARGET_DIR:-target}/test.log"
kafka=deploy/kafka/kafka.sh
folder=$(mktemp -d -t sallyport-test-XXXXXX)
finish() {
    local status=$?
    trap - EXIT INT TERM
    "$kafka" stop "$folder/kafka" || status=1
    rm -rf "$folder"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# First, so that the broker does not wait for the compiler.
cargo test --workspace --locked --no-run

if [ -z "${SALLYPORT_TEST_KAFKA:-}" ]; then
    if SALLYPORT_TEST_KAFKA=$("$kafka" start "$folder/kafka"); then
        export SALLYPORT_TEST_KAFKA
    else
        scripts/not-run.sh "tests against a real Kafka (kafka/tests, aggregator/tests/killed): no broker could be started, see above"
        unset SALLYPORT_TEST_KAFKA
    fi
fi
cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"
