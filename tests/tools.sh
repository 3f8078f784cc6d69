#!/bin/sh
# Install the programs that the integration tests start, where that is possible without asking; else say what is missing.
set -eu
# Whatever comes of the packages; a shell that has npm from elsewhere keeps it.
schemas() { sh "$here/dashboards/schema.sh" .cache/grafana || echo "tests: npm could not make Grafana's schemas; tests that need them skip"; }
# Compose for `docker compose config`, which needs no engine. Debian 12 has it not: that of Debian 13 is unpacked.
compose() {
    [ -x .cache/compose/docker-compose ] && return 0
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | awk '$2 == "main" { print $1; exit }')
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    temporary=$(mktemp -d)
    mkdir -p "$temporary/lists/partial" "$temporary/archives/partial" .cache/compose
    echo "deb [signed-by=$key] $mirror trixie main" >"$temporary/sources"
    options="-qq -o Dir::State::Lists=$temporary/lists -o Dir::Cache=$temporary -o Dir::Etc::SourceList=$temporary/sources -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086  (a list of words)
    if [ -f "$key" ] && apt-get $options update && (cd "$temporary" && apt-get $options download docker-compose) \
        && dpkg -x "$temporary"/docker-compose_*.deb "$temporary/x" && cp "$temporary/x/usr/libexec/docker/cli-plugins/docker-compose" .cache/compose/; then :; else
        echo "tests: compose of Debian 13 is not to be had; tests of compose.yaml skip"
    fi
    rm -rf "$temporary"
}
# systemd-analyze that knows the units' settings (systemd 254); Debian 12 has it in its backports only.
analyze() {
    [ -x .cache/systemd/usr/bin/systemd-analyze ] && return 0
    have=$(systemd-analyze --version 2>/dev/null | awk 'NR == 1 { print $2 }')
    [ "${have:-0}" -ge 254 ] && return 0
    temporary=$(mktemp -d)
    mkdir -p .cache/systemd
    if (cd "$temporary" && for p in systemd libsystemd-shared udev; do
            apt-get -qq -o APT::Sandbox::User=root -t "$(. /etc/os-release && echo "$VERSION_CODENAME")-backports" download "$p" || exit 1
        done) 2>/dev/null; then
        for p in "$temporary"/*.deb; do dpkg -x "$p" .cache/systemd; done
    else
        echo "tests: systemd >= 254 is not to be had; tests of the units skip"
    fi
    rm -rf "$temporary"
}
# cloud-init's own validator, as new as Debian has it, and what it imports: unpacked, never installed.
cloud_init() {
    [ -d .cache/cloud-init/usr ] && return 0
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null | awk '$2 == "main" { print $1; exit }')
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    temporary=$(mktemp -d)
    mkdir -p "$temporary/lists/partial" "$temporary/archives/partial" .cache/cloud-init
    echo "deb [signed-by=$key] $mirror sid main" >"$temporary/sources"
    options="-qq -o Dir::State::Lists=$temporary/lists -o Dir::Cache=$temporary -o Dir::Etc::SourceList=$temporary/sources -o Dir::Etc::SourceParts=- -o APT::Sandbox::User=root"
    # shellcheck disable=SC2086  (a list of words)
    if [ -f "$key" ] && apt-get $options update && (cd "$temporary" && apt-get $options download cloud-init python3-configobj python3-jsonpatch python3-json-pointer); then
        for p in "$temporary"/*.deb; do dpkg -x "$p" .cache/cloud-init; done
    else
        echo "tests: cloud-init of Debian sid is not to be had; the test of user-data skips"
    fi
    rm -rf "$temporary"
}
here=$(dirname "$0")
trap 'analyze; schemas; compose; cloud_init' EXIT
mosquitto_min=2.0.21  # what `banksman broker check` asks for; Debian 12 has it in its backports only
packages="mosquitto mosquitto-clients postgresql influxdb ffmpeg chromium fonts-noto-cjk mtools dosfstools fdisk e2fsprogs xz-utils caddy chrony shellcheck libarchive-tools libpango-1.0-0 libpangoft2-1.0-0 gir1.2-gst-rtsp-server-1.0 python3-gi
 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly"
command -v npm >/dev/null 2>&1 || packages="$packages npm"
command -v dpkg-query >/dev/null 2>&1 || { echo "tests: not a Debian system; tests that need Mosquitto, PostgreSQL, InfluxDB, Chromium, an RTSP server or mtools skip"; exit 0; }
missing=""
for p in $packages; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" = installed ] || missing="$missing $p"
done
# Its own version number, without Debian's; 0 where there is none.
mosquitto_is_old() { dpkg --compare-versions "$(dpkg-query -W -f='${source:Upstream-Version}' mosquitto 2>/dev/null || echo 0)" lt "$mosquitto_min"; }
[ -z "$missing" ] && ! mosquitto_is_old && exit 0
if [ "$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo -n"; else
    echo "tests: some will skip; to run them all: sudo apt-get install --no-install-recommends$missing (mosquitto >= $mosquitto_min)"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt="$sudo apt-get -o DPkg::Lock::Timeout=600 -qq"

# The suite of backports, from the mirror that this machine's own release comes from.
add_backports() {
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    targets=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null)
    case "$targets" in *" $codename-backports main"*) return 0 ;; esac
    mirror=$(echo "$targets" | awk -v suite="$codename" '$2 == suite && $3 == "main" { print $1; exit }')
    key=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -n "$codename" ] && [ -n "$mirror" ] && [ -f "$key" ] || return 1
    echo "deb [signed-by=$key] $mirror $codename-backports main" | $sudo tee /etc/apt/sources.list.d/backports.list >/dev/null
    $apt update
}

$apt update
if [ -n "$missing" ]; then
    echo "Installing what the tests start:$missing"
    # shellcheck disable=SC2086  (two lists of words)
    $apt install -y --no-install-recommends $missing >/dev/null
fi
if mosquitto_is_old; then
    echo "Installing Mosquitto >= $mosquitto_min from backports"
    release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if ! add_backports || ! $apt install -y --no-install-recommends -t "$release-backports" mosquitto mosquitto-clients >/dev/null || mosquitto_is_old; then
        echo "tests: Mosquitto >= $mosquitto_min is to be had neither from this system's release nor from its backports; tests of the broker fail or skip" >&2
    fi
fi
