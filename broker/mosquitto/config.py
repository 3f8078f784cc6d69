"""Settings to mosquitto.conf and access list; the folder from which a broker runs.

broker.toml                  the administrator's
mosquitto.conf acl           made from it
ca.pem crl.pem server.pem server.key   from the authority
data/                        the broker's own
"""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from broker import files
from broker.messages import PREFIX
from broker.mosquitto.settings import MAX_PACKET_BYTES, BrokerError, BrokerSettings, Service, load
from broker.pki import names
from broker.pki.authority import Pki, State

SECRETS = ("server.key", "acl", "mosquitto.conf", "broker.toml")
_MB = 1024 * 1024


class Effect(StrEnum):
    """What a broker that runs needs so that a change takes effect."""

    NOTHING = "nothing"
    RELOAD = "reload"  # SIGHUP: access list, certificates, lists of authorities and of what is revoked
    RESTART = "restart"


@dataclass(frozen=True, slots=True)
class Update:
    """What `update` changed. changed: names of files. issued: certificates that were missing."""

    changed: tuple[str, ...]
    issued: tuple[Path, ...]
    effect: Effect


def config_text(settings: BrokerSettings, folder: PurePosixPath, user: str | None = None) -> str:
    """mosquitto.conf for a broker that finds its files in `folder`. user: instead of the settings'."""
    limits = settings.limits
    where = settings.folder or folder
    return f"""\
# Made by `banksman broker update` from broker.toml; changes here are overwritten.
user {user or settings.user}

# One listener, so one set of rules. The other way is deprecated, and per-listener rules have lost last wills (2.0.11).
per_listener_settings false
allow_anonymous false
acl_file {where}/acl

# Retained states and waiting messages survive a restart. A broker that is killed loses what came since the last save;
# an alarm does not count as delivered before dispatch has stored it, so nodes send again what was lost.
persistence true
persistence_location {settings.data or where / "data"}/
autosave_interval {limits.autosave_s}
persistent_client_expiration {limits.session_days}d

max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages {limits.inflight}
max_queued_messages {limits.queued_messages}
max_queued_bytes {limits.queued_mb * _MB}
memory_limit {limits.memory_mb * _MB}
queue_qos0_messages false
set_tcp_nodelay true

# Who comes and goes, and why somebody is turned away. Neither payloads nor subscriptions: a share group is secret.
log_dest stdout
log_type error
log_type warning
log_type notice
log_type information
connection_messages true

listener {settings.port}{f" {settings.address}" if settings.address else ""}
max_connections {limits.connections}
cafile {where}/ca.pem
crlfile {where}/crl.pem
certfile {where}/server.pem
keyfile {where}/server.key
tls_version tlsv1.3
require_certificate true
use_identity_as_username true
# The certificate's name is the client id too, whatever the client says: nobody can push another off the broker or take
# over its session. So one certificate is one client; a second connection with it ends the first.
use_username_as_clientid true
allow_zero_length_clientid false
"""


def acl_text(services: tuple[Service, ...]) -> str:
    """The access list. The pattern is all there is for nodes; services have a site that no site can be, `-`."""
    lines = [
        "# Made by `banksman broker update` from broker.toml; changes here are overwritten.",
        f"pattern readwrite {PREFIX}/%u/#",
    ]
    for service in services:
        lines += ["", f"user {names.service(service.name).name}", *_rights(service)]
    return "\n".join(lines) + "\n"


def _rights(service: Service) -> list[str]:
    if service.role == "siren":
        return [f"topic read {PREFIX}/{service.site}/-/case/+"]
    if service.role == "viewer":
        return [f"topic read {PREFIX}/#", "topic read $SYS/#"]
    writes = ("+/+/ack", "+/+/command/+", "+/-/case/+")
    return [f"topic read {PREFIX}/#", *(f"topic write {PREFIX}/{topic}" for topic in writes)]


def update(folder: Path, pki: Pki, now: float) -> Update:
    """Bring the folder up to its settings and to the authority, issuing certificates that are missing.

    Raises BrokerError and PkiError.
    """
    settings = load(folder)
    server = names.server(*settings.hosts)
    clients = [names.service(service.name) for service in settings.services]
    current = {(e.subject.kind, e.subject.name): e for e in pki.current(now) if e.state is State.VALID}
    there = current.get((server.kind, server.name))
    issued = []
    if there is None or set(there.subject.hosts) != set(server.hosts):
        issued.append(pki.issue(server, now, replace=there is not None).cert)
    issued += [pki.issue(client, now).cert for client in clients if (client.kind, client.name) not in current]

    cert, key = pki.files_of(server)
    if not key.is_file():
        raise BrokerError(f"{key} is missing; `banksman pki issue --replace` makes a new one")
    wanted = {
        "server.key": key.read_bytes(),
        "server.pem": cert.read_bytes(),
        "ca.pem": pki.ca_file.read_bytes(),
        "crl.pem": pki.crl_file.read_bytes(),
        "acl": acl_text(settings.services).encode(),
        "mosquitto.conf": config_text(settings, PurePosixPath(folder.resolve())).encode(),
    }
    changed = [name for name, data in wanted.items() if not _holds(folder / name, data)]
    for name in changed:
        files.write(folder / name, wanted[name], files.SECRET if name in SECRETS else files.PUBLIC)
    (folder / "data").mkdir(mode=0o700, exist_ok=True)
    _give_to(settings.user, folder)
    effect = Effect.RESTART if "mosquitto.conf" in changed else Effect.RELOAD if changed else Effect.NOTHING
    return Update(tuple(changed), tuple(issued), effect)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _give_to(user: str, folder: Path) -> None:
    """Root writes these files, but the broker gives up root before it reads some of them again."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(user)
    except KeyError:
        return  # made here for a container or another computer; `check` there says what is amiss
    for name in ("mosquitto.conf", "acl", "server.key", "data"):
        shutil.chown(folder / name, user, user)
