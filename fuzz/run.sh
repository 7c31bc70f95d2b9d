#!/usr/bin/env bash
# Builds a fuzz target with stable Rust and runs it:
#
#   fuzz/run.sh csr -max_total_time=60      one target
#   fuzz/run.sh seeds                       more to start from: single faults, others' vectors
#   fuzz/run.sh short                       every target for 10 seconds
#   fuzz/run.sh long [SECONDS]              every target for 10 minutes, or so long
#
# It starts from fuzz/seeds and keeps what it learns in fuzz/corpus. Arguments after the target go
# to libFuzzer. `cargo fuzz run csr` does the same with nightly Rust
# and the address sanitizer. Findings are written to fuzz/artifacts. `short` and `long` print for each target
# how often it ran and what it found, and exit with 1 if it found anything.
set -euo pipefail
cd "$(dirname "$0")"

targets="csr certificate lint profile pem corpus record note receipt bundle spool verify"
# No input that has to be read in a moment may take longer.
limits="-timeout=10 -rss_limit_mb=2048 -max_len=16384"

if [ $# -eq 0 ]; then
    echo "usage: fuzz/run.sh ${targets// /|}|seeds|short|long [libFuzzer arguments]" >&2
    exit 2
fi
what=$1
shift
host=$(rustc -vV | sed -n 's/^host: //p')

# Coverage counters, as cargo-fuzz sets them. With --target the flags do not reach build scripts.
build() {
    RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
        cargo build --release --target "$host" "$@"
}

run() {
    target=$1
    shift
    mkdir -p "corpus/$target" "artifacts/$target" "seeds/$target"
    "${CARGO_TARGET_DIR:-target}/$host/release/$target" \
        "-artifact_prefix=artifacts/$target/" "$@" "corpus/$target" "seeds/$target"
}

# Runs every target for so many seconds and tells what came of it in a line each.
run_all() {
    build --bins
    found=0
    for target in $targets; do
        log=artifacts/$target.log
        mkdir -p artifacts
        status=found-nothing
        # shellcheck disable=SC2086
        if ! run "$target" "-max_total_time=$1" -print_final_stats=1 $limits >"$log" 2>&1; then
            status="failed, see fuzz/$log"
            found=1
        fi
        count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        printf '%-12s %12s executions in %s s, %s\n' "$target" "${count:-0}" "$1" "$status"
    done
    return "$found"
}

case $what in
seeds)
    (cd .. && cargo run --quiet --package birthmark-tests --example fuzz_seeds -- fuzz/corpus)
    ;;
short) run_all 10 ;;
long) run_all "${1:-600}" ;;
*)
    build --bin "$what"
    run "$what" "$@"
    ;;
esac
