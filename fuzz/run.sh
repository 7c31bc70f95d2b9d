#!/usr/bin/env bash
# Builds a fuzz target with stable Rust and runs it:
#
#   fuzz/run.sh csr -max_total_time=60
#
# It starts from fuzz/seeds and keeps what it learns in fuzz/corpus. Arguments after the target go
# to libFuzzer. `cargo fuzz run csr` does the same with nightly Rust
# and the address sanitizer. Findings are written to fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")"

if [ $# -eq 0 ]; then
    echo "usage: fuzz/run.sh csr|certificate|note|receipt|bundle [libFuzzer arguments]" >&2
    exit 2
fi
target=$1
shift

host=$(rustc -vV | sed -n 's/^host: //p')
# Coverage counters, as cargo-fuzz sets them. With --target the flags do not reach build scripts.
export RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --release --target "$host" --bin "$target"

mkdir -p "corpus/$target" "artifacts/$target"
exec "${CARGO_TARGET_DIR:-target}/$host/release/$target" \
    "-artifact_prefix=artifacts/$target/" "$@" "corpus/$target" "seeds/$target"
