"""Where everything is in the server's folder, and where its services answer.

server.toml                    the administrator's
secrets/NAME                   one secret each, made once
pki/  broker/                  the private authority; the broker's folder (docs/broker.md)
dispatch/                      settings, certificates and keys of workers and pages
proxy/  ntp/                   Caddyfile; chrony.conf
cards/                         image, release and cards.toml, by `server cards`
compose.yaml  .env             only where containers run it
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from broker import files
from deploy.server.settings import ServerError, ServerSettings

SECRETS = ("postgres", "web", "grafana-admin", "influx-password", "influx-admin")
"""Made by init. influx-admin is InfluxDB's operator token, of the user `admin` like influx-password."""
INFLUX_DISPATCH, INFLUX_GRAFANA, GRAFANA = "influx-dispatch", "influx-grafana", "grafana"
"""Tokens that the services themselves make: setup keeps them here."""
MQTT, EVIDENCE, ENROL, PAGES, METRICS = 8883, 8443, 8444, 8090, 9464
INFLUX = 8086
"""For nodes at the proxy. InfluxDB itself has the same port, inside or on loopback."""
HEALTH = 2080
"""Of the proxy, on loopback."""
CARDS = "cards"
"""What cards of nodes are made of; where nothing is described there, there is no Cards page."""
EVIDENCE_FOLDER = Path("/var/lib/banksman/evidence")


@dataclass(frozen=True, slots=True)
class Places:
    """Where services answer Banksman's own programs. Ports are those above unless they are named."""

    broker: str
    postgres: str
    influx: str
    grafana: str
    pages: str

    @classmethod
    def of(cls, settings: ServerSettings) -> Places:
        if settings.runs == "containers":
            return cls("mosquitto.internal", "postgres", "influxdb:8086", "grafana:3000", f"web:{PAGES}")
        # InfluxDB's port 8086 is the proxy's here.
        return cls("localhost", "localhost", "127.0.0.1:8087", "127.0.0.1:3000", f"127.0.0.1:{PAGES}")


def all_hosts(settings: ServerSettings) -> tuple[str, ...]:
    """Names and addresses in the server's certificate: those of nodes, and that of our own programs."""
    return tuple(dict.fromkeys((*settings.hosts, Places.of(settings).broker)))


def in_url(host: str) -> str:
    """A host as it stands in an address: IPv6 in brackets."""
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def secret(folder: Path, name: str) -> str:
    """Raises ServerError where it is not there, or empty."""
    path = folder / "secrets" / name
    try:
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise ServerError(f"{path} is missing; {_maker(name, folder)} makes it") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ServerError(f"{path}: cannot be read ({type(error).__name__})") from error
    if not text:
        raise ServerError(f"{path} is empty; remove it, then {_maker(name, folder)} makes a new one")
    return text


def has_secret(folder: Path, name: str) -> bool:
    return (folder / "secrets" / name).is_file()


def keep_secret(folder: Path, name: str, value: str) -> None:
    files.write(folder / "secrets" / name, value.encode() + b"\n", files.SECRET)


def _maker(name: str, folder: Path) -> str:
    return f"`banksman server {'init' if name in SECRETS else 'setup'} {folder}`"
