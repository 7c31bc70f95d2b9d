#!/bin/sh
# Finds p11-kit's server and the module of its client, or brings them, and prints their paths, a line each:
#
#   tokens/p11-kit.sh
#
# The server makes a token of this machine a network HSM on a socket, and the client module reaches it. What
# is installed on the system is used as it is. Otherwise Debian's packages are unpacked under target/p11-kit;
# the libraries that they want come with apt itself. Running it again does nothing that is done already.
set -eu
umask 022

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$repository/target/p11-kit

# Prints the two paths below a root directory, if both are there.
find_both() {
    for server in "$1/usr/libexec/p11-kit/p11-kit-server" "$1/usr/lib/p11-kit/p11-kit-server"; do
        for client in "$1"/usr/lib/*/pkcs11/p11-kit-client.so "$1"/usr/lib64/pkcs11/p11-kit-client.so \
            "$1"/usr/lib/pkcs11/p11-kit-client.so; do
            if [ -x "$server" ] && [ -f "$client" ]; then
                printf '%s\n' "$server" "$client"
                return
            fi
        done
    done
    return 1
}

if find_both '' || find_both "$work/unpacked"; then
    exit 0
fi
mkdir -p "$work"
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM
"$repository/tokens/debian.sh" "$run/unpacked" p11-kit p11-kit-modules
# Whoever came first has brought the same.
mv -T "$run/unpacked" "$work/unpacked" 2>/dev/null || true
find_both "$work/unpacked"
