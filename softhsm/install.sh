#!/bin/sh
# Finds SoftHSM's PKCS#11 module, or brings it, and prints its path.
#
#   softhsm/install.sh
#
# A module installed on the system is used as it is. Otherwise Debian's package is downloaded and
# unpacked under target/softhsm/unpacked; nothing is installed and no root is needed. Only the module
# is wanted: tokens and PINs are made through PKCS#11 (birthmark_hsm::initialize_token), because
# softhsm2-util takes PINs as arguments, where every process of the machine can read them.
#
# Running it again does nothing that is done already.
set -eu
umask 022

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$repository/target/softhsm
unpacked=$work/unpacked/usr/lib/softhsm/libsofthsm2.so

say() { printf '%s\n' "softhsm: $*" >&2; }

# Keep these lists the same as those in hsm/src/softhsm.rs.
for module in \
    /usr/lib/softhsm/libsofthsm2.so \
    /usr/lib64/softhsm/libsofthsm2.so \
    /usr/lib64/pkcs11/libsofthsm2.so \
    /usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so \
    /usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so \
    /opt/homebrew/lib/softhsm/libsofthsm2.so \
    /usr/local/lib/softhsm/libsofthsm2.so \
    "$unpacked"
do
    if [ -f "$module" ]; then
        printf '%s\n' "$module"
        exit 0
    fi
done

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "not installed, and there is no apt-get to bring it. Install it and run this again:"
    say "  Fedora, RHEL:  sudo dnf install softhsm"
    say "  macOS:         brew install softhsm"
    say "  Arch:          sudo pacman -S softhsm"
    exit 1
fi

mkdir -p "$work"
# Everything is made in a directory of this run's own and moved into place in one step, so that
# two runs at a time, or one that is interrupted, leave nothing half made.
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM

say "not installed: bringing Debian's package"
"$repository/tokens/debian.sh" "$run/unpacked" libsofthsm2

missing() { ldd "$run/unpacked/usr/lib/softhsm/libsofthsm2.so" | sed -n 's/^[[:space:]]*\(.*\) => not found.*/\1/p'; }
if [ -n "$(missing)" ]; then
    say "bringing its libraries too: $(missing | tr '\n' ' ')"
    "$repository/tokens/debian.sh" --with-libraries "$run/unpacked" libsofthsm2
    directory=$(dirname "$(find "$run/unpacked" -name 'libcrypto.so.*' -o -name 'libstdc++.so.6' | head -n 1)")
    # with-softhsm.sh adds this directory to LD_LIBRARY_PATH.
    printf '%s\n' "${directory#"$run/unpacked/"}" >"$run/unpacked/library-path"
fi

if ! mv -T "$run/unpacked" "$work/unpacked" 2>"$run/log" && [ ! -f "$unpacked" ]; then
    cat "$run/log" >&2
    say "cannot put the module into $work/unpacked: remove that directory and run this again"
    exit 1
fi
printf '%s\n' "$unpacked"
