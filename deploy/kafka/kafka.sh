#!/usr/bin/env bash
# A real Apache Kafka broker on loopback, for tests: one process in KRaft mode, without ZooKeeper or containers.
#
#   kafka.sh install                            fetches Kafka from Maven's repository, once, into target/kafka
#   kafka.sh start FOLDER [--port N]            starts a broker that keeps all it has in FOLDER; prints its address.
#                                               In a folder that was used before: the same data, the same address.
#   kafka.sh stop FOLDER                        ends it in order
#   kafka.sh kill FOLDER                        ends it without warning
#   kafka.sh pause FOLDER, resume FOLDER        holds it, so that connections stay open and nothing is answered
#   kafka.sh topic ADDRESS create NAME [--partitions N] [--config KEY=VALUE]...
#   kafka.sh topic ADDRESS alter NAME [--partitions N] [--config KEY=VALUE]...
#   kafka.sh topic ADDRESS delete NAME          returns when the topic is gone
#   kafka.sh topic ADDRESS list
#
# It ends no process but the broker that it started in FOLDER.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-$HERE/../../target}")
LIBS="$TARGET/kafka/libs"
# How long a broker may take to start or to end. Only turns a hang into a failure.
PATIENCE_SECONDS=60
# Start fast rather than run fast: the first compiler only, and classes from the JVM's own archive.
JAVA=(java -Xshare:auto -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)

fail() {
    printf 'kafka: %s\n' "$@" >&2
    exit 1
}

usage() {
    sed -n '/^#   kafka.sh/,/^# It ends/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2
    exit 2
}

# What was fetched by this very pom.xml is complete; anything else is fetched again.
install() {
    command -v java >/dev/null || fail "there is no java. On Debian: apt-get install openjdk-17-jre-headless"
    cmp -s "$HERE/pom.xml" "$LIBS/pom.xml" && return
    command -v mvn >/dev/null || fail "there is no mvn to fetch Kafka with. On Debian: apt-get install maven"
    rm -rf "$LIBS"
    echo "kafka: fetching Kafka into $LIBS, once" >&2
    mvn -q -B -f "$HERE/pom.xml" -C dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$LIBS" >&2 ||
        fail "Maven could not fetch Kafka, see above"
    cp "$HERE/pom.xml" "$LIBS/pom.xml"
}

# tool CLASS ARGUMENT...: one of Kafka's own programs, quiet but for its errors.
tool() {
    "${JAVA[@]}" -Xmx128m -Dkafka.logs=error -Dlog4j2.configurationFile="$HERE/log4j2.properties" -cp "$LIBS/*" "$@"
}

# A port that nobody listens on, below those that outgoing connections are given.
free_port() {
    local port
    while true; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    done
    echo "$port"
}

# Writes the settings and formats the storage of a new broker.
format() {
    local port=$1 controller id
    controller=$(free_port)
    while [ "$controller" = "$port" ]; do controller=$(free_port); done
    sed -e "s|@PORT@|$port|g; s|@CONTROLLER@|$controller|g; s|@FOLDER@|$FOLDER|g" "$HERE/server.properties" \
        >"$FOLDER/server.properties"
    # Kafka's form of a UUID; it must not begin with a dash.
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | sed 's/^-/A/; s/=*$//')
    tool kafka.tools.StorageTool format --standalone --cluster-id "$id" --config "$FOLDER/server.properties" \
        >"$FOLDER/format.log" 2>&1 || fail "the storage could not be formatted:" "$(cat "$FOLDER/format.log")"
    # Last, so that a folder with an address is whole.
    echo "127.0.0.1:$port" >"$FOLDER/address"
}

# Whether the process that was started here still runs; a number that went to another process does not count.
running() {
    [ -f "$FOLDER/pid" ] || return 1
    PID=$(cat "$FOLDER/pid")
    tr '\0' '\n' 2>/dev/null <"/proc/$PID/cmdline" | grep -Fxq "$FOLDER/server.properties"
}

start() {
    install
    local port=${1:-}
    mkdir -p "$FOLDER"
    FOLDER=$(realpath "$FOLDER")
    if running; then fail "a broker runs in $FOLDER already, as process $PID"; fi
    [ -f "$FOLDER/address" ] || format "${port:-$(free_port)}"
    if [ -n "$port" ] && [ "127.0.0.1:$port" != "$(cat "$FOLDER/address")" ]; then
        fail "the broker in $FOLDER was made for $(cat "$FOLDER/address") and keeps it"
    fi
    # Here and now, so that what an earlier run wrote is not taken for this one's.
    : >"$FOLDER/broker.log"
    # A session of its own: it outlives the script, and a terminal's Ctrl-C is not for it.
    setsid "${JAVA[@]}" -Xmx512m -Dlog4j2.configurationFile="$HERE/log4j2.properties" -cp "$LIBS/*" \
        kafka.Kafka "$FOLDER/server.properties" </dev/null >>"$FOLDER/broker.log" 2>&1 &
    echo $! >"$FOLDER/pid"
    local deadline=$((SECONDS + PATIENCE_SECONDS))
    until grep -q 'Kafka Server started' "$FOLDER/broker.log"; do
        kill -0 $! 2>/dev/null || fail "the broker ended at once:" "$(tail -n 20 "$FOLDER/broker.log")"
        [ $SECONDS -lt $deadline ] || fail "the broker was not ready after ${PATIENCE_SECONDS} s, see $FOLDER/broker.log"
        sleep 0.05
    done
    cat "$FOLDER/address"
}

# end SIGNAL: sends it and waits until the process is gone.
end() {
    running || { rm -f "$FOLDER/pid"; return; }
    # A held process could not act on the signal.
    kill -CONT "$PID"
    kill "-$1" "$PID"
    local deadline=$((SECONDS + PATIENCE_SECONDS))
    while running; do
        if [ $SECONDS -ge $deadline ]; then
            kill -KILL "$PID"
            fail "the broker did not end within ${PATIENCE_SECONDS} s and was killed"
        fi
        sleep 0.05
    done
    rm -f "$FOLDER/pid"
}

signal() {
    running || fail "no broker runs in $FOLDER"
    kill "-$1" "$PID"
}

topic() {
    local address=${1:-} what=${2:-} name=${3:-} options=() configs=() partitions=
    [ -n "$what" ] || usage
    install
    topics() { tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$address" "$@"; }
    if [ "$what" = list ]; then topics --list; return; fi
    [ -n "$name" ] || usage
    shift 3
    while [ $# -gt 0 ]; do
        case "$1" in
        --partitions) partitions=${2:?} ;;
        --config) configs+=("${2:?}") ;;
        *) usage ;;
        esac
        shift 2
    done
    case "$what" in
    create)
        [ -z "$partitions" ] || options+=(--partitions "$partitions")
        for config in "${configs[@]}"; do options+=(--config "$config"); done
        topics --create --topic "$name" "${options[@]}"
        ;;
    alter)
        [ -z "$partitions" ] || topics --alter --topic "$name" --partitions "$partitions"
        for config in "${configs[@]}"; do
            tool kafka.admin.ConfigCommand --bootstrap-server "$address" --alter --entity-type topics \
                --entity-name "$name" --add-config "$config"
        done
        ;;
    delete)
        topics --delete --topic "$name"
        local deadline=$((SECONDS + PATIENCE_SECONDS))
        while topics --list | grep -Fxq "$name"; do
            [ $SECONDS -lt $deadline ] || fail "the topic $name is still there after ${PATIENCE_SECONDS} s"
        done
        ;;
    *) usage ;;
    esac
}

command=${1:-}
shift || usage
case "$command" in
install) install ;;
topic) topic "$@" ;;
start | stop | kill | pause | resume)
    [ -n "${1:-}" ] || usage
    FOLDER=$(realpath -m "$1")
    case "$command ${2:-}" in
    "start --port") start "${3:?a port}" ;;
    "start ") start ;;
    "stop ") end TERM ;;
    "kill ") end KILL ;;
    "pause ") signal STOP ;;
    "resume ") signal CONT ;;
    *) usage ;;
    esac
    ;;
*) usage ;;
esac
