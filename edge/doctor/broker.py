"""Is the broker there, is its certificate right, and does it let this node in? And the same for the evidence server."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from edge.doctor.result import Grade, Result
from edge.site.model import EvidenceUplink, Mqtt

CONNECT_S = 5.0
SOON_S = 30 * 86_400.0
"""A certificate that ends sooner than this is worth a warning."""
_EXPIRED, _NAME = 10, 62  # X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_HOSTNAME_MISMATCH


def examine_broker(settings: Mqtt, base: Path) -> Result:
    """Connect as the node would, under another client id, so that a running node is not thrown out."""
    about = f"{settings.host}:{settings.port}"
    context: ssl.SSLContext | None = None
    days: float | None = None
    if settings.tls:
        try:
            context = tls_context(settings.ca, settings.cert, settings.key, base)
        except (OSError, ssl.SSLError) as error:
            return Result("broker", Grade.BAD, "files", about, {"error": _plain(error)})
    code, detail, days = reach(settings.host, settings.port, context)
    if code != "ok":
        return Result("broker", Grade.BAD, code, about, {"error": detail})
    refused = _log_in(settings, context)
    if refused:
        return Result("broker", Grade.BAD, "refused_us", about, {"error": refused})
    return _with_days("broker", about, days)


def examine_evidence(settings: EvidenceUplink, base: Path) -> Result:
    parts = urlsplit(settings.url)
    host, port = parts.hostname or "", parts.port or 443
    about = f"{host}:{port}"
    try:
        context = tls_context(settings.ca, settings.cert, settings.key, base)
    except (OSError, ssl.SSLError) as error:
        return Result("evidence", Grade.BAD, "files", about, {"error": _plain(error)})
    code, detail, days = reach(host, port, context)
    if code != "ok":
        return Result("evidence", Grade.BAD, code, about, {"error": detail})
    return _with_days("evidence", about, days)


def _with_days(organ: str, about: str, days: float | None) -> Result:
    if days is None:
        return Result(organ, Grade.OK, "plain", about)
    soon = days * 86_400 < SOON_S
    return Result(organ, Grade.WARN if soon else Grade.OK, "ends_soon" if soon else "ok", about, {"days": int(days)})


def tls_context(ca: Path | None, cert: Path | None, key: Path | None, base: Path) -> ssl.SSLContext:
    """Raises OSError (ssl.SSLError is one) where a file is missing or is no certificate or key."""
    context = ssl.create_default_context(cafile=None if ca is None else str(base / ca))
    if cert is not None:
        context.load_cert_chain(base / cert, None if key is None else base / key)
    return context


def reach(
    host: str, port: int, context: ssl.SSLContext | None, wall: Callable[[], float] = time.time
) -> tuple[str, str, float | None]:
    """(code, detail, days that the certificate there has left): `ok` or a code of `_cause`; days None without TLS."""
    try:
        with socket.create_connection((host, port), CONNECT_S) as plain:
            if context is None:
                return "ok", "", None
            with context.wrap_socket(plain, server_hostname=host) as secure:
                certificate = secure.getpeercert() or {}
    except OSError as error:
        return *_cause(error), None
    end = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
    return "ok", "", (end - wall()) / 86_400


def _cause(error: OSError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return {_EXPIRED: "expired", _NAME: "name"}.get(error.verify_code, "untrusted"), error.verify_message
    causes: tuple[tuple[type[OSError], str], ...] = (
        (socket.gaierror, "dns"),
        (ConnectionRefusedError, "refused"),
        (TimeoutError, "timeout"),
        (ssl.SSLError, "no_tls"),
    )
    return next((code for kind, code in causes if isinstance(error, kind)), "unreachable"), _plain(error)


def _log_in(settings: Mqtt, context: ssl.SSLContext | None) -> str:
    """Empty where the broker lets the node in, else its own words."""
    answered = threading.Event()
    refused: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="", protocol=mqtt.MQTTv5)
    if context is not None:
        client.tls_set_context(context)
    if settings.username is not None:
        client.username_pw_set(settings.username, settings.password.get_secret_value() if settings.password else None)

    def on_connect(*args: object) -> None:
        reason = args[3]
        if getattr(reason, "is_failure", False):
            refused.append(str(reason))
        answered.set()

    client.on_connect = on_connect
    client.on_disconnect = lambda *_: answered.set()
    try:
        client.connect(settings.host, settings.port, clean_start=True)
    except OSError as error:
        return _plain(error)
    client.loop_start()
    came = answered.wait(CONNECT_S)
    connected = client.is_connected()
    client.disconnect()
    client.loop_stop()
    if refused:
        return refused[0]
    return "" if came and connected else "no answer to the MQTT 5 greeting"


def _plain(error: OSError) -> str:
    return error.strerror or str(error)
