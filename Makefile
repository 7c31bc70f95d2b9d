# Thin front for people. Everything real is in cargo and in softhsm/.
#
#   make demo                    200,000 certificates with a software key
#   make demo SIGNER=softhsm     the same through SoftHSM
#   make demo SIGNER=network-hsm the same through a simulated HSM, 1 ms away
#   make test                    every test
#   make lint                    format, clippy, documentation, dependencies
#   make bench                   criterion benches
#   make fuzz                    every fuzz target for 10 seconds

SIGNER ?= software
COUNT  ?= 200000

# Tests that need a PKCS#11 token run inside this: it brings SoftHSM without root.
WITH_SOFTHSM = softhsm/with-softhsm.sh

.PHONY: demo test lint bench fuzz build

build:
	cargo build --release --workspace --bins

ifeq ($(SIGNER),softhsm)
demo:
	cargo build --release --package birthmark
	$(WITH_SOFTHSM) target/release/birthmark demo --signer softhsm --count $(COUNT) --dir target/demo-softhsm
else ifeq ($(SIGNER),network-hsm)
demo:
	cargo build --release --package birthmark --package birthmark-test-token
	BIRTHMARK_TEST_TOKEN_MODULE=target/release/libbirthmark_test_token.so \
		target/release/birthmark demo --signer network-hsm --count $(COUNT) --dir target/demo-network-hsm
else
demo:
	cargo build --release --package birthmark
	target/release/birthmark demo --signer $(SIGNER) --count $(COUNT) --dir target/demo-$(SIGNER)
endif

# The whole-system tests run the real binaries, so these are built first.
test:
	cargo build --workspace --bins
	$(WITH_SOFTHSM) cargo test --workspace --no-fail-fast

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo clippy --package p256x8 --no-default-features --target-dir target/no-std -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --package p256x8 --no-default-features --no-deps --target-dir target/no-std
	@if cargo deny --version >/dev/null 2>&1; then \
		cargo deny --offline check bans licenses sources; \
	else \
		echo "cargo-deny is not installed: the dependency checks of deny.toml did not run"; \
	fi

fuzz:
	fuzz/run.sh short

bench:
	$(WITH_SOFTHSM) cargo bench --package birthmark-bench
