#!/bin/sh
# What the proofs on aarch64 start: mmdebstrap, which fetches the emulator and Debian's arm64 packages itself.
set -eu
packages="mmdebstrap arch-test debian-archive-keyring"
missing=""
for p in $packages; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else
    echo "arm: install first: sudo apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt="$sudo apt-get -o DPkg::Lock::Timeout=600 -qq"
$apt update
# shellcheck disable=SC2086  (a list of words)
$apt install -y --no-install-recommends $missing >/dev/null
