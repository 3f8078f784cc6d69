#!/bin/sh
# Install the programs that the integration tests start, where that is possible without asking; else say what is missing.
set -eu
packages="mosquitto mosquitto-clients ffmpeg chromium fonts-noto-cjk gir1.2-gst-rtsp-server-1.0 python3-gi
 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
command -v dpkg-query >/dev/null 2>&1 || { echo "tests: not a Debian system; tests that need Mosquitto, Chromium or an RTSP server skip"; exit 0; }
missing=""
for p in $packages; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing="$missing $p"
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else
    echo "tests: some will skip; to run them all: sudo apt-get install --no-install-recommends$missing"
    exit 0
fi
echo "Installing what the tests start:$missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -o DPkg::Lock::Timeout=600 -qq update
# shellcheck disable=SC2086  (two lists of words)
$sudo apt-get -o DPkg::Lock::Timeout=600 -qq install -y --no-install-recommends $missing >/dev/null
