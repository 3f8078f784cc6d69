"""`banksman-status`: how the node is, in words, in `STATUS.txt` on the card's boot partition.

Any laptop can read it. Written when something has changed, for each write wears the card.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from deploy.card.node import NodeFile, read
from deploy.text import catalogue

SERVICE = "banksman-node.service"
NAME = "STATUS.txt"
PAGE_PORT = 8080
_RULE = "-" * 60
_ASKED = ("ActiveState", "StatusText", "NRestarts")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told. active, said, restarts: of the service (systemctl(1)). page: port, None where there is none."""

    node: str
    version: str
    active: str
    said: str
    restarts: int
    addresses: Sequence[str]
    page: int | None

    @property
    def state(self) -> str:
        """`working`, `starting`, `failing` (it was restarted again and again), or `stopped`."""
        if self.active == "active":
            return "working"
        if self.restarts or self.active == "failed":
            return "failing"
        return "starting" if self.active == "activating" else "stopped"


def told(facts: Facts, now: float) -> str:
    """The whole text, Chinese first. now: Unix seconds."""
    return f"\n{_RULE}\n\n".join(_part(facts, now, language) for language in ("zh-CN", "en"))


def _part(facts: Facts, now: float, language: str) -> str:
    say = catalogue(language)
    lines = [facts.node, "", say(f"status.{facts.state}", restarts=facts.restarts)]
    if facts.said:
        lines.append(say("status.said", said=facts.said))
    lines += network(facts.addresses, facts.page, language)
    lines.append(say("status.version", version=facts.version))
    lines.append(say("status.time", time=time.strftime("%Y-%m-%d %H:%M", time.localtime(now))))
    return "".join(f"{line}\n" for line in lines)


def network(addresses: Sequence[str], page: int | None, language: str) -> list[str]:
    """Where the node's page is, a line each. page: its port, None where it has none for others."""
    say = catalogue(language)
    if not addresses:
        return [say("status.no_network")]
    return [] if page is None else [say("status.page", url=f"http://{address}:{page}/") for address in addresses]


def lasting(text: str) -> str:
    """The text without what changes by itself: the time."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", text)


def update(folder: Path, text: str) -> bool:
    """Write it where it says something new; whole or not at all. Returns whether it did. Raises OSError."""
    file = folder / NAME
    try:
        before = file.read_bytes().decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except FileNotFoundError:
        before = ""
    if lasting(before) == lasting(text):
        return False
    new = folder / "STATUS.new"
    with new.open("wb") as out:
        out.write(text.replace("\n", "\r\n").encode("utf-8-sig"))  # so Notepad shows it
        out.flush()
        os.fsync(out.fileno())
    new.replace(file)
    return True


def service(properties: str) -> Mapping[str, str]:
    """What `systemctl show` printed."""
    return dict(line.split("=", 1) for line in properties.splitlines() if "=" in line)


def addresses() -> list[str]:
    """IPv4 addresses of this computer that others reach, those of cables first."""
    found = [
        (name.startswith("wl"), one.address)
        for name, all_of_it in psutil.net_if_addrs().items()
        for one in all_of_it
        if one.family == socket.AF_INET and not one.address.startswith(("127.", "169.254."))
    ]
    return [address for _, address in sorted(found)]


def page_port(site_file: Path) -> int | None:
    """Of the node's own page; None where it has none, or only for itself."""
    try:
        values = YAML(typ="safe", pure=True).load(site_file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return None  # the service says what is wrong with it
    page = values.get("page") if isinstance(values, dict) else None
    if not isinstance(page, dict) or page.get("host", "127.0.0.1") in ("127.0.0.1", "::1", "localhost"):
        return None
    port = page.get("port", PAGE_PORT)
    return port if isinstance(port, int) else None


def gather(etc: Path) -> Facts:
    """Raises CardError for a bad node.toml, OSError, subprocess.SubprocessError."""
    node = read(NodeFile, (etc / "node.toml").read_bytes(), str(etc / "node.toml")).node
    command = ["systemctl", "show", SERVICE, *(f"--property={name}" for name in _ASKED)]
    asked = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # noqa: S603
    of = service(asked.stdout)
    return Facts(
        node=f"{node.id}  {node.name}".strip(),
        version=version("banksman"),
        active=of["ActiveState"],
        said=of["StatusText"],
        restarts=int(of["NRestarts"]),
        addresses=addresses(),
        page=page_port(etc / "site.yaml"),
    )


def main() -> None:
    """`banksman-status CARD ETC`."""
    card, etc = map(Path, sys.argv[1:3])
    update(card, told(gather(etc), time.time()))
