#!/bin/sh
# The site server on Debian 12 or 13 without containers. Run it as root, as often as you like; docs/server.md says more.
#
# usage: install.sh [--influxdb-deb FILE --influx-cli-deb FILE --grafana-deb FILE] [--wheels DIR]
#                   [--restore BACKUP] [-- OPTIONS OF server init]
#
# Debian has PostgreSQL, Mosquitto, Caddy and chrony. It has no Grafana, and of InfluxDB only 1.6, which nodes cannot
# write to: boards need the packages of their makers, given here as files. Without them: -- --without-boards
set -eu

home=/etc/banksman-server
venv=/opt/banksman-server
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../../.." && pwd)
influxdb="" influx_cli="" grafana="" wheels="" backup=""

fail() { echo "install.sh: $*" >&2; exit 2; }
say() { echo "== $*"; }

while [ $# -gt 0 ]; do
    case "$1" in
        --influxdb-deb) influxdb=${2:?}; shift 2 ;;
        --influx-cli-deb) influx_cli=${2:?}; shift 2 ;;
        --grafana-deb) grafana=${2:?}; shift 2 ;;
        --restore) backup=${2:?}; shift 2 ;;
        --wheels) wheels=${2:?}; shift 2 ;;
        --) shift; break ;;
        *) fail "unknown option $1; see the head of this file" ;;
    esac
done
[ "$(id -u)" = 0 ] || fail "run it as root"
# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "${ID:-}-${VERSION_ID:-}-${VERSION_CODENAME:-}")
case "$release" in
    debian-12-*|debian-13-*) codename=${release##*-} ;;
    *) fail "this is $release; Debian 12 and 13 are supported, containers elsewhere" ;;
esac
for file in $influxdb $influx_cli $grafana $backup; do
    [ -f "$file" ] || fail "$file: no such file"
done

say "Debian's packages"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends postgresql caddy chrony python3-venv openssl \
    libpango-1.0-0 libpangoft2-1.0-0 fonts-noto-cjk libgomp1
if [ "$codename" = bookworm ]; then
    apt-cache policy | grep -q bookworm-backports \
        || fail "Mosquitto of Debian 12 is too old; add bookworm-backports to the sources of apt, then run this again"
    apt-get install -y -q --no-install-recommends -t bookworm-backports mosquitto
else
    apt-get install -y -q --no-install-recommends mosquitto
fi
# shellcheck disable=SC2086  # paths without blanks, none or several
for file in $influxdb $influx_cli $grafana; do
    apt-get install -y -q --no-install-recommends "$(realpath "$file")"
done

say "Banksman in $venv"
getent passwd banksman >/dev/null \
    || useradd --system --user-group --home-dir /var/lib/banksman --no-create-home --shell /usr/sbin/nologin banksman
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
if [ -n "$wheels" ]; then
    "$venv/bin/pip" install --no-index --find-links "$wheels" --upgrade 'banksman[server]'
else
    "$venv/bin/pip" install --only-binary :all: --no-binary banksman -c "$source/requirements.txt" "${source}[server]"
fi
ln -sf "$venv/bin/banksman" /usr/local/bin/banksman

say "$home"
# It ends with 1 as long as the database is not there.
restore() { [ -z "$backup" ] || "$venv/bin/banksman" server restore "$home" "$backup" || [ "$?" = "$1" ]; }
restore 1
"$venv/bin/banksman" server init "$home" --plain "$@"
boards=$(sed -n 's/^boards = //p' "$home/server.toml")
if [ "$boards" = true ]; then
    for unit in influxdb grafana-server; do
        systemctl cat "$unit.service" >/dev/null 2>&1 \
            || fail "$unit is not installed: give its package as a file, or set boards = false in $home/server.toml"
    done
fi

say "Database"
systemctl enable --now postgresql
# The password by standard input: arguments can be read by everybody on the machine.
as_postgres() { runuser -u postgres -- psql -qAtX -v ON_ERROR_STOP=1; }
role=$(echo "SELECT 1 FROM pg_roles WHERE rolname = 'banksman';" | as_postgres)
[ -n "$role" ] || echo "CREATE ROLE banksman LOGIN;" | as_postgres
echo "ALTER ROLE banksman PASSWORD '$(cat "$home/secrets/postgres")';" | as_postgres
there=$(echo "SELECT 1 FROM pg_database WHERE datname = 'banksman';" | as_postgres)
[ -n "$there" ] || echo "CREATE DATABASE banksman OWNER banksman ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0;" | as_postgres

say "Broker, proxy, clock"
drop_in() {
    mkdir -p "/etc/systemd/system/$1.service.d"
    cat >"/etc/systemd/system/$1.service.d/banksman.conf"
}
drop_in mosquitto <<END
[Service]
ExecStart=
ExecStart=/usr/sbin/mosquitto -c $home/broker/mosquitto.conf
LimitNOFILE=8192
END
drop_in caddy <<END
[Service]
ExecStart=
ExecStart=/usr/bin/caddy run --config $home/proxy/Caddyfile --adapter caddyfile
ExecReload=
END
install -m 0644 "$home/ntp/chrony.conf" /etc/chrony/conf.d/banksman.conf
if [ "$boards" = true ]; then
    drop_in influxdb <<END
[Service]
Environment=INFLUXD_HTTP_BIND_ADDRESS=127.0.0.1:8087
Environment=INFLUXD_REPORTING_DISABLED=true
END
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' "$home/server.toml")
    drop_in grafana-server <<END
[Service]
Environment=GF_SERVER_HTTP_ADDR=127.0.0.1
Environment=GF_SERVER_ROOT_URL=https://$name/grafana/
Environment=GF_SERVER_SERVE_FROM_SUB_PATH=true
Environment=GF_SECURITY_COOKIE_SECURE=true
Environment=GF_ANALYTICS_REPORTING_ENABLED=false
Environment=GF_ANALYTICS_CHECK_FOR_UPDATES=false
Environment=GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false
Environment=GF_PLUGINS_PREINSTALL_DISABLED=true
END
fi

say "Services"
for unit in "$here"/*.service "$here"/*.path; do
    install -m 0644 "$unit" /etc/systemd/system/
done
systemctl daemon-reload
systemctl enable mosquitto caddy chrony
systemctl restart mosquitto caddy chrony
systemctl enable --now banksman-broker-reload.path
if [ "$boards" = true ]; then
    systemctl enable influxdb grafana-server
    systemctl restart influxdb grafana-server
    if [ ! -f "$home/secrets/grafana" ]; then  # the first time
        runuser -u grafana -- grafana cli --homepath /usr/share/grafana --config /etc/grafana/grafana.ini \
            admin reset-admin-password --password-from-stdin <"$home/secrets/grafana-admin"
    fi
fi
restore 0
systemctl restart banksman-migrate.service
for settings in "$home"/dispatch/dispatch*.yaml; do
    worker=$(basename "$settings" .yaml)
    systemctl enable "banksman-worker@$worker.service"
    systemctl restart "banksman-worker@$worker.service"
done
systemctl enable banksman-web.service
systemctl restart banksman-web.service

say "Next: banksman server setup $home, then banksman server check $home"
