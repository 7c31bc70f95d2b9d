#!/bin/sh
# Finds a program that tests run others under, or brings it, and prints its path.
#
#   tests/tool.sh strace       system calls of the real binary fail
#   tests/tool.sh valgrind     memory errors and leaks around PKCS#11 handles
#
# A system's own program is used as it is. Otherwise root installs Debian's package; without root it is
# downloaded and unpacked under target/. Running it again does nothing that is done already.
set -eu
umask 022

tool=${1:-}
case $tool in
strace) packages='strace libunwind8' ;;
# Without the symbols of the C library valgrind does not start.
valgrind) packages='valgrind libc6-dbg' ;;
*)
    printf '%s\n' "usage: tests/tool.sh strace|valgrind" >&2
    exit 1
    ;;
esac
repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$repository/target/$tool
wrapper=$work/$tool

say() { printf '%s\n' "$tool: $*" >&2; }

if command -v "$tool"; then
    exit 0
fi
if [ -x "$wrapper" ]; then
    printf '%s\n' "$wrapper"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    say "not installed, and there is no apt-get to bring it: install $tool and run this again"
    exit 1
fi

mkdir -p "$work"
log=$work/log
if [ "$(id -u)" = 0 ]; then
    say "not installed: installing Debian's package"
    # shellcheck disable=SC2086
    if { apt-get -q install -y $packages || { apt-get -q update && apt-get -q install -y $packages; }; } >"$log" 2>&1; then
        command -v "$tool"
        exit 0
    fi
    cat "$log" >&2
    say "the installation failed (see above): check the network"
    exit 1
fi

say "not installed: bringing Debian's package"
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM
# shellcheck disable=SC2086
"$repository/tokens/debian.sh" "$run/unpacked" $packages
libraries=$(find "$run/unpacked/usr/lib" -maxdepth 1 -name '*-linux-*' | head -n 1)
libraries=${libraries#"$run"}
rm -rf "$work/unpacked"
mv -T "$run/unpacked" "$work/unpacked"
unpacked=$work/unpacked
{
    printf '#!/bin/sh\n'
    case $tool in
    strace) printf "LD_LIBRARY_PATH='%s' exec '%s' \"\$@\"\n" "$work$libraries" "$unpacked/usr/bin/strace" ;;
    valgrind)
        printf "VALGRIND_LIB='%s' exec '%s' --extra-debuginfo-path='%s' \"\$@\"\n" \
            "$unpacked/usr/libexec/valgrind" "$unpacked/usr/bin/valgrind.bin" "$unpacked/usr/lib/debug"
        ;;
    esac
} >"$run/$tool"
# Into place in one step: two runs at a time leave nothing half made.
chmod +x "$run/$tool"
mv "$run/$tool" "$wrapper"
printf '%s\n' "$wrapper"
