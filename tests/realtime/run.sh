#!/usr/bin/env bash
# The stories of the real-time bridge: a real Kafka, a running edge, the official SDK, independent producers.
#
#   tests/realtime/run.sh                      all stories
#   tests/realtime/run.sh recovery sse         those of these files
#   tests/realtime/run.sh -- COMMAND...        any command in the environment that stories get
#   BRIDGE=separate tests/realtime/run.sh      with sallyport-ws-bridge as a process of its own behind the edge
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
    cargo build --quiet --locked -p sallyport -p sallyport-ws-bridge --bins
    SALLYPORT=$target/debug/sallyport
fi
export SALLYPORT
BRIDGE_PROGRAM=${BRIDGE_PROGRAM:-$(dirname "$SALLYPORT")/sallyport-ws-bridge}

folder=$(mktemp -d -t sallyport-realtime-XXXXXX)
programs=()
finish() {
    local status=$? program
    trap - EXIT INT TERM
    for program in "${programs[@]}"; do
        kill -TERM "$program" 2>/dev/null || continue
        local deadline=$((SECONDS + patience_seconds))
        while kill -0 "$program" 2>/dev/null; do
            if [ $SECONDS -ge $deadline ]; then
                echo "stories: a program did not stop within $patience_seconds s" >&2
                kill -KILL "$program"
                status=1
            fi
            sleep 0.05
        done
    done
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
if [ "${BRIDGE:-embedded}" = separate ]; then
    sed -i 's|^ws_bridge:$|ws_bridge:\n  socket: bridge.sock|' "$folder/routes.yaml"
    "$BRIDGE_PROGRAM" "$folder/routes.yaml" </dev/null >"$folder/bridge.log" 2>&1 &
    programs+=($!)
    deadline=$((SECONDS + patience_seconds))
    until [ -S "$folder/bridge.sock" ]; do
        kill -0 "${programs[0]}" 2>/dev/null || { cat "$folder/bridge.log" >&2; fail "the bridge ended before it was ready"; }
        [ $SECONDS -lt $deadline ] || fail "the bridge was not ready after $patience_seconds s"
        sleep 0.05
    done
fi
"$SALLYPORT" run "$folder/routes.yaml" --ready-file "$folder/ready.json" </dev/null >"$folder/edge.log" 2>&1 &
edge=$!
programs+=("$edge")
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
