#!/bin/sh
# What the boot starts, besides what tests/tools.sh and tests/arm/tools.sh install: a whole emulated computer.
set -eu
sh "$(dirname "$0")/../arm/tools.sh"
packages="qemu-system-arm cpio kmod"
missing=""
for p in $packages; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then sudo=""; else sudo="sudo -n"; fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  (a list of words)
$sudo apt-get -o DPkg::Lock::Timeout=600 -qq install -y --no-install-recommends $missing >/dev/null
