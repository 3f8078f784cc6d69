"""Is the broker's folder fit to run from, and is the program? Tried with the real broker, on another port."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cryptography import x509

from broker.embedded import free_port
from broker.mosquitto.config import SECRETS, acl_text, config_text
from broker.mosquitto.settings import BrokerError, BrokerSettings, load
from broker.pki.check import AHEAD_S, DAY_S

MIN_VERSION = (2, 0, 21)
"""What all of this was tried on. In older ones expired messages block the queue of a client that was away (before
2.0.15), and a client can crash the broker (CVE-2024-8376, before 2.0.19)."""
TOO_NEW = (2, 1, 0)
"""From here on `%u` in the access list does not match a name with a slash, and so no node (tried with 2.1.2;
eclipse-mosquitto/mosquitto#3520)."""
START_S = 10.0
_HOST = "127.0.0.1"


def program() -> str:
    """Path of Mosquitto. Raises BrokerError where it is missing or cannot be used."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    wanted = ".".join(map(str, MIN_VERSION))
    if path is None:
        raise BrokerError(f"mosquitto is not installed; {wanted} or newer is needed")
    said = subprocess.run([path, "-h"], capture_output=True, text=True, check=False, timeout=START_S).stdout  # noqa: S603
    check_version(said)
    return path


def check_version(said: str) -> None:
    """said: what `mosquitto -h` prints. Raises BrokerError for one that cannot be used."""
    found = re.match(r"mosquitto version (\d+)\.(\d+)\.(\d+)", said)
    wanted = ".".join(map(str, MIN_VERSION))
    if found is None:
        raise BrokerError(f"mosquitto does not say its version; {wanted} or newer is needed")
    version = tuple(int(part) for part in found.groups())
    if version < MIN_VERSION:
        raise BrokerError(
            f"mosquitto {'.'.join(found.groups())} is too old, {wanted} or newer is needed: in older ones expired "
            "messages hold up those behind them, and a client can crash the broker. On Debian 12: "
            "apt-get install -t bookworm-backports mosquitto"
        )
    if version >= TOO_NEW:
        raise BrokerError(
            f"mosquitto {'.'.join(found.groups())} cannot be used: from 2.1 on its access list matches no user name "
            "with a slash, and so no node (eclipse-mosquitto/mosquitto#3520); use the newest 2.0"
        )


def problems(folder: Path, now: float) -> Iterator[str]:
    """What is wrong, one line each. Raises BrokerError where nothing more can be said."""
    settings = load(folder)
    found = list(_file_problems(folder, settings, now))
    yield from found
    if not found:
        yield from _trial(program(), folder, settings)
    else:
        program()


def _file_problems(folder: Path, settings: BrokerSettings, now: float) -> Iterator[str]:
    made = {
        "mosquitto.conf": config_text(settings, PurePosixPath(folder.resolve())),
        "acl": acl_text(settings.services),
    }
    for name in ("mosquitto.conf", "acl", "ca.pem", "crl.pem", "server.pem", "server.key"):
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing; run `banksman broker update`"
        elif name in made and path.read_text(encoding="utf-8") != made[name]:
            yield f"{name} is not what broker.toml says; run `banksman broker update`"
    for name in SECRETS:
        path = folder / name
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield f"{name}: others may read it; chmod 600"
    server, authorities = folder / "server.pem", folder / "ca.pem"
    if server.is_file() and authorities.is_file() and (folder / "crl.pem").is_file():
        yield from _certificate_problems(folder, now)


def _certificate_problems(folder: Path, now: float) -> Iterator[str]:
    try:
        server = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
        authorities = x509.load_pem_x509_certificates((folder / "ca.pem").read_bytes())
        lists = [x509.load_pem_x509_crl(part) for part in _parts((folder / "crl.pem").read_bytes())]
    except ValueError:
        yield "server.pem, ca.pem or crl.pem is not PEM; run `banksman broker update`"
        return
    left = server.not_valid_after_utc.timestamp() - now
    if left < AHEAD_S:
        said = f"ends in {left / DAY_S:.0f} days" if left > 0 else "has expired"
        yield f"server.pem {said}; run `banksman pki renew`, then `banksman broker update`"
    # OpenSSL turns everybody away for whose authority there is no list.
    for authority in authorities:
        if not any(crl.is_signature_valid(authority.public_key()) for crl in lists):  # type: ignore[arg-type]
            yield f"crl.pem has no list of {authority.subject.rfc4514_string()}; run `banksman broker update`"


def _parts(data: bytes) -> list[bytes]:
    return re.findall(rb"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", data, re.DOTALL)


def _trial(binary: str, folder: Path, settings: BrokerSettings) -> Iterator[str]:
    """Start it with a database of its own on another port, and look at the certificate that it shows."""
    with tempfile.TemporaryDirectory(prefix="banksman-broker-") as name:
        copy = Path(name)
        for file in ("acl", "ca.pem", "crl.pem", "server.pem", "server.key"):
            (copy / file).write_bytes((folder / file).read_bytes())
            (copy / file).chmod(0o600)
        (copy / "data").mkdir()
        port = free_port()
        here = {"folder": None, "data": None, "port": port, "address": _HOST}
        (copy / "mosquitto.conf").write_text(
            config_text(settings.model_copy(update=here), PurePosixPath(copy), user="root"), encoding="utf-8"
        )
        with (copy / "log").open("wb") as log:
            process = subprocess.Popen([binary, "-c", str(copy / "mosquitto.conf")], stdout=log, stderr=log)  # noqa: S603
        try:
            trouble = _shake_hands(process, port, settings.hosts[0], copy / "ca.pem")
        finally:
            process.terminate()
            process.wait(START_S)
        if trouble:
            lines = (copy / "log").read_text(encoding="utf-8", errors="replace").splitlines()
            yield f"{trouble}; it says: {' / '.join(line for line in lines if 'rror' in line) or 'nothing'}"


def _shake_hands(process: subprocess.Popen[bytes], port: int, host: str, ca: Path) -> str:
    """What is wrong, or an empty string."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with (
                socket.create_connection((_HOST, port), timeout=START_S) as plain,
                context.wrap_socket(plain, server_hostname=host),
            ):
                return ""
        except ssl.SSLCertVerificationError as error:
            return f"the broker starts, but a client that calls it {host} would not trust it: {error.verify_message}"
        except OSError:  # it is starting, or it listened already and now gives up
            time.sleep(0.02)
    return "mosquitto does not start with this configuration"
