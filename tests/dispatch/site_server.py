"""Dispatch as it runs on a site server: workers as processes of their own, on a real broker and database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from broker.dispatch.database import migrate, open_engine, transaction
from broker.dispatch.tables import Contact, Membership, Person, Role, Site
from tests.conftest import REPO
from tests.dispatch.fleet import SITES

STOP_S = 30.0


def write_settings(folder: Path, database: str, port: int, name: str = "dispatch-1", more: str = "") -> Path:
    """A settings file for a broker without TLS."""
    path = folder / f"{name}.yaml"
    path.write_text(
        f"database: {database}\n"
        f"mqtt: {{host: 127.0.0.1, port: {port}, tls: false, client_id: {name}}}\n"
        f"web: {{secret: {'x' * 32}}}\n{more}"
    )
    return path


def _set_up(database: str, ntfy: str) -> None:
    """Tables, the fleet's sites, and somebody to be told; where he has no `ntfy` he is never reached."""
    engine = open_engine(database)
    migrate(engine)
    with transaction(engine) as session:
        session.add(Person(id="ann", login="ann", name="Ann", created_at=0.0))
        session.flush()
        if ntfy:
            session.add(Contact(id="phone", person="ann", channel="ntfy", address=ntfy))
        for n in range(SITES):
            session.add(Site(id=f"site-{n}", name=f"Site {n}"))
            session.add(Membership(person="ann", site=f"site-{n}", role=Role.FOREMAN))
    engine.dispose()


class Workers:
    """Processes of `banksman dispatch worker`, which are started, killed and started again by number."""

    module = ""
    """Run instead of it."""

    def __init__(self, folder: Path, database: str, port: int, count: int, ntfy: str = "") -> None:
        self._folder = folder
        _set_up(database, ntfy)
        self._files = [write_settings(folder, database, port, f"dispatch-{n}") for n in range(count)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Workers:
        for n in range(len(self._files)):
            self.start(n)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            process.wait(STOP_S)

    def start(self, n: int) -> None:
        real = [str(Path(sys.executable).with_name("banksman")), "dispatch", "worker"]
        command = [*([sys.executable, "-m", self.module] if self.module else real), str(self._files[n])]
        with (self._folder / f"worker-{n}.log").open("ab") as log:
            self._processes[n] = subprocess.Popen(command, cwd=REPO, stdout=log, stderr=log, start_new_session=True)

    def kill(self, n: int) -> None:
        assert self._processes[n].poll() is None, f"worker {n} died by itself: {self.log(n)}"
        os.killpg(self._processes[n].pid, signal.SIGKILL)  # and its process for jobs
        self._processes[n].wait(STOP_S)

    def log(self, n: int) -> str:
        return (self._folder / f"worker-{n}.log").read_text(errors="replace")[-3000:]
