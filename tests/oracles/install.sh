#!/bin/sh
# Brings other people's checkers of certificates, and prints where each is, one a line:
#
#   tests/oracles/install.sh
#
#   python PATH     an interpreter that has pkilint, pyca/cryptography and its test vectors
#   zlint PATH      zlint, from Debian 13 (an older Debian runs it as well)
#   certtool PATH   GnuTLS's certtool
#   matter PATH     a directory with @matter/protocol; `node` has to be installed
#
# Everything goes under target/oracles; nothing is installed on the system and no root is needed. OpenSSL's
# command is expected to be there. Running it again does nothing that is done already.
set -eu
umask 022

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
repository=$(CDPATH='' cd -- "$here/../.." && pwd -P)
work=$repository/target/oracles
# The suite that has zlint, and the version of @matter/protocol.
zlint_suite=trixie
matter_version=0.17.9

say() { printf '%s\n' "oracles: $*" >&2; }

mkdir -p "$work"
# Everything is made in a directory of this run's own and moved into place in one step, so that two runs at
# a time, or one that is interrupted, leave nothing half made.
run=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$run"' EXIT
trap 'exit 1' HUP INT TERM
log=$run/log
: >"$log"

fail() {
    cat "$log" >&2
    say "$*"
    exit 1
}

# Puts a finished directory in its place, unless another run was first.
place() {
    mv -T "$1" "$2" 2>>"$log" || [ -d "$2" ] || fail "cannot put $2 in place: remove it and run this again"
}

bring_python() {
    command -v python3 >/dev/null || fail "Python 3.11 or later is needed; install it (Debian: apt install python3)"
    # An environment belongs to these requirements and to one Python: others get another directory.
    environment=$work/python-$(cksum <"$here/requirements.txt" | cut -d ' ' -f 1)-$(python3 -c 'import sys; print(sys.version_info[1])')
    if [ ! -x "$environment/bin/python" ]; then
        say "installing $(grep -c '==' "$here/requirements.txt") Python packages"
        if python3 -c 'import ensurepip' 2>/dev/null; then
            python3 -m venv "$run/python" >>"$log" 2>&1 || fail "the virtual environment was not made (see above)"
            run_pip() { "$run/python/bin/python" -m pip "$@"; }
        else
            "$repository/tokens/debian.sh" "$run/pip" python3-pip-whl
            python3 -m venv --without-pip "$run/python" >>"$log" 2>&1 || fail "the virtual environment was not made (see above)"
            pip=$(find "$run/pip" -name 'pip-*.whl' | head -n 1)
            # A wheel is a zip file, which Python runs as it is.
            run_pip() { "$run/python/bin/python" "$pip/pip" "$@"; }
        fi
        # The requirements are complete, hence --no-deps.
        run_pip install --disable-pip-version-check --quiet --no-deps --only-binary :all: \
            --requirement "$here/requirements.txt" >>"$log" 2>&1 ||
            fail "the Python packages were not installed (see above); check the network and run this again"
        "$run/python/bin/python" -I -c 'import cryptography.x509, cryptography_vectors, pkilint.pkix.certificate' >>"$log" 2>&1 ||
            fail "the Python packages do not work with this Python (see above)"
        place "$run/python" "$environment"
    fi
    printf 'python %s\n' "$environment/bin/python"
}

# Debian 13 has zlint and Debian 12 does not; the program wants no library but libc 2.34. It is taken from the
# same mirror as everything else here, and checked against Debian's keys as everything else.
bring_zlint() {
    if [ ! -x "$work/zlint/usr/bin/zlint" ]; then
        say "downloading zlint"
        mirror=$(apt-get indextargets --format '$(SITE)' 2>>"$log" | grep '/debian/*$' | sort -u | head -n 1)
        [ -n "$mirror" ] || fail "zlint comes from a mirror of Debian, and apt knows none"
        mkdir -p "$run/apt/lists/partial" "$run/apt/cache/archives/partial" "$run/packages"
        printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
            "$mirror" "$zlint_suite" >"$run/apt/sources.list"
        (
            cd "$run/packages"
            for step in update 'download zlint'; do
                # shellcheck disable=SC2086
                apt-get -q -o "Dir::Etc::SourceList=$run/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
                    -o "Dir::State=$run/apt" -o "Dir::State::lists=$run/apt/lists" \
                    -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$run/apt/cache" \
                    -o Debug::NoLocking=1 -o "APT::Sandbox::User=$(id -un)" $step || exit 1
            done
        ) >>"$log" 2>&1 || fail "zlint was not downloaded (see above); check the network and run this again"
        dpkg-deb -x "$run"/packages/zlint_*.deb "$run/zlint"
        "$run/zlint/usr/bin/zlint" -version >>"$log" 2>&1 || fail "zlint does not run here (see above)"
        place "$run/zlint" "$work/zlint"
    fi
    printf 'zlint %s\n' "$work/zlint/usr/bin/zlint"
}

bring_certtool() {
    if found=$(command -v certtool); then
        printf 'certtool %s\n' "$found"
        return
    fi
    if [ ! -x "$work/gnutls/certtool" ]; then
        "$repository/tokens/debian.sh" --with-libraries "$run/gnutls" gnutls-bin
        libraries=$(find "$run/gnutls/usr/lib" -maxdepth 1 -name '*-linux-*' | head -n 1)
        printf "#!/bin/sh\nLD_LIBRARY_PATH='%s' exec '%s' \"\$@\"\n" \
            "$work/gnutls${libraries#"$run/gnutls"}" "$work/gnutls/usr/bin/certtool" >"$run/gnutls/certtool"
        chmod +x "$run/gnutls/certtool"
        place "$run/gnutls" "$work/gnutls"
        "$work/gnutls/certtool" --version >>"$log" 2>&1 || fail "certtool does not run here (see above)"
    fi
    printf 'certtool %s\n' "$work/gnutls/certtool"
}

bring_matter() {
    directory=$work/matter-$matter_version
    if [ ! -d "$directory/node_modules/@matter/protocol" ]; then
        command -v node >/dev/null && command -v npm >/dev/null ||
            fail "@matter/protocol needs Node.js with npm; install them (Debian: apt install nodejs npm)"
        say "installing @matter/protocol"
        mkdir "$run/matter"
        printf '{"private":true,"type":"module"}\n' >"$run/matter/package.json"
        (cd "$run/matter" && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --save-exact \
            "@matter/protocol@$matter_version") >>"$log" 2>&1 ||
            fail "@matter/protocol was not installed (see above); check the network and run this again"
        place "$run/matter" "$directory"
    fi
    printf 'matter %s\n' "$directory"
}

bring_python
bring_zlint
bring_certtool
bring_matter
