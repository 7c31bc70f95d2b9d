#!/bin/sh
# Finds NSS's PKCS#11 module (softokn), or brings it, and prints its path:
#
#   tokens/nss.sh
#
# A module that is installed is used as it is. Otherwise Debian's packages are unpacked under target/nss; then
# the module's directory has to be in LD_LIBRARY_PATH. Running it again does nothing that is done already.
set -eu
umask 022

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$repository/target/nss

find_module() {
    for module in "$1"/usr/lib/*-linux-*/libsoftokn3.so "$1"/usr/lib/*-linux-*/nss/libsoftokn3.so \
        "$1"/usr/lib64/libsoftokn3.so "$1"/usr/lib/libsoftokn3.so; do
        if [ -f "$module" ]; then
            printf '%s\n' "$module"
            return
        fi
    done
    return 1
}

if find_module '' || find_module "$work/unpacked"; then
    exit 0
fi
mkdir -p "$work"
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM
"$repository/tokens/debian.sh" --with-libraries "$run/unpacked" libnss3
# Whoever came first has brought the same.
mv -T "$run/unpacked" "$work/unpacked" 2>/dev/null || true
find_module "$work/unpacked"
