#!/bin/sh
# Runs a command with SoftHSM at hand:
#
#   softhsm/with-softhsm.sh cargo test -p birthmark-hsm
#
# The command finds BIRTHMARK_TEST_MODULE (the module's path) and SOFTHSM2_CONF (a configuration
# under target/softhsm/test, private to this checkout) in its environment. Each test makes its own
# tokens in it.
set -eu

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)

if [ $# -eq 0 ]; then
    echo "usage: softhsm/with-softhsm.sh COMMAND [ARGUMENT...]" >&2
    exit 2
fi

BIRTHMARK_TEST_MODULE=${BIRTHMARK_TEST_MODULE:-$("$repository/softhsm/install.sh")}
SOFTHSM2_CONF=$("$repository/softhsm/configure.sh" test)
export BIRTHMARK_TEST_MODULE SOFTHSM2_CONF

# Written where the module's libraries had to be brought too.
root=$repository/target/softhsm/unpacked
if [ -f "$root/library-path" ]; then
    LD_LIBRARY_PATH=$root/$(cat "$root/library-path")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
fi

# Each run leaves its tokens behind. The newest hundred stay, those of a run beside this one among them:
# with many the module is slow, and shows more than anybody lists.
tokens=$(dirname "$SOFTHSM2_CONF")/tokens
find "$tokens" -mindepth 1 -maxdepth 1 -type d -printf '%T@ %f\n' | sort -rn | tail -n +101 |
    while read -r _ token; do rm -rf "${tokens:?}/$token"; done

exec "$@"
