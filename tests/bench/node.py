"""How fast, how large, how late the node is: `make bench`. Ratios of things measured side by side in one run.

    python -m tests.bench.node [speed] [memory] [latency]      all three without a word

speed    frames a second of the whole pipeline over those of the bare runtime session: same decoded frames, same
         threads; ultralytics' own `track()` loop beside them where it is installed.
memory   resident memory of `banksman run` with one 720p camera, page (with a viewer), MQTT and InfluxDB, per runtime.
latency  from the first picture of a breach leaving a 5 fps camera to the alarm received over MQTT, less the
         confirmation time.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import numpy.typing as npt
import paho.mqtt.client as mqtt
import psutil
from paho.mqtt.enums import CallbackAPIVersion
from ruamel.yaml import YAML

from broker.embedded import EmbeddedBroker, free_port
from broker.messages import AlarmMessage
from edge.clock import ManualClock, Stamp
from edge.detect import Detector, load_closer, load_detector, read_manifest
from edge.detect.letterbox import Letterbox
from edge.detect.manifest import RuntimeName, verified_files
from edge.detect.runtimes import import_runtime
from edge.evidence.recorder import Recorder
from edge.health import Pace
from edge.journal.journal import Journal
from edge.judge import Judge, Watched
from edge.line import CameraLine
from edge.live import LiveBoard
from edge.node import all_terms
from edge.post import Post
from edge.rules import RULES
from edge.site.model import SiteFile
from edge.values import CameraCause, CameraState, CameraStatus, Frame, Image
from tests.conftest import SHARED
from tests.detect.shipped import CHECKPOINT, SHIPPED
from tests.influx import TOKEN, Influx

THREADS = 2
FRAMES = 600
"""Forty seconds at 15 a second, with two alarms, their pictures and clips: already 180 alarms an hour."""
ROUNDS = 4
RUNTIMES: tuple[RuntimeName, ...] = ("onnx", "ncnn", "openvino")
CLIP = SHARED / "data" / "clips" / "ppe-2.mp4"
ALARMS = 30
RULE = "hi_vis"
"""Whose alarms are timed: the people in the street photo wear no vests, and the detector is sure of it."""
MEMORY_S = 60.0
WHOLE = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]


def street_photo() -> Image:
    """People in a street, from the ultralytics package; the demo has fetched it where that is not installed."""
    from deploy.demo import sample_photos  # noqa: PLC0415 (only here)

    with tempfile.TemporaryDirectory() as spare:
        image = cv2.imread(str(sample_photos(Path(spare)) / "bus.jpg"))
    assert image is not None
    scene = cv2.resize(cv2.GaussianBlur(image, (0, 0), 40), (1280, 720))
    scene[:, 370:910] = cv2.resize(image, (540, 720), interpolation=cv2.INTER_AREA)
    return np.asarray(scene, dtype=np.uint8)


def decoded_frames(count: int) -> list[Image]:
    """720p frames of a clip with two workers, one without a vest; of a moving street photo where there is no clip."""
    if CLIP.is_file():
        video = cv2.VideoCapture(str(CLIP))
        frames: list[Image] = []
        while len(frames) < count:
            fine, image = video.read()
            if not fine:
                video.set(cv2.CAP_PROP_POS_FRAMES, 0)
                continue
            frames.append(np.asarray(image, dtype=np.uint8))
        return frames
    photo = street_photo()
    return [np.roll(photo, n * 2, axis=1) for n in range(count)]


# -- speed -----------------------------------------------------------------------------------------------------------


class Memory:
    """A camera whose frames are decoded already.

    As a real reader it has a thread of its own, which offers each frame to the recorder and waits until it was taken.
    """

    def __init__(self, frames: Sequence[Image], fps: float, recorder: Recorder, wake: Callable[[], None]) -> None:
        self._frames = frames
        self._fps = fps
        self._recorder = recorder
        self._wake = wake
        self._start = Stamp(1_790_000_000.0, 1_000.0, "bench", synced=True)
        self._changed = threading.Condition()
        self._newest: Frame | None = None
        self._taken = 0
        self.ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for n, image in enumerate(self._frames):
            frame = Frame("gate", n + 1, self._start.plus(n / self._fps), image)
            self._recorder.offer(frame)
            with self._changed:
                self._newest = frame
                self._changed.notify_all()
            self._wake()
            with self._changed:
                self._changed.wait_for(lambda seq=frame.seq: self._taken >= seq)  # type: ignore[misc]
        self.ended = True
        self._wake()

    def take(self, after: int, timeout: float) -> Frame | None:
        del timeout
        with self._changed:
            if self._newest is None or self._newest.seq <= after:
                return None
            self._taken = self._newest.seq
            self._changed.notify_all()
            return self._newest

    def status(self) -> CameraStatus:
        return CameraStatus("gate", CameraState.LIVE, CameraCause.NONE, self._start)

    def stop(self) -> None:
        pass


def site_file() -> SiteFile:
    return SiteFile.model_validate(
        {
            "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
            "node": {"id": "gate-03"},
            "cameras": [
                {
                    "id": "gate",
                    "source": {"type": "file", "path": "clip.mp4", "realtime": False},
                    "zones": [{"id": "trench", "kind": "work", "polygon": WHOLE}],
                }
            ],
        }
    )


def pipeline(frames: Sequence[Image], detector: Detector) -> tuple[float, int]:
    """(seconds, alarms) of the node's own judging loop over these frames: everything but decoding and the network."""
    site = site_file()
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(1) as executor:
        clock = ManualClock()
        journal = Journal(Path(temporary) / "journal.db", clock, site.journal)
        recorder = Recorder(site.evidence, journal, clock, Path(temporary) / "evidence")
        recorder.start()
        judge = Judge(
            detector=detector, executor=executor, journal=journal, recorder=recorder, board=LiveBoard(), pace=Pace(),
            clock=clock, told=lambda: None,
        )  # fmt: skip
        post = Post(
            CameraLine(
                site,
                site.cameras[0],
                detector.names,
                RULES,
                detector.manifest.least_confidence,
                closer=load_closer(SHIPPED, detector.runtime),
            ),
            all_terms(site),
        )
        judge.watched["gate"] = Watched(Memory(frames, 15.0, recorder, judge.wake), post, 0.2, replay=True)
        start = time.perf_counter()
        judge.run(lambda: False, to_the_end=True)
        took = time.perf_counter() - start
        recorder.stop()
        alarms = len(journal.recent_alarms(100))
        journal.close()
    return took, alarms


class Bare:
    """The runtime's session alone, on frames that are letterboxed already."""

    def __init__(self, runtime: RuntimeName) -> None:
        self._manifest = read_manifest(SHIPPED)
        files = verified_files(SHIPPED, self._manifest, runtime)
        self._session = import_runtime(runtime).open_session(files, THREADS)

    def seconds(self, frames: Sequence[Image]) -> float:
        letterbox = Letterbox(self._manifest.input, self._manifest.preprocessing)
        blobs = [letterbox(f)[0].copy() for f in frames]
        start = time.perf_counter()
        for blob in blobs:
            self._session.run(blob)
        return time.perf_counter() - start

    def close(self) -> None:
        self._session.close()


def ultralytics_loop(frames: Sequence[Image]) -> float | None:
    """Seconds of ultralytics' own loop, with its default tracker; None where it is missing."""
    if find_spec("ultralytics") is None:
        return None
    import torch  # noqa: PLC0415
    from ultralytics import YOLO  # noqa: PLC0415

    torch.set_num_threads(THREADS)
    model, side = YOLO(str(CHECKPOINT)), read_manifest(SHIPPED).input.width
    for image in frames[:3]:
        model.track(image, persist=True, imgsz=side, verbose=False)
    start = time.perf_counter()
    for image in frames:
        model.track(image, persist=True, imgsz=side, verbose=False)
    return time.perf_counter() - start


def speed() -> None:
    """In short rounds in turn, so that whatever else the machine does falls on both alike."""
    frames = decoded_frames(FRAMES)
    height, width = frames[0].shape[:2]
    print(f"speed: {ROUNDS} rounds of {FRAMES} frames of {width}x{height}, {THREADS} threads")
    for runtime in RUNTIMES:
        if find_spec({"onnx": "onnxruntime"}.get(runtime, runtime)) is None:
            continue
        detector, session = load_detector(SHIPPED, runtime, THREADS), Bare(runtime)
        pipeline(frames[:30], detector)
        session.seconds(frames[:30])
        rounds = [(session.seconds(frames), pipeline(frames, detector)) for _ in range(ROUNDS)]
        detector.close()
        session.close()
        alone, whole = sum(a for a, _ in rounds), sum(took for _, (took, _) in rounds)
        quartiles = np.percentile([a / took for a, (took, _) in rounds], (25, 50, 75))
        print(
            f"  {runtime:<9} bare {ROUNDS * FRAMES / alone:6.1f} fps   pipeline {ROUNDS * FRAMES / whole:6.1f} fps   "
            f"ratio {alone / whole:.3f} (median of rounds {quartiles[1]:.3f}, quartiles {quartiles[0]:.3f} to "
            f"{quartiles[2]:.3f})   {rounds[0][1][1]} alarms a round"
        )
    loop = ultralytics_loop(frames[:150])
    if loop is not None:
        print(f"  ultralytics track() loop on torch: {150 / loop:.1f} fps")


# -- a node of its own process -----------------------------------------------------------------------------------------


def write_site(
    folder: Path, source: dict[str, Any], broker_port: int, influx: dict[str, str] | None = None, **sections: Any
) -> Path:
    mqtt = {"host": "127.0.0.1", "port": broker_port, "tls": False, "confirm": "puback"}
    content = {
        "site": {"id": "north-yard", "latitude": 39.91, "longitude": 116.4},
        "node": {"id": "gate-03", "data_dir": "data", "clock_trusted": True},
        "cameras": [{"id": "gate", "source": source, "zones": [{"id": "trench", "kind": "work", "polygon": WHOLE}]}],
        "uplinks": {"mqtt": mqtt} if influx is None else {"mqtt": mqtt, "influx": influx},
    } | sections
    text = StringIO()
    YAML().dump(content, text)
    path = folder / "site.yaml"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


@contextmanager
def node(site: Path) -> Iterator[psutil.Process]:
    command = [str(Path(sys.executable).with_name("banksman")), "run", str(site)]
    with (site.parent / "node.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


# -- memory ------------------------------------------------------------------------------------------------------------


def clip_720p(folder: Path) -> Path:
    """A 720p clip for a camera in real time."""
    if CLIP.is_file():
        return CLIP
    import av  # noqa: PLC0415

    path = folder / "street.mp4"
    photo = street_photo()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=15)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for n in range(150):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(photo, n, axis=1), format="bgr24")))
        out.mux(stream.encode(None))
    return path


def memory() -> None:
    print(f"memory: `banksman run`, one 720p camera, page with a viewer, MQTT, InfluxDB; after {MEMORY_S:.0f} s")
    for runtime in RUNTIMES:
        if find_spec({"onnx": "onnxruntime"}.get(runtime, runtime)) is None:
            continue
        with tempfile.TemporaryDirectory() as temporary, Influx(Path(temporary) / "influx") as influx:
            broker, port = EmbeddedBroker(), free_port()
            broker.start()
            influx.create("banksman")
            (Path(temporary) / "token").write_text(TOKEN)
            try:
                source = {"type": "file", "path": str(clip_720p(Path(temporary))), "loop": True}
                site = write_site(
                    Path(temporary),
                    source,
                    broker.port,
                    detector={"runtime": runtime, "threads": THREADS},
                    page={"port": port},
                    influx={"url": influx.url, "token_file": "token"},
                )
                with node(site) as process:
                    peak, now, pss = _watch_memory(process, port)
                if not influx.query("banksman", "SELECT * FROM node LIMIT 1"):
                    raise RuntimeError("the node wrote nothing to InfluxDB")
            finally:
                broker.stop()
        print(f"  {runtime:<9} RSS {now:5.0f} MB (peak {peak:.0f}, PSS {pss:.0f})")


def _watch_memory(process: psutil.Process, port: int) -> tuple[float, float, float]:
    """(peak RSS, RSS at the end, PSS at the end) in MB, with somebody looking at the live page throughout."""
    peak, seq = 0.0, 0
    end = time.monotonic() + MEMORY_S
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20.0) as viewer:
        while time.monotonic() < end:
            peak = max(peak, process.memory_info().rss / 1e6)
            try:
                seq = _look(viewer, seq)
            except httpx.TransportError:
                threading.Event().wait(0.5)  # not up yet
        for page in ("/", "/alarms", "/compliance", "/health"):
            viewer.get(page).raise_for_status()
    full = process.memory_full_info()
    return max(peak, full.rss / 1e6), full.rss / 1e6, full.pss / 1e6


def _look(viewer: httpx.Client, seq: int) -> int:
    """What the live page does for every picture: boxes and JPEG come in one answer."""
    answer = viewer.get("/live/gate", params={"after": seq, "state": "live"})
    answer.raise_for_status()
    told = re.search(rb'"seq": ?(\d+)', answer.content)
    threading.Event().wait(0.2)  # as often as the browser asks
    return int(told.group(1)) if told else seq


# -- latency -----------------------------------------------------------------------------------------------------------


class Camera:
    """An MJPEG camera at 5 fps that shows an empty street, or people in it when told to."""

    FPS = 5.0

    def __init__(self) -> None:
        photo = street_photo()
        tiles = np.random.default_rng(1).integers(40, 200, (9, 16, 3), dtype=np.uint8)
        self._empty = cv2.resize(tiles, (1280, 720), interpolation=cv2.INTER_NEAREST)  # much to see, nobody there
        self._breach = photo
        self._noise = np.random.default_rng(0).integers(0, 8, photo.shape, dtype=np.uint8)
        self._lock = threading.Lock()
        self.people = False
        self.first_sent: float | None = None
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while camera.serve(self):
                    pass

            def log_message(self, *args: object) -> None:
                del args

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self._pause = threading.Event()
        self._n = 0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/"

    def serve(self, handler: BaseHTTPRequestHandler) -> bool:
        with self._lock:
            people = self.people
        self._n += 1
        # As a sensor gives it, never twice the same: else the camera would count as frozen.
        jpeg = _jpeg(cv2.add(self._breach if people else self._empty, np.roll(self._noise, 7919 * self._n)))
        try:
            handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg))
            handler.wfile.write(jpeg + b"\r\n")
        except OSError:
            return False
        if people:
            with self._lock:
                self.first_sent = self.first_sent or time.monotonic()
        return not self._pause.wait(1 / self.FPS)

    def show(self, *, people: bool) -> None:
        with self._lock:
            self.people, self.first_sent = people, None

    def close(self) -> None:
        self._pause.set()
        self.server.shutdown()


def _jpeg(image: npt.ArrayLike) -> bytes:
    done, data = cv2.imencode(".jpg", np.asarray(image), [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    return data.tobytes()


class Foreman:
    """Receives alarms over MQTT and notes when."""

    def __init__(self, port: int) -> None:
        self._news = threading.Condition()
        self._got: list[tuple[float, AlarmMessage]] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="foreman", protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"banksman/1/+/+/alarm/{RULE}", qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        del client, userdata
        at = time.monotonic()
        with self._news:
            self._got.append((at, AlarmMessage.from_payload(message.payload)))
            self._news.notify_all()

    def wait(self, event: str, patience_s: float) -> float:
        """When the next such event came."""
        with self._news:
            while True:
                for n, (at, alarm) in enumerate(self._got):
                    if alarm.event == event:
                        del self._got[: n + 1]
                        return at
                if not self._news.wait(patience_s):
                    raise TimeoutError(f"no {event} within {patience_s} s")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def latency() -> None:
    confirm_s = RULES[RULE].confirm_s
    late = []
    with tempfile.TemporaryDirectory() as temporary:
        camera, broker = Camera(), EmbeddedBroker()
        broker.start()
        try:
            site = write_site(
                Path(temporary),
                {"type": "mjpeg", "url": camera.url},
                broker.port,
                page=None,
                detector={"runtime": "onnx", "threads": THREADS},
                rules={RULE: {"clear_s": 1.0}} | {r: {"enabled": False} for r in RULES if r != RULE},
            )
            foreman = Foreman(broker.port)
            with node(site):
                for n in range(ALARMS):
                    camera.show(people=False)
                    if n:
                        foreman.wait("cleared", 30.0)
                    threading.Event().wait(1.0 + (n * 0.37) % 1.0)  # not in step with the frames
                    camera.show(people=True)
                    received = foreman.wait("raised", 60.0)
                    assert camera.first_sent is not None
                    late.append(received - camera.first_sent - confirm_s)
            foreman.close()
        finally:
            camera.close()
            broker.stop()
    p50, p95 = np.percentile(late, [50, 95])
    print(
        f"latency: {len(late)} alarms, 5 fps MJPEG camera: from the first picture of the breach to MQTT received, "
        f"less {confirm_s:g} s of confirmation: p50 {p50:.3f} s, p95 {p95:.3f} s, worst {max(late):.3f} s"
    )


PROGRAMS = {"speed": speed, "memory": memory, "latency": latency}


def main(words: Sequence[str]) -> None:
    if unknown := set(words) - set(PROGRAMS):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; choose {', '.join(PROGRAMS)}")
    if shutil.which("nice") is None:
        print("note: other programs are not held back while this measures")
    for word in words or PROGRAMS:
        PROGRAMS[word]()


if __name__ == "__main__":
    main(sys.argv[1:])
