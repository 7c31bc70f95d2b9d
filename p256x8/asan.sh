#!/usr/bin/env bash
# Runs the crate's tests under the address sanitizer:
#
#   p256x8/asan.sh [arguments of cargo test]
#
# Stable Rust has the sanitizer's runtime, but keeps the flag for nightly; RUSTC_BOOTSTRAP lets this one build use it.
# With --target the flags do not reach build scripts.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
# What lives as long as the program is not a leak.
export ASAN_OPTIONS="detect_leaks=0"
exec cargo test --package p256x8 --target "$host" --lib --tests "$@"
