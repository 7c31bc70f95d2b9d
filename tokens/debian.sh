#!/bin/sh
# Downloads Debian packages and unpacks them into a directory. Nothing is installed and no root is needed:
#
#   tokens/debian.sh [--with-libraries] DIRECTORY PACKAGE...
#
# With --with-libraries also the libraries that the packages name as theirs, but for libc, which comes with
# the system: another one beside it would break every program.
#
# For the other scripts here and in softhsm/ and tests/. They name a DIRECTORY inside one of their own and
# move it into place when it is whole, so that two runs at a time, or one that is interrupted, leave nothing
# half made. Package lists, where there are none, are kept beside DIRECTORY in the directory apt.
set -eu
umask 022

libraries=no
if [ "${1:-}" = --with-libraries ]; then
    libraries=yes
    shift
fi
directory=${1:?usage: tokens/debian.sh [--with-libraries] DIRECTORY PACKAGE...}
shift

say() { printf '%s\n' "debian: $*" >&2; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    say "there is no apt-get to bring $*"
    exit 1
fi

lists=$(dirname "$directory")/apt
packages=$directory.packages
log=$directory.log
mkdir -p "$directory" "$packages"
: >"$log"

# Runs an apt command in $packages. As root apt would switch to another user for downloads, who cannot
# write there.
apt() {
    command=$1
    shift
    if [ -d "$lists" ]; then
        set -- -o "Dir::State=$lists" -o "Dir::State::lists=$lists/lists" \
            -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$lists/cache" \
            -o "Debug::NoLocking=1" "$@"
    fi
    (cd "$packages" && "$command" -q -o "APT::Sandbox::User=$(id -un)" "$@")
}

say "downloading $*"
if ! apt apt-get download "$@" >>"$log" 2>&1; then
    # A fresh machine has no package lists, and only root may fetch them into apt's own directory.
    say "fetching package lists into a directory of our own"
    mkdir -p "$lists/lists/partial" "$lists/cache/archives/partial"
    if ! { apt apt-get update && apt apt-get download "$@"; } >>"$log" 2>&1; then
        cat "$log" >&2
        say "the download failed (see above): check the network"
        exit 1
    fi
fi
if [ "$libraries" = yes ]; then
    named=$(apt apt-cache depends --important "$@" 2>>"$log" |
        sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$/\1/p' | sort -u | grep -v '^libc6$' || true)
    for library in $named; do
        apt apt-get download "$library" >>"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    done
fi
for package in "$packages"/*.deb; do
    dpkg-deb -x "$package" "$directory"
done
rm -rf "$packages" "$log"
