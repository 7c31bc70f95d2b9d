#!/bin/sh
# Builds kryoptic, a PKCS#11 3.2 module with ML-DSA, and prints its path:
#
#   tokens/kryoptic.sh
#   tokens/kryoptic.sh --try     tries every kind of key on it (hsm/examples/token_algorithms.rs)
#
# It needs OpenSSL 3.5, which Debian 12 has not: libcrypto is built from the sources in the crate openssl-src.
# bindgen wants libclang, which is unpacked here where it is not installed. Everything is under target/kryoptic.
# It takes four minutes on two cores, too many for every change, so that no test calls it. make, perl, gcc and
# pkg-config have to be there.
set -eu
umask 022

KRYOPTIC=1.5.4
# OpenSSL 3.5.5.
OPENSSL=300.5.5

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$repository/target/kryoptic
module=$work/libkryoptic_pkcs11.so

say() { printf '%s\n' "kryoptic: $*" >&2; }

build() {
    mkdir -p "$work/build/src"
    cd "$work/build"
    # A crate of our own, because cargo builds no library by its name alone.
    cat >Cargo.toml <<MANIFEST
[package]
name = "build-kryoptic"
version = "0.0.0"
edition = "2021"

[dependencies]
kryoptic = { version = "=$KRYOPTIC", default-features = false, features = ["standard", "pqc"] }
# With its default features: it links the libcrypto that is built here.
ossl = "=$KRYOPTIC"

[build-dependencies]
openssl-src = "=$OPENSSL"

[workspace]
MANIFEST
    echo '//! Nothing.' >src/lib.rs

    # cargo's own copies of the sources are not to be written to.
    [ -d vendor ] || cargo vendor --quiet vendor >/dev/null
    openssl=$work/build/vendor/openssl-src/openssl
    if [ ! -f "$openssl/libcrypto.a" ]; then
        say "building OpenSSL's libcrypto"
        (cd "$openssl" && ./Configure no-shared no-module no-legacy no-tests no-docs no-apps no-atexit \
            '-DDEVRANDOM=\"/dev/urandom\"' &&
            make -j "$(nproc)" build_generated && make -j "$(nproc)" libcrypto.a) >"$work/openssl.log" 2>&1 || {
            tail -n 20 "$work/openssl.log" >&2
            exit 1
        }
    fi

    if ! ldconfig -p | grep -q 'libclang[-.0-9]*\.so'; then
        if [ ! -d "$work/clang" ]; then
            newest=$(apt-cache search '^libclang1-[0-9]*$' | sed -n 's/^\(libclang1-[0-9]*\) .*/\1/p' | sort -V | tail -n 1)
            run=$(mktemp -d "$work/run.XXXXXX")
            trap 'rm -rf "$run"' EXIT
            "$repository/tokens/debian.sh" --with-libraries "$run/clang" "$newest"
            mv -T "$run/clang" "$work/clang"
        fi
        LIBCLANG_PATH=$(dirname "$(find "$work/clang" -name 'libclang*.so*' | head -n 1)")
        LD_LIBRARY_PATH=$LIBCLANG_PATH:$(dirname "$(find "$work/clang" -name 'libLLVM*.so*' | head -n 1)")
        # Its own headers are in a package of 30 MB; those of gcc do as well.
        OSSL_BINDGEN_CLANG_ARGS=-I$(gcc -print-file-name=include)
        export LIBCLANG_PATH LD_LIBRARY_PATH OSSL_BINDGEN_CLANG_ARGS
    fi
    say "building kryoptic $KRYOPTIC"
    KRYOPTIC_OPENSSL_SOURCES=$openssl CARGO_TARGET_DIR=$work/build/target \
        cargo build --release --package kryoptic >&2
    built=$(find "$work/build/target/release" -name libkryoptic_pkcs11.so | head -n 1)
    cp "$built" "$work/new.so"
    mv "$work/new.so" "$module"
}

[ -f "$module" ] || (build)
if [ "${1:-}" != --try ]; then
    printf '%s\n' "$module"
    exit 0
fi
directory=$(mktemp -d "$work/token.XXXXXX")
trap 'rm -rf "$directory"' EXIT
cd "$repository"
KRYOPTIC_CONF=$directory/token.sql cargo run --quiet -p birthmark-hsm --example token_algorithms -- "$module"
