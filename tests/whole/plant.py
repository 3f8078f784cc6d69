"""All of Banksman as an administrator sets it up, of the parts that run in production, on one computer."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from sqlalchemy import Engine, select

from broker.dispatch.database import open_engine, reading, transaction
from broker.dispatch.tables import Case, Contact, Duty, Membership, Person, Role, Shift, Site
from broker.embedded import free_port
from broker.mosquitto.settings import load
from tests.broker.builders import Card, Client
from tests.capture.mjpeg_server import MjpegServer
from tests.conftest import REPO, street_photos
from tests.servers import HOST, Postgres, mosquitto_binary, wait_until_listening
from tests.whole.wecom import ADDRESS, WeCom, wecom

BANKSMAN = str(Path(sys.executable).with_name("banksman"))
SITE, NODE = "north-yard", "gate-03"
START_S = STOP_S = 60.0
QUICK = {"confirm_s": 0.1, "clear_s": 3, "quiet_s": 0, "min_height_px": 20}
OFF = {"enabled": False}


def banksman(*words: object, **environment: str) -> str:
    """What a command prints; it must end well."""
    command = [BANKSMAN, *map(str, words)]
    done = subprocess.run(command, cwd=REPO, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


class Program:
    """One process, which is started, killed and started again."""

    def __init__(self, command: list[str], log: Path, port: int = 0, environment: Mapping[str, str] = {}) -> None:
        self._command = command
        self._log = log
        self._port = port
        self._environment = os.environ | environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it listens, where it has a port."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=REPO, env=self._environment, stdout=log, stderr=log)
        if self._port:
            wait_until_listening(self._port, self._process, self._log, START_S)

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        assert self._process.poll() is None, f"it died by itself: {self.log()}"
        self._process.send_signal(how)
        return self._process.wait(STOP_S)

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        try:
            self.start()
        except RuntimeError:  # it does not listen
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(STOP_S)


class Plant:
    """Mosquitto, PostgreSQL, dispatch's worker and pages as programs of their own, WeCom, and a camera on a street.

    The node is a program of the test's.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"https://localhost:{free_port()}"
        self._ports = {"mqtt": free_port(), "upload": free_port()}
        self._pki = folder / "pki"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack:
            self._certificates_and_broker()
            self.wecom: WeCom = self._stack.enter_context(wecom(self.folder / "world"))
            self._database = self._stack.enter_context(Postgres(durable=False)).database()
            file = self._write_dispatch()
            banksman("dispatch", "migrate", file)
            self.engine: Engine = open_engine(self._database)
            self._stack.callback(self.engine.dispose)
            self._enter_people()
            self.worker = self._program("worker", ["dispatch", "worker", str(file)], 0, self.wecom.environment)
            self.pages = self._program("pages", ["dispatch", "web", str(file)], self._ports["upload"])
            self.camera = self._stack.enter_context(MjpegServer())
            people = cv2.imread(str(street_photos() / "bus.jpg"))
            assert people is not None
            self.people = people
            coarse = np.random.default_rng(1).integers(60, 200, (27, 20, 3), dtype=np.uint8)
            self._nobody = cv2.resize(coarse, (people.shape[1], people.shape[0]))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- setting up --------------------------------------------------------------------------------------------------

    def _certificates_and_broker(self) -> None:
        pki, broker = self._pki, self.folder / "broker"
        banksman("pki", "init", pki)
        banksman("pki", "issue", pki, "server", HOST, "localhost")
        banksman("pki", "issue", pki, "node", f"{SITE}/{NODE}")
        port = self._ports["mqtt"]
        banksman(
            "broker",
            "init",
            broker,
            "--pki",
            pki,
            "--host",
            "localhost",
            "--host",
            HOST,
            "--siren",
            SITE,
            "--port",
            port,
        )
        settings = broker / "broker.toml"
        # Root may not be able to hand files in a temporary folder to anybody else.
        settings.write_text(settings.read_text().replace("port = ", 'user = "root"\nport = ', 1))
        banksman("broker", "update", broker, "--pki", pki)
        self._group = load(broker).share_group
        command = [mosquitto_binary(), "-c", str(broker / "mosquitto.conf")]
        self._stack.enter_context(Program(command, self.folder / "mosquitto.log", port))

    def _write_dispatch(self) -> Path:
        pki = self._pki
        server = {"cert": f"{pki}/servers/{HOST}.pem", "key": f"{pki}/servers/{HOST}.key", "host": HOST}
        stem = f"{pki}/services/dispatch"
        service = {"cert": f"{stem}.pem", "key": f"{stem}.key", "ca": f"{pki}/ca.pem"}
        content = {
            "database": self._database,
            "mqtt": {
                "host": "localhost",
                "port": self._ports["mqtt"],
                "ca": f"{pki}/ca.pem",
                "share_group": self._group,
            }
            | service,
            "web": {"port": int(self.url.rpartition(":")[2]), "url": self.url, "secret": secrets.token_hex(32)}
            | server,
            "upload": {"port": self._ports["upload"], "client_ca": f"{pki}/ca.pem", "crl": f"{pki}/crl.pem"} | server,
        }
        path = self.folder / "dispatch.yaml"
        path.write_text(json.dumps(content))  # JSON is YAML too
        return path

    def _enter_people(self) -> None:
        with transaction(self.engine) as session:
            session.add(Site(id=SITE, name="北苑路抢修"))
            session.add(Person(id="wang", login="wang", name="王强", language="en", created_at=0.0))
            session.flush()
            session.add(Membership(person="wang", site=SITE, role=Role.FOREMAN.value))
            session.add(Contact(id="robot", person="wang", channel="wecom", address=ADDRESS))
            session.add(Shift(id="always", site=SITE, name="all day", start=0, end=0))
            session.flush()
            session.add(Duty(id="always", shift="always", person="wang"))

    def _program(self, name: str, words: list[str], port: int, environment: Mapping[str, str] = {}) -> Program:
        log = self.folder / f"{name}.log"
        return self._stack.enter_context(Program([BANKSMAN, *words], log, port, environment))

    # -- the site ----------------------------------------------------------------------------------------------------

    def node(self) -> Program:
        """`banksman run` on a street without helmets; its data are kept from one to the next."""
        card = {"ca": f"{self._pki}/ca.pem", "cert": f"{self._pki}/nodes/{SITE}/{NODE}.pem"}
        card["key"] = card["cert"].replace(".pem", ".key")
        content: dict[str, Any] = {
            "site": {"id": SITE, "latitude": 39.91, "longitude": 116.4},
            "node": {"id": NODE, "data_dir": "data", "clock_trusted": True},
            "cameras": [
                {
                    "id": "gate",
                    "source": {"type": "mjpeg", "url": self.camera.url("/shown")},
                    "judge_fps": 5,
                    "zones": [{"id": "yard", "kind": "work", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}],
                }
            ],
            "detector": {"threads": 1},
            "rules": {"helmet": QUICK, "hi_vis": OFF, "night_reflective": OFF},
            "uplinks": {
                "mqtt": {"host": "localhost", "port": self._ports["mqtt"], "resend_s": 5} | card,
                "evidence": {"url": f"https://localhost:{self._ports['upload']}"} | card,
            },
            "page": None,
        }
        path = self.folder / "site.yaml"
        path.write_text(json.dumps(content))
        return Program([BANKSMAN, "run", str(path)], self.folder / "node.log")

    @property
    def journal(self) -> Path:
        return self.folder / "data" / "journal.db"

    def work(self) -> None:
        """Three people in the street, without helmets."""
        self.camera.show(self.people)

    def leave(self) -> None:
        self.camera.show(self._nobody)

    # -- looking -----------------------------------------------------------------------------------------------------

    def siren(self) -> Client:
        """Somebody who follows the site's cases."""
        stem = self._pki / "services" / f"siren-{SITE}"
        return Client(
            self._ports["mqtt"], self._pki / "ca.pem", Card(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        )

    def case(self, **columns: object) -> Case | None:
        """The newest case with these values."""
        with reading(self.engine) as session:
            return session.scalars(select(Case).filter_by(**columns).order_by(Case.opened_at.desc()).limit(1)).first()
