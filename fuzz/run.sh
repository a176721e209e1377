#!/bin/sh
# Runs every fuzz target for so many seconds and fails on the first crash.
#
#   fuzz/run.sh SECONDS [TARGET...]
#
# Needs no nightly toolchain and no cargo-fuzz: libFuzzer is compiled by libfuzzer-sys, and the coverage it is steered by
# comes from options that the stable compiler has. There are no sanitizers; the code forbids `unsafe`.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 SECONDS [TARGET...]" >&2
    exit 2
fi
seconds=$1
shift
targets=${*:-"path head answer json_splice managed mapping router routes_yaml websocket"}

cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target, build scripts and procedural macros are compiled without these flags.
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares \
-Cllvm-args=-simplifycfg-branch-fold-threshold=0"
export RUSTFLAGS

# OpenSSL comes with the Kafka client of the bridge, takes minutes to build and is not what is fuzzed: that of an ordinary
# build does, if there was one. Both crates that look for it are told where it is.
openssl=$(ls -td "${CARGO_TARGET_DIR:-../target}"/*/build/openssl-sys-*/out/openssl-build/install 2>/dev/null | head -n 1)
if [ -n "$openssl" ]; then
    openssl=$(realpath "$openssl")
    export OPENSSL_NO_VENDOR=1 OPENSSL_STATIC=1 OPENSSL_DIR="$openssl" DEP_OPENSSL_ROOT="$openssl"
fi
cargo build --release --locked --target "$host" --bins

built=${CARGO_TARGET_DIR:-target}/$host/release
for target in $targets; do
    mkdir -p "corpus/$target" "artifacts/$target"
    echo "fuzzing $target for $seconds s"
    # A single input may take 5 seconds and 1 GiB; more is a finding too.
    "$built/$target" "corpus/$target" "seeds/$target" \
        -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096 -print_final_stats=0 -print_funcs=0 -verbosity=0 \
        -artifact_prefix="artifacts/$target/"
done
echo "no crash"
