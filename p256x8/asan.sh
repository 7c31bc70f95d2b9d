#!/usr/bin/env bash
# Runs the crate's tests under the address sanitizer:
#
#   p256x8/asan.sh [arguments of cargo test, up to its --]
#
# About 13 minutes of one processor from cold: too long for `make test`.
#
# Stable Rust has the sanitizer's runtime, but keeps the flag for nightly; RUSTC_BOOTSTRAP lets this one build use it.
# With --target the flags do not reach build scripts. Instrumented is all that cargo compiles for these tests, aws-lc-rs among it;
# not the standard library, and not the C code of aws-lc, which a build script compiles.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
# What lives as long as the program is not a leak.
export ASAN_OPTIONS="detect_leaks=0"
# valgrind (`masked`) does not run programs of the sanitizer.
exec cargo test --package p256x8 --target "$host" --lib --tests "$@" -- --skip masked::
