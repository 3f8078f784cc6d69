"""From a card to the first message, in an emulated computer. `make proof-boot`; logs and the card stay in var/boot.

Each stage is told with its time when it has been reached; the first one that is not ends the run with 1.
"""

from __future__ import annotations

import hashlib
import queue
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from broker.messages import Status
from deploy.card.cards import Wanted, new_password, payload
from deploy.card.disk import Partition, boot_partition
from deploy.card.drives import find
from deploy.card.fat import Fat32
from deploy.card.flash import flash
from deploy.card.node import Node
from deploy.card.payload import FOLDER, GO_AWAY, Payload, Token, inject
from deploy.card.tree import Tree
from deploy.text import catalogue
from tests.boot.image import make
from tests.boot.machine import Machine
from tests.boot.server import SiteServer
from tests.broker.builders import Client
from tests.card.images import assert_sound
from tests.conftest import REPO

OUT = REPO / "var" / "boot"
SITE, NODE = "north-yard", "gate-03"
NAME = f"{SITE}/{NODE}"
PATIENCE_S = 1500.0
"""For one stage; installing takes the longest."""
SAID = {
    "kernel": "Linux version ",
    "systemd": "systemd[1]: ",
    "cloud-init has run install.sh": "step 1 of 8",
    "files are whole": "step 2 of 8",
    "signature is right": "step 3 of 8",
    "name and network set": "step 4 of 8",
    "program installed offline": "step 5 of 8",
    "units and configuration in place": "step 6 of 8",
    "enrolled": "step 7 of 8",
    "secrets wiped": "step 8 of 8",
    "installed": "installed: step 8 of 8",
    "READY=1": "Started banksman-node.service",
}
"""Stages in their order, by what the serial line says once they have been reached."""
WRITTEN = "Finished banksman-status.service"
T = TypeVar("T")


class NotReached(Exception):  # noqa: N818 - no error of the program: its answer
    """Which stage, and what the computer said last."""


class Boot:
    """Tells each stage with the time since the beginning and since the last one."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()

    def reached(self, stage: str, about: str = "") -> None:
        now = time.monotonic()
        print(f"{now - self._begun:6.0f} s  +{now - self._last:4.0f} s  {stage}  {about}".rstrip(), flush=True)
        self._last = now


def wait(answer: Callable[[], T | None], machine: Machine, stage: str) -> T:
    """What `answer` gives in the end. Raises NotReached."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := answer()) is None:
        log = machine.log()
        if "failed: step" in log or not machine.runs or time.monotonic() > deadline:
            raise NotReached(f"{stage}\n{log[-6000:]}")
        time.sleep(1)
    return found


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    boot = Boot()
    system = make(OUT)
    boot.reached("image", f"{system.image.stat().st_size / 1e6:.0f} MB")
    with SiteServer(OUT / "server") as server:
        boot.reached("site server", "broker and enrolment door listen")
        release = signed_release(server)
        boot.reached("release", f"{release.stat().st_size / 1e6:.0f} MB, signed")
        card = OUT / "card.img"
        flashed(card, system.image, card_of(server, system.image, release))
        boot.reached("card", "flashed and read back")
        listener = server.listener(f"banksman/1/{NAME}/status")
        with Machine(system, card, cmdline_of(card), OUT / "serial.log") as machine:
            follow(machine, server, listener, boot)
            if not machine.switch_off(180):
                raise NotReached("it does not switch itself off")
            boot.reached("switched off")
        listener.close()
    told = check(card)
    boot.reached("card read back", " | ".join(line for line in told.splitlines() if line))


def follow(machine: Machine, server: SiteServer, listener: Client, boot: Boot) -> None:
    for stage, said in SAID.items():
        wait(partial(machine.has_said, said), machine, stage)
        boot.reached(stage)
    if not server.has_enrolled(NAME):
        raise NotReached("the node has enrolled, and the server knows nothing of it")
    status = wait(lambda: online(listener), machine, "first message")
    boot.reached("first message", f"{status.state}, version {status.version}, model {status.model}")
    wait(partial(machine.has_said, WRITTEN, after=SAID["READY=1"]), machine, "STATUS.txt")
    boot.reached("STATUS.txt written")


def check(card: Path) -> str:
    """What STATUS.txt says, on a card without secrets whose boot partition is sound. Raises NotReached."""
    partition = partition_of(card)
    assert_sound(card, partition.size, offset=partition.offset)
    with card.open("rb") as file:
        tree = Fat32(file, partition.offset, partition.size)
        left, told = GO_AWAY & {*tree.listdir(FOLDER)}, text_of(tree, f"{FOLDER}/STATUS.txt")
    if left:
        raise NotReached(f"still on the card: {', '.join(left)}")
    if catalogue("en")("status.working") not in told:
        raise NotReached(f"STATUS.txt does not say that the node works: {told}")
    return told


def online(listener: Client) -> Status | None:
    """The first status that is not the last will's."""
    try:
        _, data = listener.inbox.get_nowait()
    except queue.Empty:
        return None
    status = Status.model_validate_json(data)
    return status if status.state == "online" else None


# -- what is on the card -----------------------------------------------------------------------------------------------


def signed_release(server: SiteServer) -> Path:
    keys, made = OUT / "keys", OUT / "release"
    server.banksman("release", "keygen", str(keys), "--password", "")
    server.banksman("release", "build", str(made))
    (unsigned,) = made.glob("*.unsigned.tar")
    server.banksman("release", "sign", str(unsigned), "--key", str(keys / "release.key"), "--password", "")
    return unsigned.with_name(unsigned.name.replace(".unsigned", ""))


def card_of(server: SiteServer, image: Path, release: Path) -> Payload:
    cards = server.cards(image, digest_of(image), release, OUT / "keys" / "release.pub")
    wanted = Wanted(Node(site=SITE, node=NODE, name="北门", language="en"), new_password())
    return payload(cards, wanted, Token(server.token(NAME), time.time() + 72 * 3600))


def flashed(card: Path, image: Path, content: Payload) -> None:
    """As `banksman card flash` does."""
    digest = digest_of(image)
    flash(image, find(str(card)), lambda tree: inject(tree, content), lambda *_: None, sha256=digest, work=OUT / "work")


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def partition_of(card: Path) -> Partition:
    with card.open("rb") as file:
        return boot_partition(file)


def cmdline_of(card: Path) -> str:
    partition = partition_of(card)
    with card.open("rb") as file:
        return text_of(Fat32(file, partition.offset, partition.size), "cmdline.txt").strip()


def text_of(tree: Tree, name: str) -> str:
    return tree.read(name).decode("utf-8-sig").replace("\r", "")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started ends with it
    try:
        main()
    except NotReached as error:
        sys.exit(f"NOT REACHED: {error}")
