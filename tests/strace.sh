#!/bin/sh
# Finds strace, or brings it, and prints its path. The tests let system calls of the real binary fail
# with it.
#
#   tests/strace.sh
#
# A system's own strace is used as it is. Otherwise root installs Debian's package; without root it is
# downloaded and unpacked under target/strace. Running it again does nothing that is done already.
set -eu
umask 022

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
work=$repository/target/strace
wrapper=$work/strace

say() { printf '%s\n' "strace: $*" >&2; }

if command -v strace; then
    exit 0
fi
if [ -x "$wrapper" ]; then
    printf '%s\n' "$wrapper"
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    say "not installed, and there is no apt-get to bring it: install strace and run this again"
    exit 1
fi

mkdir -p "$work"
log=$work/log
if [ "$(id -u)" = 0 ]; then
    say "not installed: installing Debian's package"
    if { apt-get -q install -y strace || { apt-get -q update && apt-get -q install -y strace; }; } >"$log" 2>&1; then
        command -v strace
        exit 0
    fi
    cat "$log" >&2
    say "the installation failed (see above): check the network"
    exit 1
fi

say "not installed: downloading Debian's package"
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$run/unpacked"
if ! (cd "$run" && apt-get -q download strace libunwind8) >"$log" 2>&1; then
    cat "$log" >&2
    say "the download failed (see above): run 'sudo apt-get update', or 'sudo apt-get install strace'"
    exit 1
fi
for package in "$run"/*.deb; do
    dpkg-deb -x "$package" "$run/unpacked"
done
libraries=$(dirname "$(find "$run/unpacked" -name 'libunwind.so.8' | head -n 1)")
libraries=${libraries#"$run"}
rm -rf "$work/unpacked"
mv -T "$run/unpacked" "$work/unpacked"
# Into place in one step: two runs at a time leave nothing half made.
cat >"$run/strace" <<END
#!/bin/sh
LD_LIBRARY_PATH='$work$libraries' exec '$work/unpacked/usr/bin/strace' "\$@"
END
chmod +x "$run/strace"
mv "$run/strace" "$wrapper"
printf '%s\n' "$wrapper"
