#!/bin/sh
# Makes a SoftHSM token for trying things out, and prints what a shell needs to use it:
#
#   eval "$(softhsm/token.sh LABEL)"
#   birthmark ca init --dir ca --signer "pkcs11:token=LABEL;object=issuing?$BIRTHMARK_TOKEN_QUERY"
#
# The token is in target/softhsm/token, its random PIN in target/softhsm/token/LABEL.pin (mode
# 0600). A token that exists is used again.
set -eu
umask 077

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
label=${1:-}
case $label in
    '' | *[!A-Za-z0-9_-]*)
        echo "usage: softhsm/token.sh LABEL  (letters, digits, - and _)" >&2
        exit 2
        ;;
esac

module=$("$repository/softhsm/install.sh")
SOFTHSM2_CONF=$("$repository/softhsm/configure.sh" token)
export SOFTHSM2_CONF
directory=$(dirname "$SOFTHSM2_CONF")

random_pin() { od -An -N12 -tx1 /dev/urandom | tr -d ' \n'; }
for pin in "$directory/$label.pin" "$directory/$label.so-pin"; do
    [ -s "$pin" ] || random_pin >"$pin"
done

# The PINs go by file: an argument could be read by every process of the machine.
(cd "$repository" && cargo run --quiet -p birthmark-hsm --example initialize_token -- \
    "$module" "$label" "$directory/$label.so-pin" "$directory/$label.pin") >&2

quote() { printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")"; }
encode() { printf '%s' "$1" | sed -e 's/%/%25/g' -e 's/ /%20/g' -e 's/;/%3B/g' -e 's/?/%3F/g' -e 's/&/%26/g'; }
printf 'export SOFTHSM2_CONF=%s\n' "$(quote "$SOFTHSM2_CONF")"
printf 'export BIRTHMARK_MODULE=%s\n' "$(quote "$module")"
printf 'export BIRTHMARK_TOKEN_QUERY=%s\n' \
    "$(quote "module-path=$(encode "$module")&pin-source=file:$(encode "$directory/$label.pin")")"
