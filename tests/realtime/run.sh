#!/usr/bin/env bash
# The stories of the real-time bridge: a real Kafka, a running edge, the official SDK, independent producers.
#
#   tests/realtime/run.sh                      all stories
#   tests/realtime/run.sh recovery sse         those of these files
#   tests/realtime/run.sh -- COMMAND...        any command in the environment that stories get
#
# Built and installed by what scripts/setup.sh realtime put there. SALLYPORT may name another program than target/debug's.
set -euo pipefail
cd "$(dirname "$0")/../.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
here=$PWD/tests/realtime
kafka=deploy/kafka/kafka.sh
export PYTHON=${PYTHON:-$target/venv/bin/python} PYTHONDONTWRITEBYTECODE=1
# How long the edge may take to be ready, or to stop. Only turns a hang into a failure.
patience_seconds=30

fail() {
    echo "stories: $*" >&2
    exit 1
}

"$PYTHON" -c 'import confluent_kafka' 2>/dev/null || fail "confluent-kafka is missing; run scripts/setup.sh realtime"
[ -d "$here/node_modules/centrifuge" ] || fail "the SDK is missing; run scripts/setup.sh realtime"
if [ -z "${SALLYPORT:-}" ]; then
    cargo build --quiet --locked -p sallyport
    SALLYPORT=$target/debug/sallyport
fi

folder=$(mktemp -d -t sallyport-realtime-XXXXXX)
edge=
finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ -n "$edge" ] && kill -TERM "$edge" 2>/dev/null; then
        local deadline=$((SECONDS + patience_seconds))
        while kill -0 "$edge" 2>/dev/null; do
            if [ $SECONDS -ge $deadline ]; then
                echo "stories: the edge did not stop within $patience_seconds s" >&2
                kill -KILL "$edge"
                status=1
            fi
            sleep 0.05
        done
    fi
    "$kafka" stop "$folder/kafka" || status=1
    if [ $status -ne 0 ] && [ -n "${KEEP:-}" ]; then
        echo "stories: logs are in $folder" >&2
    else
        rm -rf "$folder"
    fi
    exit $status
}
trap finish EXIT INT TERM

SALLYPORT_KAFKA=$("$kafka" start "$folder/kafka")
"$PYTHON" "$here/topics.py" "$SALLYPORT_KAFKA" "${STORIES_TOPICS:-$here/topics.txt}"

SALLYPORT_SECRET=$(head -c 32 /dev/urandom | base64 | tr -d '\n')
printf %s "$SALLYPORT_SECRET" >"$folder/secret.txt"
sed "s|KAFKA|$SALLYPORT_KAFKA|" "${STORIES_ROUTES:-$here/routes.yaml}" >"$folder/routes.yaml"
"$SALLYPORT" run "$folder/routes.yaml" --ready-file "$folder/ready.json" </dev/null >"$folder/edge.log" 2>&1 &
edge=$!
deadline=$((SECONDS + patience_seconds))
until address=$("$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["listeners"]["plain"])' \
    "$folder/ready.json" 2>/dev/null); do
    kill -0 "$edge" 2>/dev/null || { cat "$folder/edge.log" >&2; fail "the edge ended before it was ready"; }
    [ $SECONDS -lt $deadline ] || fail "the edge was not ready after $patience_seconds s"
    sleep 0.05
done

export SALLYPORT_KAFKA SALLYPORT_SECRET SALLYPORT_KAFKA_FOLDER="$folder/kafka"
export SALLYPORT_URL="ws://$address/connection/websocket" SALLYPORT_SSE_URL="http://$address/connection/sse"

if [ "${1:-}" = -- ]; then
    shift
    "$@"
    exit
fi
# One file after the other: the stories of broker.test.mjs stop the broker.
names=("$@")
[ $# -gt 0 ] || names=(connect visibility commands expiry recovery sse browser broker)
failed=()
for name in "${names[@]}"; do
    file=$here/$name.test.mjs
    [ -f "$file" ] || fail "there is no $file"
    node --test --test-reporter=spec "$file" || failed+=("$name")
done
[ ${#failed[@]} -eq 0 ] || fail "failed: ${failed[*]}"
echo "stories: all of ${names[*]} hold"
