"""`banksman demo`: an in-process broker, a node on a sample scene, dispatch, and the pages of both.

Node and dispatch are the real ones, on files of their own in a temporary folder; only the broker, and that messages to
people go to the terminal, differ from production.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from rich.cells import cell_len
from rich.console import Console
from ruamel.yaml import YAML

from broker.embedded import EmbeddedBroker, EmbeddedBrokerError
from broker.embedded import free_port as any_port
from broker.messages import PREFIX, AlarmMessage, CameraHealth, Health, Kind, MessageError, parse_topic
from deploy.demo_dispatch import LOGIN, Dispatch, dispatching
from edge.capture.folder import pictures_in
from edge.capture.source import SourceError
from edge.node import NodeError, run_site
from edge.rules import RULES
from edge.site.load import check
from edge.text import Catalogue, catalogue
from edge.values import CameraCause, CameraState

SITE, NODE, CAMERA = "demo", "desk", "street"
_FIRST_PORT, _PORTS = 8080, 20
_DISPATCH_PORT = 8090
_PHOTOS = ("bus.jpg", "zidane.jpg")  # street and people photos that come inside the ultralytics wheel
_CACHE = Path(".cache", "banksman", "photos")  # in the home folder


class DemoError(Exception):
    """The demo cannot start; `told` says why and what to do. key: below `demo.error` of the catalogues."""

    def __init__(self, key: str, **fields: object) -> None:
        self._key, self._fields = key, fields
        super().__init__(self.told("en"))

    def told(self, language: str) -> str:
        return catalogue(language)(f"demo.error.{self._key}", **self._fields)


def sample_photos(spare: Path) -> Path:
    """A folder with the sample photos, taken out of the ultralytics wheel (fetched once, without dependencies).

    spare: where they go where there is no home folder to keep them in. Raises DemoError where they cannot be had.
    """
    spec = find_spec("ultralytics")  # finds, does not import
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "assets"
    kept = _kept_photos(spare)
    if not all((kept / name).is_file() for name in _PHOTOS):
        with tempfile.TemporaryDirectory() as folder:
            _unpack(_download(Path(folder)), kept)
    return kept


def _kept_photos(spare: Path) -> Path:
    try:
        folder = Path.home() / _CACHE
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # a user without a home, or one that may not be written to
        return spare
    return folder if os.access(folder, os.W_OK) else spare


def _download(folder: Path) -> Path:
    pins = Path(__file__).resolve().parent.parent / "requirements.txt"
    constraints = ["-c", str(pins)] if pins.is_file() else []
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--only-binary", ":all:", "--dest", str(folder), *constraints, "ultralytics",
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, timeout=300)  # noqa: S603 (fixed words)
    except (subprocess.SubprocessError, OSError) as error:
        raise DemoError("not_fetched") from error
    return next(folder.glob("ultralytics-*.whl"))


def _unpack(wheel: Path, folder: Path) -> None:
    """Take the photos out of a wheel. Each appears whole or not at all, whenever the program is stopped."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            photos = {name: archive.read(f"ultralytics/assets/{name}") for name in _PHOTOS}
    except (zipfile.BadZipFile, KeyError) as error:
        raise DemoError("bad_wheel", wheel=wheel.name, error=error) from error
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in photos.items():
        part = folder / f".{name}.{os.getpid()}"
        part.write_bytes(content)
        part.replace(folder / name)


def source_of(text: str, folder: Path) -> dict[str, Any]:
    """The `source` section for what the user gave. Raises DemoError for what is none of them.

    folder: where sample photos may go that cannot be kept.
    """
    if not text:
        return {"type": "pan", "path": str(sample_photos(folder / "photos")), "seconds": 12.0}
    if text.isdecimal():
        return {"type": "usb", "index": int(text)}
    if text.startswith(("rtsp://", "rtsps://")):
        return {"type": "rtsp", "url": text}
    if text.startswith(("http://", "https://")):
        return {"type": "mjpeg", "url": text}
    path = Path(text).expanduser().resolve()
    if path.is_dir():
        try:
            pictures_in(path)
        except SourceError as error:
            raise DemoError("no_pictures", folder=path) from error
        return {"type": "pan", "path": str(path)}
    if path.is_file():
        return {"type": "file", "path": str(path), "loop": True}
    raise DemoError("no_source", source=text)


def site_file(
    source: dict[str, Any], broker_port: int, page_port: int, evidence: dict[str, str], language: str
) -> dict[str, Any]:
    """The demo's site file: the whole picture is a work zone, a part of the street is closed to people.

    evidence: the section `uplinks.evidence`.
    """
    text = catalogue(language)
    return {
        "site": {"id": SITE, "name": text("demo.site"), "latitude": 39.91, "longitude": 116.4},
        "node": {"id": NODE, "data_dir": "data", "clock_trusted": True},
        "language": language,
        "cameras": [
            {
                "id": CAMERA,
                "name": text("demo.camera"),
                "source": source,
                "zones": [
                    {"id": "street", "name": text("demo.zone"), "kind": "work",
                     "polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]},
                    {"id": "closed", "name": text("demo.closed"), "kind": "no_entry",
                     "polygon": [[0.55, 0.3], [1.0, 0.3], [1.0, 1.0], [0.55, 1.0]]},
                ],
            }
        ],
        "uplinks": {
            "mqtt": {"host": "127.0.0.1", "port": broker_port, "tls": False, "confirm": "dispatch"},
            "evidence": evidence,
        },
        "page": {"port": page_port},
    }  # fmt: skip


def free_port(asked: int, first: int = _FIRST_PORT, but: int = 0) -> int:
    """The port asked for, or the first free one from `first` other than `but`. Raises DemoError where there is none."""
    for port in [asked] if asked else (one for one in range(first, first + _PORTS) if one != but):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except PermissionError as error:
                raise DemoError("no_right", port=port) from error
            except OSError:
                continue
            return port
    if asked:
        raise DemoError("port_in_use", port=asked)
    raise DemoError("ports_in_use", first=first, last=first + _PORTS - 1)


class Screen:
    """Prints what arrives over MQTT: every alarm, and a camera that is lost or sees again."""

    def __init__(self, console: Console, text: Catalogue) -> None:
        self._console = console
        self._text = text
        self._states: dict[str, str] = {}

    def take(self, topic: str, payload: bytes) -> None:
        try:
            about = parse_topic(topic)
            if about.kind is Kind.HEALTH:
                for camera in Health.from_payload(payload).cameras:
                    self._camera(camera, topic)
            else:
                self._alarm(about.name, AlarmMessage.from_payload(payload), topic)
        except MessageError as error:
            self._console.print(f"[red]{topic}: {error}[/]")

    def _alarm(self, rule: str, alarm: AlarmMessage, topic: str) -> None:
        text = self._text
        colour = {"raised": "bold red", "updated": "yellow", "cleared": "green"}[alarm.event]
        why = f"{text(f'reason.{alarm.reason}')} · {text('demo.subjects', n=alarm.subjects)}"
        self._line(colour, text(f"page.change.{alarm.event}"), f"{text(f'rule.{rule}.alarm')} · {why}", topic)

    def _camera(self, camera: CameraHealth, topic: str) -> None:
        """Only changes: it is as it was, or has only begun, and there is nothing to say."""
        text, was = self._text, self._states.get(camera.camera, CameraState.LIVE)
        if camera.state in (was, CameraState.OPENING):
            return
        self._states[camera.camera] = camera.state
        sees, known = camera.state == CameraState.LIVE, camera.cause != CameraCause.NONE
        told = [text("demo.camera"), text(f"camera_state.{camera.state}")]
        if known:
            told += [text(f"cause.{camera.cause}"), text(f"cause_do.{camera.cause}")]
        elif not sees:
            told.append(text(f"page.state_do.{camera.state}"))
        colour = "green" if sees else "bold yellow"
        self._line(colour, text("demo.camera_word"), " · ".join(told), topic)

    def _line(self, colour: str, word: str, told: str, topic: str) -> None:
        self._console.print(f"[{colour}]{word:>8}[/] {told} [dim]{topic}[/]", highlight=False, soft_wrap=True)


@contextmanager
def _shown(screen: Screen, port: int) -> Iterator[None]:
    """Have the screen print what arrives, as a subscriber of its own."""

    def on_connect(client: mqtt.Client, *_: object) -> None:
        client.subscribe([(f"{PREFIX}/{SITE}/+/{what}", 1) for what in ("alarm/+", "health")])

    def on_message(client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        screen.take(message.topic, bytes(message.payload))

    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="demo-screen", protocol=mqtt.MQTTv5)
    client.on_connect, client.on_message = on_connect, on_message
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield
    finally:
        client.disconnect()
        client.loop_stop()


def run_demo(source: str, port: int, seconds: float, language: str, stop: threading.Event) -> None:
    """Run until `stop` is set or `seconds` have passed (0: no limit). Raises DemoError where it cannot start."""
    page_port, text, console = free_port(port), catalogue(language), Console()
    with tempfile.TemporaryDirectory(prefix="banksman-demo-") as folder:
        camera = source_of(source, Path(folder))
        try:
            broker = EmbeddedBroker()
            broker.start()
        except EmbeddedBrokerError as error:
            raise DemoError("broker", error=error) from error
        if seconds:
            timer = threading.Timer(seconds, stop.set)
            timer.daemon = True
            timer.start()
        ports = broker.port, free_port(0, _DISPATCH_PORT, page_port), any_port()
        try:
            with dispatching(Path(folder) / "server", f"{SITE}/{NODE}", ports, text, console) as dispatch:
                content = site_file(camera, broker.port, page_port, dispatch.evidence, language)
                path = _written(content, Path(folder) / "site.yaml", language)
                with _shown(Screen(console, text), broker.port):
                    _greet(console, text, content, path, dispatch)
                    run_site(path, stop)
        except NodeError as error:
            raise DemoError("node", error=error) from error
        finally:
            broker.stop()


def _written(content: dict[str, Any], path: Path, language: str) -> Path:
    written = StringIO()
    YAML().dump(content, written)
    path.write_text(written.getvalue(), encoding="utf-8")
    if problems := check(path, RULES, language):
        # The file is of the demo's making: where it is wrong says nothing to whoever gave the source.
        raise DemoError("source", problems="\n".join(f"{problem.where}: {problem.message}" for problem in problems))
    return path


def _greet(console: Console, text: Catalogue, content: dict[str, Any], path: Path, dispatch: Dispatch) -> None:
    broker_port = content["uplinks"]["mqtt"]["port"]
    console.print(f"[bold]Banksman[/] {text('demo.running')}")
    rows = (
        (text("demo.page"), f"http://127.0.0.1:{content['page']['port']}/"),
        (text("demo.dispatch"), f"{dispatch.url}/"),
        ("", text("demo.log_in", name=LOGIN, password=dispatch.password)),
        ("MQTT", f"127.0.0.1:{broker_port}   {PREFIX}/{SITE}/#"),
        (text("demo.site_file"), str(path)),
    )
    width = max(cell_len(word) for word, _ in rows)
    for word, told in rows:
        console.print(f"  {word}{' ' * (width - cell_len(word))}   {told}", soft_wrap=True)
    console.print(f"[dim]{text('demo.stop')}[/]")
