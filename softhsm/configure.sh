#!/bin/sh
# Makes a SoftHSM configuration private to this checkout, and prints its path:
#
#   softhsm/configure.sh [NAME]
#
# The tokens are in target/softhsm/NAME/tokens, readable by their owner only. What is there stays.
set -eu
umask 077

repository=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
directory=$repository/target/softhsm/${1:-test}
mkdir -p "$directory/tokens"

# Written anew each time, by way of a file of our own: the checkout may have been moved.
new=$(mktemp "$directory/softhsm2.conf.XXXXXX")
cat >"$new" <<CONF
# Made by softhsm/configure.sh. The file back end: the database one is slower.
directories.tokendir = $directory/tokens
objectstore.backend = file
log.level = ERROR
slots.removable = false
CONF
mv "$new" "$directory/softhsm2.conf"
printf '%s\n' "$directory/softhsm2.conf"
