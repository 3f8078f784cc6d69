"""The site server of the boot: the folder that `banksman server init` makes, its real broker, worker and doors.

Everything listens on loopback, which the emulated node reaches as 10.0.2.2.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from broker.embedded import free_port
from broker.mosquitto.config import update
from broker.pki import names
from broker.pki.authority import Pki
from deploy.card.cards import Cards
from deploy.card.node import Server
from tests.broker.builders import Card, Client
from tests.conftest import REPO
from tests.server.builders import edit, make
from tests.servers import HOST, mosquitto_binary, wait_until_listening

SEEN_FROM_NODE = "10.0.2.2"
BANKSMAN = Path(sys.executable).with_name("banksman")


class SiteServer:
    """Programs as compose starts them; addresses, ports and SQLite are the test's."""

    def __init__(self, folder: Path) -> None:
        mosquitto_binary()
        make(folder, "--host", SEEN_FROM_NODE, "--without-boards")
        self.folder, self.pki = folder, Pki(folder / "pki")
        self.mqtt, self.evidence, self.enrol, pages, metrics = (free_port() for _ in range(5))
        edit(
            folder / "broker/broker.toml",
            (r'folder = "/mosquitto/config"', f'folder = "{folder}/broker"\naddress = "{HOST}"'),
            (r'user = "banksman"', 'user = "root"'),
            (r"port = 8883", f"port = {self.mqtt}"),
        )
        update(folder / "broker", self.pki, time.time())
        self.settings = folder / "dispatch/dispatch.yaml"
        edit(
            self.settings,
            (r"(?m)^database: .*", f'database: "sqlite:///{folder}/dispatch.db"'),
            (r'"/var/lib/banksman/evidence"', f'"{folder}/evidence"'),
            (r'"mosquitto\.internal"', f'"{HOST}", "port": {self.mqtt}'),
            (r'"port": 8090', f'"port": {pages}'),
            (r'"port": 8443', f'"host": "{HOST}", "port": {self.evidence}'),
            (r'"port": 8444', f'"host": "{HOST}", "port": {self.enrol}'),
            (r'"port": 9464', f'"port": {metrics}'),
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self._start("broker", self.mqtt, "sh", str(REPO / "deploy/containers/broker.sh"), str(self.folder / "broker"))
        self.banksman("dispatch", "migrate", str(self.settings))
        self._start("web", self.enrol, str(BANKSMAN), "dispatch", "web", str(self.settings))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(30)

    def _start(self, name: str, port: int, *command: str) -> None:
        log = self.folder.parent / f"{name}.log"
        with log.open("wb") as out:
            self._processes[name] = subprocess.Popen(command, stdout=out, stderr=out, cwd=REPO)
        wait_until_listening(port, self._processes[name], log, 120)

    def banksman(self, *words: str) -> str:
        """What the command prints."""
        done = subprocess.run([str(BANKSMAN), *words], capture_output=True, text=True, check=False, cwd=REPO)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def token(self, node: str) -> str:
        return self.banksman("enrol", "new", str(self.settings), node).strip()

    def has_enrolled(self, node: str) -> bool:
        listed = self.banksman("enrol", "list", str(self.settings))
        return bool(re.search(rf"(?m)^{re.escape(node)} .* used .* certificate ", listed))

    def cards(self, image: Path, sha256: str, release: Path, public_key: Path) -> Cards:
        at = f"https://{SEEN_FROM_NODE}"
        return Cards(
            image=image, image_sha256=sha256, release=release, release_pub=public_key, ca=self.pki.ca_file,
            server=Server(
                name=SEEN_FROM_NODE, enrol_url=f"{at}:{self.enrol}/enrol", evidence_url=f"{at}:{self.evidence}",
                mqtt_host=SEEN_FROM_NODE, mqtt_port=self.mqtt,
            ),
        )  # fmt: skip

    def listener(self, topic: str) -> Client:
        """Connected as dispatch is, before the node comes."""
        cert, key = self.pki.files_of(names.service("dispatch"))
        client = Client(self.mqtt, self.pki.ca_file, Card(cert, key), client_id="boot-listener")
        answer = client.open()
        assert answer == "Success", answer
        client.subscribe(topic)
        return client
