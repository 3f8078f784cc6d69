"""Settings to the server's folder: authority, broker, dispatch, proxy, clock, compose. Only what differs is written."""

from __future__ import annotations

import ipaddress
import json
import os
import pwd
import re
import secrets as random
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from importlib.resources import files as resources
from pathlib import Path, PurePosixPath

from broker import files
from broker.mosquitto import config
from broker.mosquitto import settings as mosquitto
from broker.mosquitto.config import Effect
from broker.pki import names
from broker.pki.authority import Pki
from broker.pki.certificates import PRIVATE, Permitted, permits
from deploy.server import layout
from deploy.server.layout import Places, all_hosts, secret
from deploy.server.settings import ORG, ServerSettings

_SEEN = PurePosixPath("/mosquitto/config")
"""Where the broker's container sees its folder."""
_USER = "banksman"
"""The broker, workers and pages run as this one: pages that revoke a certificate write the broker's list."""
_CONTAINER_USERS = {_USER: 10001, "postgres": 999, "grafana": 472}
_OWNERS = {"dispatch": _USER, "pki": _USER, "broker": _USER}
"""Who has to read what, besides root."""
_MORE_OWNERS = {
    "containers": {"secrets/postgres": "postgres", "secrets/grafana-admin": "grafana"},
    "plain": {"proxy": "caddy"},
}
_MADE = "# Made by `banksman server init` from server.toml; changes here are overwritten.\n"


@dataclass(slots=True)
class Done:
    """What init did. changed: files, from the folder. issued: certificates. restart: services that run and have to
    begin anew; reload: to be told by SIGHUP. unowned: users of this computer that are not there, or all if not root."""

    changed: list[str] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    restart: set[str] = field(default_factory=set)
    reload: set[str] = field(default_factory=set)
    unowned: set[str] = field(default_factory=set)


def make(folder: Path, settings: ServerSettings, now: float) -> Done:
    """Bring the folder up to its settings. Secrets and certificates that are there stay.

    Raises PkiError, BrokerError, ServerError and OSError.
    """
    done = Done()
    for name in ("secrets", "dispatch", "proxy", "ntp", "broker", layout.CARDS):
        (folder / name).mkdir(exist_ok=True, mode=0o700 if name in ("secrets", "dispatch") else 0o755)
    for name in layout.SECRETS:
        if not layout.has_secret(folder, name):
            layout.keep_secret(folder, name, random.token_urlsafe(32))
            done.changed.append(f"secrets/{name}")
    pki = _authority(folder, settings, now)
    _broker(folder, settings, pki, now, done)
    for path, data, mode, services in _files(folder, settings, pki):
        if not (path.is_file() and path.read_bytes() == data):
            done.restart |= services
            files.write(path, data, mode)
            done.changed.append(str(path.relative_to(folder)))
    done.unowned = give(folder, settings)
    return done


def stale(folder: Path, settings: ServerSettings) -> list[str]:
    """Files that `make` would write anew, by what follows from the settings. Raises as it does."""
    pki = Pki(folder / "pki")
    expected = [(path, data) for path, data, _, _ in _files(folder, settings, pki)]
    return [
        str(path.relative_to(folder)) for path, data in expected if not (path.is_file() and path.read_bytes() == data)
    ]


def _authority(folder: Path, settings: ServerSettings, now: float) -> Pki:
    where = folder / "pki"
    if (where / "ca.pem").is_file():
        return Pki(where)
    extra: list[Permitted] = [
        one if isinstance(one, str) else ipaddress.ip_network(one)
        for one in map(names.host, settings.hosts)
        if not permits(PRIVATE, one)
    ]
    return Pki.create(where, "Banksman", (*PRIVATE, *extra), now)


def _services(settings: ServerSettings) -> dict[str, tuple[str, str]]:
    """Clients of the broker: role and site by name."""
    workers = {f"dispatch-{n}" if n > 1 else "dispatch": ("dispatch", "") for n in range(1, settings.workers + 1)}
    sirens = {f"siren-{site}"[:32].rstrip("-"): ("siren", site) for site in settings.sirens}
    return workers | {"grafana": ("viewer", ""), "roll-out": ("dispatch", "")} | sirens


def _broker(folder: Path, settings: ServerSettings, pki: Pki, now: float, done: Done) -> None:
    """The broker's folder. Of broker.toml what server.toml says is kept in step; limits and more are its own."""
    where, path = folder / "broker", folder / "broker" / mosquitto.FILE
    if not path.exists():
        mosquitto.create(where, all_hosts(settings), settings.sirens, layout.MQTT, settings.workers)
        more = f'\n# The system\'s user that it runs as.\nuser = "{_USER}"\n'
        if settings.runs == "containers":
            more += f'\n# Where its container sees this folder.\nfolder = "{_SEEN}"\n'
        port = f"port = {layout.MQTT}\n"
        files.write(path, path.read_text(encoding="utf-8").replace(port, port + more).encode(), files.SECRET)
        done.changed.append(f"broker/{mosquitto.FILE}")
    there, text = mosquitto.load(where), path.read_text(encoding="utf-8")
    if there.hosts != all_hosts(settings):
        hosts = json.dumps(all_hosts(settings), ensure_ascii=False)
        text = re.sub(r"(?m)^hosts = \[[^\]]*\]", f"hosts = {hosts}", text, count=1)
    known = {service.name for service in there.services}
    for name, (role, site) in _services(settings).items():
        if name not in known:
            text += f'\n[[services]]\nname = "{name}"\nrole = "{role}"\n' + (f'site = "{site}"\n' if site else "")
    if text != path.read_text(encoding="utf-8"):
        files.write(path, text.encode(), files.SECRET)
        done.changed.append(f"broker/{mosquitto.FILE}")
    update = config.update(where, pki, now)
    done.changed += [f"broker/{name}" for name in update.changed]
    done.issued += [str(cert) for cert in update.issued]
    if update.effect is not Effect.NOTHING:
        (done.restart if update.effect is Effect.RESTART else done.reload).add("mosquitto")


def _files(folder: Path, settings: ServerSettings, pki: Pki) -> Iterator[tuple[Path, bytes, int, set[str]]]:
    """What is in a file, its mode, and which services read it when they start."""
    cert, key = pki.files_of(names.server(*all_hosts(settings)))
    dispatch, proxy = folder / "dispatch", folder / "proxy"
    both = {"worker", "web"}
    yield dispatch / "ca.pem", pki.ca_file.read_bytes(), files.PUBLIC, both
    yield dispatch / "server.pem", cert.read_bytes(), files.PUBLIC, {"web"}
    yield dispatch / "server.key", key.read_bytes(), files.SECRET, {"web"}
    yield proxy / "nodes.pem", cert.read_bytes(), files.PUBLIC, {"proxy"}
    yield proxy / "nodes.key", key.read_bytes(), files.SECRET, {"proxy"}
    for n in range(1, settings.workers + 1):
        name = f"dispatch-{n}" if n > 1 else "dispatch"
        mine = both if n == 1 else {f"worker-{n}"}
        for path, mode in zip(pki.files_of(names.service(name)), (files.PUBLIC, files.SECRET), strict=True):
            yield dispatch / path.name, path.read_bytes(), mode, mine
        yield dispatch / f"{name}.yaml", dispatch_text(folder, settings, n).encode(), files.SECRET, mine
    if settings.boards:  # for enrolment, whose user cannot look into `secrets`
        token = secret(folder, "influx-admin").encode() + b"\n"
        yield dispatch / "influx-admin", token, files.SECRET, both
    seen = PurePosixPath("/etc/caddy") if settings.runs == "containers" else PurePosixPath(proxy.resolve())
    yield proxy / "Caddyfile", caddy_text(settings, seen).encode(), files.PUBLIC, {"proxy"}
    yield folder / "ntp/chrony.conf", chrony_text(settings).encode(), files.PUBLIC, {"ntp"}
    if settings.runs == "containers":
        compose = (resources("deploy") / "compose.yaml").read_bytes()
        yield folder / "compose.yaml", compose, files.PUBLIC, {"compose"}
        run = (resources("deploy") / "containers/broker.sh").read_bytes()
        yield folder / "broker/run.sh", run, files.PUBLIC, {"mosquitto"}
        yield folder / ".env", env_text(settings).encode(), files.PUBLIC, {"compose"}


def dispatch_text(folder: Path, settings: ServerSettings, worker: int) -> str:
    """dispatch.yaml of a worker, the first of which is the pages' too. JSON is YAML, and quotes whatever is in it."""
    name = f"dispatch-{worker}" if worker > 1 else "dispatch"
    places, containers = Places.of(settings), settings.runs == "containers"
    outside = "0.0.0.0" if containers else "127.0.0.1"  # noqa: S104 of a container, which publishes what it shall
    enrol = {"port": layout.ENROL, "cert": "server.pem", "key": "server.key", "pki": "../pki", "broker": "../broker"}
    text: dict[str, object] = {
        "database": f"postgresql://banksman:{secret(folder, 'postgres')}@{places.postgres}/banksman",
        "evidence": str(layout.EVIDENCE_FOLDER),
        "mqtt": {
            "host": places.broker,
            "ca": "ca.pem",
            "cert": f"{name}.pem",
            "key": f"{name}.key",
            "client_id": name,
            "share_group": mosquitto.load(folder / "broker").share_group,
        },
        "web": {
            "host": outside,
            "port": layout.PAGES,
            "url": f"https://{settings.name}",
            "secret": secret(folder, "web"),
            # In a container only the others of its networks reach the pages' port; the proxy's address is no fixed one.
            "proxies": ["*"] if containers else ["127.0.0.1", "::1"],
        },
        "upload": {
            "port": layout.EVIDENCE,
            "cert": "server.pem",
            "key": "server.key",
            "client_ca": "../pki/ca.pem",
            "crl": "../pki/crl.pem",
        },
        "enrol": enrol,
        "pki": "../pki",
        "metrics": {"host": outside, "port": layout.METRICS if containers else layout.METRICS + 2 * (worker - 1)},
    }
    if (folder / layout.CARDS / "cards.toml").is_file():
        text["cards"] = f"../{layout.CARDS}/cards.toml"
    if settings.boards and layout.has_secret(folder, layout.INFLUX_DISPATCH):
        token = secret(folder, layout.INFLUX_DISPATCH)
        text["influx"] = {"url": f"http://{places.influx}", "org": ORG, "bucket": ORG, "token": token}
        nodes = f"https://{layout.in_url(settings.hosts[0])}:{layout.INFLUX}"
        text["enrol"] = enrol | {"influx_admin_token_file": "influx-admin", "influx_url": nodes}
    return _MADE + "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in text.items())


def caddy_text(settings: ServerSettings, seen: PurePosixPath) -> str:
    """The Caddyfile. seen: the folder `proxy` as Caddy sees it."""
    places = Places.of(settings)
    email = f"\temail {settings.email}\n" if settings.email else ""
    tls = f'\ttls "{seen}/cert.pem" "{seen}/key.pem"\n' if settings.certificate == "files" else ""
    boards = (
        f"\tredir /grafana /grafana/\n\thandle /grafana/* {{\n\t\treverse_proxy {places.grafana}\n\t}}\n"
        if settings.boards
        else ""
    )
    influx = (
        f"""
# Nodes write their points; nothing else of InfluxDB is to be reached from outside.
https://:{layout.INFLUX} {{
	tls "{seen}/nodes.pem" "{seen}/nodes.key" {{
		protocols tls1.3
	}}
	@write {{
		method POST
		path /api/v2/write
	}}
	handle @write {{
		request_body {{
			max_size 32MB
		}}
		reverse_proxy {places.influx}
	}}
	handle {{
		respond 404
	}}
}}
"""
        if settings.boards
        else ""
    )
    return f"""{_MADE}{{
{email}	admin off
	# Addresses of links in messages are secrets, and so are cookies.
	log {{
		format filter {{
			wrap json
			fields {{
				request>uri delete
				request>headers delete
			}}
		}}
	}}
}}

{settings.name} {{
{tls}	encode gzip
	header Strict-Transport-Security "max-age=31536000"
{boards}	handle {{
		reverse_proxy {places.pages}
	}}
}}
{influx}
http://:{layout.HEALTH} {{
	bind 127.0.0.1
	respond ok
}}
"""


def chrony_text(settings: ServerSettings) -> str:
    """chrony.conf: for a container all of it, for Debian's chrony a file of its conf.d."""
    lines = []
    for one in settings.ntp:
        named = isinstance(names.host(one), str)
        lines.append(f"{'pool' if named else 'server'} {one} iburst")
    private = (one for one in PRIVATE if not isinstance(one, str))
    return "\n".join(
        [
            _MADE.rstrip(),
            *lines,
            "# Also where none of them answers: nodes that agree with the server are better than nodes that agree with",
            "# nobody. What they say when they are asked is that this clock is only local.",
            "local stratum 10",
            *(f"allow {network}" for network in (*private, "100.64.0.0/10")),
            "ratelimit",
            "bindcmdaddress 127.0.0.1",
            "",
        ]
    )


def env_text(settings: ServerSettings) -> str:
    """What compose puts into compose.yaml. No secrets."""
    profiles = ["boards"] * settings.boards + ["second-worker"] * (settings.workers > 1)
    values = {
        "BANKSMAN_VERSION": version("banksman"),
        "BANKSMAN_NAME": settings.name,
        "BANKSMAN_BOARDS_LANG": settings.language,
        "BANKSMAN_ZONE": settings.zone,
        "COMPOSE_PROFILES": ",".join(profiles),
    }
    return _MADE + "".join(f"{key}={value}\n" for key, value in values.items())


def give(folder: Path, settings: ServerSettings, evidence: Path | None = None) -> set[str]:
    """Files to those who read them. Gives who could not be given theirs."""
    if os.geteuid() != 0:
        return {*_OWNERS.values(), *_MORE_OWNERS[settings.runs].values()}
    lacking = set()
    names_of = _OWNERS | _MORE_OWNERS[settings.runs]
    owners = {folder / name: owner for name, owner in names_of.items()}
    for top, owner in (owners | ({evidence: _USER} if evidence else {})).items():
        try:
            user = _CONTAINER_USERS[owner] if settings.runs == "containers" else pwd.getpwnam(owner).pw_uid
        except KeyError:
            lacking.add(owner)
            continue
        for path in (top, *top.rglob("*")) if top.is_dir() else (top,):
            if path.lstat().st_uid != user:
                os.chown(path, user, user if settings.runs == "containers" else -1, follow_symlinks=False)
    return lacking
