#!/bin/sh
# Brings the Python tools that check our logs independently, and prints the interpreter that has them.
#
#   log/tests/python/install.sh
#
# They go into a virtual environment under target/log-verifiers; nothing is installed on the system,
# except Python itself if it is missing and this runs as root. Where Python comes without pip (Debian
# without python3-venv), pip's wheel is taken from Debian's package.
#
# Running it again does nothing that is done already.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
work=$(CDPATH='' cd -- "$here/../../.." && pwd -P)/target/log-verifiers

say() { printf '%s\n' "log verifiers: $*" >&2; }

python_is_there() {
    command -v python3 >/dev/null && python3 -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# An environment belongs to these requirements and to one Python: others get another directory.
find_environment() {
    environment=$work/$(cksum <"$here/requirements.txt" | cut -d ' ' -f 1)-$(python3 -c 'import sys; print(sys.version_info[1])')
    if [ -x "$environment/bin/python" ]; then
        printf '%s\n' "$environment/bin/python"
        exit 0
    fi
}

if python_is_there; then find_environment; fi

mkdir -p "$work"
# Everything is made in a directory of this run's own and moved into place in one step, so that
# two runs at a time, or one that is interrupted, leave nothing half made.
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -p "$run/packages" "$run/apt/lists/partial" "$run/apt/cache/archives/partial"
: >"$run/log"

fail() {
    cat "$run/log" >&2
    say "$*"
    exit 1
}

if ! python_is_there; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        say "no Python 3.11 or later: installing Debian's python3"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get -q update && apt-get -q install -y --no-install-recommends python3; } >>"$run/log" 2>&1 || true
    fi
    python_is_there || fail "Python 3.11 or later is needed; install it (Debian: apt install python3) and run this again"
    find_environment
fi

# Runs an apt command in $run/packages, with package lists of our own if the system has none. As root
# apt would switch to another user for downloads, who cannot write there.
apt() {
    command=$1
    shift
    if [ "$private" = yes ]; then
        set -- -o "Dir::State=$run/apt" -o "Dir::State::lists=$run/apt/lists" \
            -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$run/apt/cache" \
            -o "Debug::NoLocking=1" "$@"
    fi
    (cd "$run/packages" && "$command" -q -o "APT::Sandbox::User=$(id -un)" "$@") >>"$run/log" 2>&1
}

if python3 -c 'import ensurepip' 2>/dev/null; then
    python3 -m venv "$run/environment" >>"$run/log" 2>&1 || fail "the virtual environment was not made (see above)"
    run_pip() { "$run/environment/bin/python" -m pip "$@"; }
else
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        fail "Python has no pip, and there is no apt-get to bring it; install pip and run this again"
    say "Python has no pip: downloading Debian's python3-pip-whl"
    private=no
    if ! apt apt-get download python3-pip-whl; then
        private=yes
        { apt apt-get update && apt apt-get download python3-pip-whl; } ||
            fail "the download failed (see above); check the network, or install python3-venv"
    fi
    dpkg-deb -x "$run"/packages/python3-pip-whl_*.deb "$run/unpacked"
    python3 -m venv --without-pip "$run/environment" >>"$run/log" 2>&1 ||
        fail "the virtual environment was not made (see above)"
    pip=$(find "$run/unpacked" -name 'pip-*.whl' | head -n 1)
    [ -n "$pip" ] || fail "Debian's python3-pip-whl holds no pip; install python3-venv and run this again"
    # A wheel is a zip file, which Python runs as it is.
    run_pip() { "$run/environment/bin/python" "$pip/pip" "$@"; }
fi

say "installing $(grep -c '==' "$here/requirements.txt") packages"
# The requirements are complete, hence --no-deps. aics-tlog asks for Python 3.12 and works on 3.11.
run_pip install --disable-pip-version-check --quiet --no-deps --only-binary :all: \
    --ignore-requires-python --requirement "$here/requirements.txt" >>"$run/log" 2>&1 ||
    fail "the packages were not installed (see above); check the network and run this again"
"$run/environment/bin/python" -I -c 'import aics_tlog, tlog_scales.cli' >>"$run/log" 2>&1 ||
    fail "the packages do not work with this Python (see above)"

if ! mv -T "$run/environment" "$environment" 2>>"$run/log" && [ ! -x "$environment/bin/python" ]; then
    fail "cannot put the environment into $environment: remove that directory and run this again"
fi
printf '%s\n' "$environment/bin/python"
