"""Real servers for tests: Mosquitto, the embedded broker, certificates, and a line between them that can be cut.

Each is started by the test that wants it, listens on loopback on a free port, and is ended by its process id.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.embedded import free_port
from tests.conftest import need
from tests.waiting import until

HOST = "127.0.0.1"
START_S = 20.0


def wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path, patience_s: float = START_S) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {log.read_text()[-2000:]}")
        try:
            socket.create_connection((HOST, port), timeout=0.5).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not listen on {port} after {patience_s} s: {log.read_text()[-2000:]}")


# -- certificates --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Certificate:
    """Files in PEM."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority of the test's own; everything it signs lands in `folder`."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._issued = 0
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self._key, hashes.SHA256())
        )
        self.cert = folder / "ca.pem"
        self.cert.write_bytes(cert.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: tuple[int, int] = (-1, 30)
    ) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + dt.timedelta(days=days[0]))
            .not_valid_after(now + dt.timedelta(days=days[1]))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def issue(
        self,
        name: str,
        *,
        host: str | None = None,
        days: tuple[int, int] = (-1, 30),
        password: bytes | None = None,
    ) -> Certificate:
        """For a server (`host`: a name or address) or, without one, for a client. days: validity from today."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, days)
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if host else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if host:
            try:
                alternative: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
            except ValueError:
                alternative = x509.DNSName(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        self._issued += 1
        stem = f"{self._issued}-{name.replace('/', '_')}"
        files = Certificate(self._folder / f"{stem}.pem", self._folder / f"{stem}.key")
        files.cert.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
        files.key.chmod(0o600)
        return files


# -- brokers -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BrokerTls:
    """client_certificates: the broker wants one, and takes its CN as the user name."""

    authority: Authority
    server: Certificate
    client_certificates: bool = True


def mosquitto_binary() -> str:
    """The test skips where there is none."""
    binary = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    need(binary, "mosquitto is not installed (apt-get install mosquitto)")
    return str(binary)


class Mosquitto:
    """A real broker. Configuration, database and log are in `folder`; it keeps its port over restarts.

    users: name to password; empty lets anybody in. acl: lines of the access list; None allows all.
    more: further lines of the configuration.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: Mapping[str, str] | None = None,
        acl: str | None = None,
        tls: BrokerTls | None = None,
        more: str = "",
    ) -> None:
        binary = mosquitto_binary()
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._log = folder / "mosquitto.log"
        self._acl = folder / "acl"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        lines = [
            "per_listener_settings false",
            "log_type all",
            "persistence true",
            f"persistence_location {folder}/",
            "autosave_interval 5",
            "max_queued_messages 10000",
            "set_tcp_nodelay true",
            f"listener {self.port} {HOST}",
            f"allow_anonymous {'false' if users or tls else 'true'}",
            more,
        ]
        if os.geteuid() == 0:
            lines.insert(0, "user root")  # else it gives up root and cannot read the test's files
        if users:
            passwords = folder / "passwords"
            passwords.touch(mode=0o600)
            for name, password in users.items():
                subprocess.run(["mosquitto_passwd", "-b", str(passwords), name, password], check=True)
            lines.append(f"password_file {passwords}")
        if acl is not None:
            self._acl.write_text(acl)
            lines.append(f"acl_file {self._acl}")
        if tls is not None:
            lines += [f"cafile {tls.authority.cert}", f"certfile {tls.server.cert}", f"keyfile {tls.server.key}"]
            if tls.client_certificates:
                lines += ["require_certificate true", "use_identity_as_username true"]
        self._config = folder / "mosquitto.conf"
        self._config.write_text("\n".join(lines) + "\n")
        self._command = [binary, "-c", str(self._config)]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        wait_until_listening(self.port, self._process, self._log)

    def set_acl(self, acl: str) -> None:
        """Takes effect at once, for connections that stand too."""
        self._acl.write_text(acl)
        os.kill(self.pid, signal.SIGHUP)

    def hang(self) -> None:
        """Stop it without closing anything: connections stand, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """As a power cut does: what it has not written is lost."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In good order: it writes its database."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait(START_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


# -- databases -----------------------------------------------------------------------------------------------------


class Postgres:
    """A real PostgreSQL with nothing in it; anybody on this machine may do everything. It keeps its port.

    durable: False where nothing is killed, and what counts is speed. where: a folder for its files.
    """

    def __init__(self, *, durable: bool = True, where: Path | None = None) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        need(binaries, "PostgreSQL is not installed (apt-get install postgresql)")
        self._bin = binaries[-1]
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._durable = durable
        self.port = free_port()
        # Not in pytest's folder: PostgreSQL gives up root, and has to reach its files as somebody else.
        self._folder = Path(tempfile.mkdtemp(prefix="banksman-postgres-", dir=where))
        self._as = []
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def _run(self, name: str, *arguments: str) -> None:
        subprocess.run([*self._as, str(self._bin / name), *arguments], check=True, capture_output=True, cwd="/")

    def start(self) -> None:
        data, log = self._folder / "data", self._folder / "log"
        if not data.exists():
            self._run("initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        options = ["-p", str(self.port), "-h", HOST, "-k", str(self._folder), "-c", "max_connections=100"]
        if not self._durable:
            options += ["-c", "fsync=off", "-c", "synchronous_commit=off"]
        with log.open("ab") as out:
            command = [*self._as, str(self._bin / "postgres"), "-D", str(data), *options]
            self._process = subprocess.Popen(command, stdout=out, stderr=out, cwd="/")
        wait_until_listening(self.port, self._process, log)
        until(self._ready, f"PostgreSQL is not ready, see {log}")  # it listens while it recovers

    def _ready(self) -> bool:
        asked = [str(self._bin / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        return subprocess.run(asked, check=False, cwd="/").returncode == 0

    def database(self, template: str = "template1") -> str:
        """The URL of a new database: empty, or a copy of the one whose URL `template` is."""
        self._databases += 1
        name = f"test_{self._databases}"
        copied = template.rpartition("/")[2]
        self._run("createdb", "-h", HOST, "-p", str(self.port), "-U", "postgres", "-T", copied, name)
        return f"postgresql://postgres@{HOST}:{self.port}/{name}"

    def kill(self) -> None:
        """At once, as far as its clients are concerned; it recovers when it starts again."""
        self._end(signal.SIGQUIT)

    def stop(self) -> None:
        """For good: its files are gone."""
        self.kill()
        shutil.rmtree(self._folder)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(START_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


# -- a line that can be cut ------------------------------------------------------------------------------------------


class Wire:
    """Forwards TCP from `port` to another port on this machine, until told otherwise."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def freeze(self) -> None:
        """Both ends still stand, but nothing gets through: a cable pulled somewhere in between."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def cut(self) -> None:
        """Both ends are closed without a word of the protocol; new connections are forwarded as before."""
        with self._lock:
            for pair in self._pairs:
                for end in pair:
                    end.close()
            self._pairs.clear()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self.cut()
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            if not self._flowing.wait(0.05):
                continue
            with self._lock:
                other = {a: b for pair in self._pairs for a, b in (pair, pair[::-1])}
            try:
                ready, _, _ = select.select([self._server, *other], [], [], 0.05)
            except (OSError, ValueError):  # cut in the meantime
                continue
            for sock in ready:
                if sock is self._server:
                    self._accept()
                else:
                    self._forward(sock, other[sock])

    def _accept(self) -> None:
        near, _ = self._server.accept()
        try:
            far = socket.create_connection((HOST, self._to), timeout=5)
        except OSError:
            near.close()
            return
        with self._lock:
            self._pairs.append((near, far))

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65536)
            if data:
                target.sendall(data)
                return
        except OSError:
            data = b""
        with self._lock:
            self._pairs = [pair for pair in self._pairs if source not in pair]
        source.close()
        target.close()
