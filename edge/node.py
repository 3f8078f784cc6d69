"""The node: puts the line together, keeps house beside it, and answers for it. The only file that knows all steps.

    cameras -> judge (this thread) -> journal -> uplinks
                 |                       |
               board ------ page --------+

Threads: one reader a camera and one watchdog; the judging loop in the thread that calls `Node.run`; one in which the
detector looks; one for keeping house (site file, journal, readings); one an uplink; the page's own.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from broker.messages import CameraHealth, Command, Reply, Status
from broker.messages import Health as HealthMessage
from edge.alarm.book import cleared
from edge.alarm.terms import Terms, terms_of
from edge.capture.reader import KEEP_FPS, CameraReader
from edge.clock import Clock, Stamp, SystemClock
from edge.detect import CloserLook, Detector, ModelError, find_model, load_closer, load_detector
from edge.evidence.recorder import Recorder
from edge.health import CORES, Machine, MachineWatch, Pace, cpu_temperature
from edge.heat import Heat
from edge.journal.journal import Journal
from edge.journal.rows import Compliance, JournalError, StoredEvidence
from edge.judge import Judge, Watched
from edge.line import CameraLine
from edge.live import LiveBoard
from edge.page.app import create_app
from edge.page.server import PageError, PageServer
from edge.page.view import Health, LiveView, Uplink
from edge.post import Post
from edge.rules import RULES
from edge.selfwatch import SelfWatch, ailing
from edge.service.notify import Notifier
from edge.service.service import Service
from edge.service.standing import Camera as Stands
from edge.service.standing import Facts
from edge.signal.signals import Signals
from edge.site.keep import SiteFileKeeper, last_good_beside
from edge.site.load import save_zones
from edge.site.model import Camera, SiteFile, Zone
from edge.text import catalogue
from edge.update.trial import Works
from edge.update.updater import Updater, installation
from edge.uplink.evidence import EvidenceUplink
from edge.uplink.mqtt import MqttUplink
from edge.values import AlarmEvent, CameraState, CameraStatus, LinkState, PlaceState, Reason, Severity, Verdict

if TYPE_CHECKING:
    from edge.uplink.influx import InfluxUplink

log = logging.getLogger(__name__)

HOUSE_S = 1.0
"""The journal is flushed, and the site file looked at, this often."""
HOUSE_STANDS_STILL_S = 60.0
"""A full card takes its time to drop what may go; a dead one takes for ever."""
HEAT_S = 5.0
READING_S = 10.0
HEALTH_S = 30.0
_APPLY_S = 5.0  # longest that a save on the page waits for the judging loop to take it over
_RESTART_FOR = ("node", "detector", "evidence", "journal", "uplinks", "page", "signal")
"""Sections of the site file that the whole node is built on; the others are taken over while it runs."""


class NodeError(Exception):
    """The node cannot start; the text says what is wrong, where, and what would be right."""


@dataclass(frozen=True, slots=True)
class InForce:
    """The site file that a node works on: its content, its SHA-256, and why a newer one was not taken, if so."""

    site: SiteFile
    hash: str
    refused: str | None = None


class Outcome(StrEnum):
    """Why `Node.run` returned."""

    STOPPED = "stopped"
    ENDED = "ended"  # every camera was a clip, and all have been played
    RENEW = "renew"  # a new site file asks for another node: build it and run that


class Node:
    """A whole node on one site file. Implements `edge.page.view.NodeView` for its page. Made by `open_node`.

    path: of the site file; relative paths start from its folder.
    stop: set by whoever wants the node to end (a signal handler, a test).
    """

    def __init__(
        self,
        *,
        path: Path,
        keeper: SiteFileKeeper,
        in_force: InForce,
        clock: Clock,
        stop: threading.Event,
        detector: Detector,
        closer: Mapping[str, CloserLook],
        executor: Executor,
        journal: Journal,
        recorder: Recorder,
        service: Service,
        signals: Signals,
    ) -> None:
        self._path = path
        self._keeper = keeper
        self._keeping = threading.Lock()
        self._in_force = in_force
        self._clock = clock
        self._stop = stop
        self._detector = detector
        self._closer = closer
        self._journal = journal
        self._recorder = recorder
        self._service = service
        self._signals = signals
        self._house = service.beats.loop("house", HOUSE_STANDS_STILL_S)
        self._started = clock.now()
        self._pace = Pace()
        self._board = LiveBoard()
        self._machine = MachineWatch(data_dir(in_force.site, path), clock)
        self._judge = Judge(
            detector=detector,
            executor=executor,
            journal=journal,
            recorder=recorder,
            board=self._board,
            pace=self._pace,
            clock=clock,
            told=self._wake_uplink,
            beats=service.beats,
        )
        self._over = threading.Event()  # this node is over, though nobody asked the program to stop
        self._clock_was_ok = self._started.synced
        self._cameras_were: list[tuple[str, CameraState]] = []
        self._read_at = self._felt_at = float("-inf")
        self._heat = Heat()
        self._self = SelfWatch()
        self.mqtt: MqttUplink | None = None
        self.uploads: EvidenceUplink | None = None
        self.influx: InfluxUplink | None = None
        self.updater: Updater | None = None
        self._unwell: str | None = None  # what is wrong with the release on probation

    # -- life --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Post a watch at each camera, with its open alarms from before; end those whose camera or rule is gone."""
        now = self._clock.now()
        restored = self._journal.open_alarms()
        cameras = {c.id for c in self.site().cameras}
        self._self = SelfWatch(restored)
        for event in self._self.begin(now):
            self._journal.alarm(event)
        for event in restored:
            if not ailing(event) and (event.instance.source not in cameras or event.instance.rule not in RULES):
                self._journal.alarm(cleared(event, now, Verdict.UNKNOWN))
        for camera in self.site().cameras:
            mine = [e for e in restored if e.instance.source == camera.id and e.instance.rule in RULES]
            self._watch(camera, mine, now)

    def run(self, *, once: bool = False) -> Outcome:
        """Judge, in this thread, until told to stop or a site file wants another node; `once`: or all clips have ended.

        Raises NodeError where the program was updated and is not well.
        Without `once` a node whose clips have ended still shows what was found, and takes over new site files.
        """
        self._judge.run(lambda: self._stop.is_set() or self._over.is_set(), to_the_end=once)
        if self._unwell is not None:
            raise NodeError(f"the release on probation is not well, the one before comes back: {self._unwell}")
        if self._stop.is_set():
            return Outcome.STOPPED
        return Outcome.RENEW if self._over.is_set() else Outcome.ENDED

    def close(self) -> None:
        """Stop the cameras. Everything else was opened, and is closed, by `open_node`."""
        for watched in self._judge.watched.values():
            watched.reader.stop()

    def _watch(self, camera: Camera, restored: Sequence[AlarmEvent], now: Stamp) -> None:
        post = Post(self._line(self.site(), camera), all_terms(self.site()), restored)
        reader = CameraReader(
            camera, self._clock, self._path.parent, sinks=(self._recorder.offer,), wake=self._judge.wake,
            beats=self._service.beats,
        )  # fmt: skip
        replay = not getattr(camera.source, "realtime", True)
        watched = Watched(reader, post, 1.0 / camera.judge_fps, replay)
        for event in post.begin(now):
            self._judge.record(post, event, None)
        watched.publish(now)
        self._judge.watched[camera.id] = watched
        reader.start()

    def _line(self, site: SiteFile, camera: Camera) -> CameraLine:
        model = self._detector.manifest
        return CameraLine(
            site, camera, self._detector.names, RULES, model.least_confidence,
            closer=self._closer, overlooked=model.overlooks,
        )  # fmt: skip

    def _wake_uplink(self) -> None:
        if self.mqtt is not None:
            self.mqtt.wake()

    # -- keeping house -----------------------------------------------------------------------------------------

    def keep_house(self) -> None:
        """What is to be done every second beside the judging. In a thread of its own, so that no disk delays a look."""
        now = self._clock.now()
        self._house.work(now.mono)
        self._journal.flush(now)
        if now.mono - self._read_at >= READING_S:
            self._read_at = now.mono
            machine = self._machine.read()
            self._journal.reading("node", now, self._numbers(machine))
            self._look_at_itself(machine, now)
        if now.mono - self._felt_at >= HEAT_S:
            self._felt_at = now.mono
            self._feel(cpu_temperature(), now)
        self.look_at_site_file()
        if self.uploads is not None:
            self.uploads.wake()  # a new picture is on disk about now, and a message waits 3 s for it at most
        if self.mqtt is not None and now.synced != self._clock_was_ok:
            self._clock_was_ok = now.synced
            self.mqtt.status_changed()
        if self.updater is not None:
            self.updater.look()
        cameras = [(s.camera, s.state) for s in self.cameras()]
        if self.mqtt is not None and cameras != self._cameras_were:
            self._cameras_were = cameras
            self.mqtt.health_changed()
        self._tell_of_itself(now)

    def _tell_of_itself(self, now: Stamp) -> None:
        facts = self.facts(now)
        self._service.say(facts.line(catalogue(self.site().language)), ready=facts.ready)
        self._signals.show(facts.sign, self._loud())

    def _look_at_itself(self, machine: Machine, now: Stamp) -> None:
        for event in self._self.look(machine, written=self._journal.state.ok, stamp=now):
            kept = self._journal.alarm(event)
            log.warning("alarm %s: %s, verdict %s (%s)", kept.change, kept.instance, kept.verdict, kept.reason)
            self._wake_uplink()

    def _feel(self, degrees: float | None, now: Stamp) -> None:
        before, self._heat = self._heat, self._heat.after(degrees, now.mono, len(self.site().cameras))
        if self._heat.step != before.step:
            log.warning("%s °C: %s", degrees, self._heat.cooling or "all looks again")
            self._judge.ask(self._keep_cool)

    def _keep_cool(self) -> None:
        """Between two frames: as many looks as the heat allows, and said where there are none."""
        watched = self._watched()
        wanted = [1.0 / camera.judge_fps for camera in self.site().cameras if camera.id in watched]
        for one, period_s in zip(watched.values(), self._heat.periods(wanted), strict=True):
            one.off = Reason.NODE_HOT if period_s is None else None
            one.period_s = period_s or one.period_s

    def _loud(self) -> frozenset[str]:
        """The alarms that the siren sounds for."""
        site = self.site()
        least = Severity.WARNING if site.signal.siren is None else site.signal.siren.severity
        return frozenset(
            s.alarm
            for s in self.states()
            if s.alarm is not None
            and s.verdict is Verdict.VIOLATION
            and Severity(site.rule(s.instance.rule).severity or RULES[s.instance.rule].severity).rank >= least.rank
        )

    def rest(self) -> None:
        """Nobody keeps house any more."""
        self._house.rest()

    def look_at_site_file(self) -> None:
        """Take over a new site file; keep the last good one where the new one is bad, and say so."""
        with self._keeping:
            before = self.site_error()
            new = self._keeper.poll()
            if new is not None:
                self._take_over(InForce(new, self._keeper.hash))
            if self.mqtt is not None and (new is not None or self.site_error() != before):
                self.mqtt.status_changed()

    def _take_over(self, new_file: InForce) -> None:
        old, new = self.site(), new_file.site
        if old.site.id != new.site.id or any(getattr(old, part) != getattr(new, part) for part in _RESTART_FOR):
            log.info("the new site file asks for a restart of the node")
            self._over.set()
            self._judge.wake()
            return
        done = threading.Event()

        def apply() -> None:
            self._renew(new_file)
            done.set()

        self._judge.ask(apply)
        done.wait(_APPLY_S)

    def _renew(self, new_file: InForce) -> None:
        """Between two frames: the new site file is in force."""
        now, old, new = self._clock.now(), self.site(), new_file.site
        self._in_force = new_file
        kept = {c.id: c for c in new.cameras}
        for camera in old.cameras:
            watched = self._judge.watched[camera.id]
            heir = kept.get(camera.id)
            if heir is not None and _same_eye(camera, heir):
                watched.period_s = 1.0 / heir.judge_fps
                events = watched.post.renew(self._line(new, heir), all_terms(new), now)
            else:
                watched.reader.stop()
                del self._judge.watched[camera.id]
                self._board.forget(camera.id)
                events = watched.post.close(now) if heir is None else []
            for event in events:
                self._judge.record(watched.post, event, None)
        still_open = self._journal.open_alarms()
        for camera in new.cameras:
            if camera.id not in self._judge.watched:
                self._watch(camera, [e for e in still_open if e.instance.source == camera.id], now)
        self._keep_cool()
        log.info("new site file in force: %s", new_file.hash[:12])

    # -- what it says of itself --------------------------------------------------------------------------------

    def facts(self, now: Stamp) -> Facts:
        """How the node stands."""
        mqtt, journal = self.site().uplinks.mqtt, self._journal.state
        return Facts(
            cameras=[
                Stands(w.reader.status(), w.now is not None, off=w.off is not None) for w in self._watched().values()
            ],
            mqtt=LinkState.OFF if self.mqtt is None else self.mqtt.state,
            trouble=None if journal.ok else journal.trouble,
            enrolled=mqtt is None or mqtt.cert is None or mqtt.cert.exists(),
            alarms=sum(s.alarm is not None and s.verdict is Verdict.VIOLATION for s in self.states()),
            cooling=self._heat.cooling,
            weak=self._machine.power == "weak",
            clock_ok=now.synced,
            site_file_ok=self.site_error() is None,
            late=tuple(self._service.beats.late(now.mono)),
            siren=self._signals.trouble,
        )

    def status(self) -> Status:
        now = self._clock.now()
        return Status(
            state="online",
            since=now.wall - (now.mono - self._started.mono),
            version=version("banksman"),
            model=self._model()[:200],  # the wire takes no more
            site_file_hash=self._in_force.hash,
            site_file_error=_line(self.site_error()),
            clock_ok=now.synced,
            update=None if self.updater is None else self.updater.report(),
        )

    def health_message(self) -> HealthMessage:
        now, health = self._clock.now(), self.health()
        journal = health.journal
        return HealthMessage(
            at=now.wall,
            period_s=HEALTH_S,
            uptime_s=health.uptime_s,
            fps=health.fps,
            latency_p50_ms=health.latency_p50_ms,
            latency_p95_ms=health.latency_p95_ms,
            cpu_temp_c=health.cpu_temp_c,
            heat=health.heat,
            power=health.power,
            disk=health.disk,
            cooling=health.cooling or "none",
            # Here a share of one core, which is what a thread is bound by; on the wire one of the whole computer.
            cpu_percent=None if health.cpu_percent is None else health.cpu_percent / CORES,
            rss_mb=health.rss_mb,
            disk_free_mb=health.disk_free_mb,
            journal="failed" if journal.lost or not journal.ok else "dropping" if journal.dropped else "ok",
            journal_depth=health.journal_depth,
            points_waiting=None if self.influx is None else health.influx.waiting,
            cameras=tuple(
                CameraHealth(camera=s.camera, state=s.state, cause=s.cause, since=s.since.wall, fps=s.fps)
                for s in self.cameras()
            ),
        )

    def commands(self) -> Mapping[str, Callable[[Command], Reply]]:
        """What may be asked of this node over MQTT."""
        more = {} if self.updater is None else {"update": self.updater.command}
        return {"ping": self._ping, "reload": self._reload} | more

    def _ping(self, command: Command) -> Reply:
        del command
        return Reply(ok=True, result={"version": version("banksman"), "uptime_s": round(self._uptime(), 1)})

    def _reload(self, command: Command) -> Reply:
        del command
        self.look_at_site_file()
        if error := _line(self.site_error()):
            return Reply(ok=False, code="site_file", message=error)
        return Reply(ok=True, result={"site_file_hash": self._in_force.hash})

    def works(self) -> Works:
        """What an update must leave as it is."""
        links = {"broker": self._broker_link().state, "influx": self._influx_link().state}
        return Works(
            now=frozenset(f"camera {s.camera}" for s in self.cameras() if s.state.sees)
            | frozenset(name for name, state in links.items() if state is LinkState.UP),
            meant=frozenset(f"camera {c.id}" for c in self.site().cameras)
            | frozenset(name for name, state in links.items() if state is not LinkState.OFF),
        )

    def status_changed(self) -> None:
        """What `status` gives is not what it was."""
        if self.mqtt is not None:
            self.mqtt.status_changed()

    def not_well(self, what: str) -> None:
        """The release on probation does not do what worked before it: the node has to end."""
        self._unwell = what
        self._over.set()
        self._judge.wake()

    def _model(self) -> str:
        manifest = self._detector.manifest
        return f"{manifest.name} {manifest.version}"

    def _uptime(self) -> float:
        return self._clock.now().mono - self._started.mono

    def _numbers(self, machine: Machine) -> dict[str, float | int | str | None]:
        speed = self._pace.speed(self._clock.now().mono)
        return {
            "fps": speed.fps,
            "latency_p50_ms": speed.latency_p50_ms,
            "latency_p95_ms": speed.latency_p95_ms,
            "cpu_temp_c": machine.cpu_temp_c,
            "cooling": self._heat.step,
            "weak_power": None if machine.power is None else int(machine.power == "weak"),
            "cpu_percent": None if machine.cpu_percent is None else machine.cpu_percent / CORES,
            "rss_mb": machine.rss_mb,
            "disk_free_mb": machine.disk_free_mb,
            "uptime_s": self._uptime(),
            "journal_depth": self._journal.depth(evidence=self.uploads is not None),
            "points_waiting": None if self.influx is None else self.influx.state.waiting,
            "cameras": len(self.site().cameras),
            "cameras_live": sum(s.state.sees for s in self.cameras()),
            "latitude": self.site().site.latitude,  # for the map of all sites
            "longitude": self.site().site.longitude,
        }

    # -- NodeView ----------------------------------------------------------------------------------------------

    def site(self) -> SiteFile:
        return self._in_force.site

    def site_error(self) -> str | None:
        return self._keeper.error or self._in_force.refused

    def _watched(self) -> dict[str, Watched]:
        """The cameras of the site file in force, in its order, as far as the judge has them already."""
        watched = dict(self._judge.watched)
        return {c.id: watched[c.id] for c in self.site().cameras if c.id in watched}

    def cameras(self) -> tuple[CameraStatus, ...]:
        return tuple(_as_it_is(watched) for watched in self._watched().values())

    def live(self, camera: str, after: int, timeout: float) -> LiveView | None:
        return self._board.wait(camera, after, timeout) if camera in self._watched() else None

    def states(self) -> tuple[PlaceState, ...]:
        return tuple(state for watched in self._watched().values() for state in watched.states)

    def alarms(self, limit: int) -> tuple[AlarmEvent, ...]:
        return self._journal.recent_alarms(limit)

    def alarm(self, alarm: str) -> tuple[AlarmEvent, ...]:
        return self._journal.alarm_history(alarm)

    def evidence(self, alarm: str) -> tuple[StoredEvidence, ...]:
        return self._journal.evidence_of(alarm)

    def compliance(self, hours: int) -> tuple[Compliance, ...]:
        return self._journal.compliance(self._clock.now().wall - hours * 3600)

    def health(self) -> Health:
        speed, machine = self._pace.speed(self._clock.now().mono), self._machine.read()
        return Health(
            version=version("banksman"),
            model=self._model(),
            runtime=self._detector.runtime,
            fps=speed.fps,
            latency_p50_ms=speed.latency_p50_ms,
            latency_p95_ms=speed.latency_p95_ms,
            rss_mb=machine.rss_mb,
            cpu_temp_c=machine.cpu_temp_c,
            cpu_percent=machine.cpu_percent,
            disk_free_mb=machine.disk_free_mb,
            journal=self._journal.state,
            journal_depth=self._journal.depth(evidence=self.uploads is not None),
            mqtt=self._broker_link(),
            uploads=self._upload_link(),
            influx=self._influx_link(),
            clock_synced=self._clock.now().synced,
            uptime_s=self._uptime(),
            disk=machine.disk,
            heat=machine.heat,
            power=machine.power,
            cooling=self._heat.cooling,
        )

    def _broker_link(self) -> Uplink:
        mqtt = self.mqtt
        return Uplink(LinkState.OFF) if mqtt is None else Uplink(mqtt.state, mqtt.cause, mqtt.detail)

    def _upload_link(self) -> Uplink:
        if self.uploads is None:
            return Uplink(LinkState.OFF)
        state = self.uploads.state
        return Uplink(state.link, state.cause, state.detail, state.aside)

    def _influx_link(self) -> Uplink:
        if self.influx is None:
            return Uplink(LinkState.OFF)
        state = self.influx.state
        return Uplink(state.link, state.cause, state.detail, state.refused, state.waiting)

    def save_zones(self, camera: str, zones: Sequence[Zone], language: str) -> None:
        save_zones(self._path, camera, zones, RULES, language)
        self.look_at_site_file()


def _as_it_is(watched: Watched) -> CameraStatus:
    status = watched.reader.status()
    left_out = watched.off is not None and status.state.sees
    return replace(status, state=CameraState.LEFT_OUT) if left_out else status


def data_dir(site: SiteFile, path: Path) -> Path:
    """Where a node on the site file at `path` keeps its journal and evidence."""
    return path.parent / site.node.data_dir


def _line(error: str | None) -> str | None:
    """An error as the wire takes it: one line, not too long."""
    return None if error is None else " ".join(error.split())[:500]


def all_terms(site: SiteFile) -> Mapping[str, Terms]:
    return {rule.id: terms_of(rule, site.rule(rule.id)) for rule in RULES.values()}


def _same_eye(a: Camera, b: Camera) -> bool:
    """Whether the reader of `a` can go on for `b`: it reads the same, as often, and samples the same lamps."""
    lamps = [[f for f in c.fixtures if f.kind == "warning_light"] for c in (a, b)]
    often = [max(KEEP_FPS, c.judge_fps) for c in (a, b)]
    return a.source == b.source and lamps[0] == lamps[1] and often[0] == often[1]


@contextmanager
def open_node(  # noqa: PLR0917 (what runs, on what, until when, for whom)
    path: Path,
    keeper: SiteFileKeeper,
    in_force: InForce,
    clock: Clock,
    stop: threading.Event,
    service: Service | None = None,
) -> Iterator[Node]:
    """A running node; on leaving, everything is closed in the order in which nothing is lost.

    service: of the program; None: nobody starts it, so nobody is told.
    Raises NodeError where a part cannot be opened; what was already open is closed again.
    """
    service = service or Service(Notifier(None), None, clock)
    say = catalogue(in_force.site.language)
    parts = ExitStack()
    try:
        try:
            with service.changing(say("service.opening")):
                node = _assemble(
                    parts, path=path, keeper=keeper, in_force=in_force, clock=clock, stop=stop, service=service
                )
        except (ModelError, JournalError, PageError) as error:
            raise NodeError(str(error)) from error
        yield node
    finally:
        with service.changing(say("service.stopping" if stop.is_set() else "service.closing")):
            parts.close()


def _assemble(
    parts: ExitStack,
    *,
    path: Path,
    keeper: SiteFileKeeper,
    in_force: InForce,
    clock: Clock,
    stop: threading.Event,
    service: Service,
) -> Node:
    site, data = in_force.site, data_dir(in_force.site, path)
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NodeError(f"node.data_dir: cannot use {data}: {error.strerror}; choose another folder") from error
    settings = site.detector
    model = find_model(settings.model, path.parent)
    detector = load_detector(model, settings.runtime, settings.threads)
    parts.callback(detector.close)
    closer = load_closer(model, detector.runtime)
    for look in closer.values():
        parts.callback(look.close)
    executor = parts.enter_context(ThreadPoolExecutor(1, "detector"))
    uplinks = site.uplinks
    place = installation(data, path.parent)
    journal = Journal(
        data / "journal.db", clock, site.journal,
        confirm_alarms=uplinks.mqtt is not None, confirm_points=uplinks.influx is not None,
    )  # fmt: skip
    parts.callback(journal.close)
    recorder = Recorder(site.evidence, journal, clock, data / "evidence", service.beats)
    signals = Signals.of(site.signal, clock)
    signals.start()
    parts.callback(signals.stop)
    node = Node(
        path=path, keeper=keeper, in_force=in_force, clock=clock, stop=stop,
        detector=detector, closer=closer, executor=executor, journal=journal, recorder=recorder, service=service,
        signals=signals,
    )  # fmt: skip
    if place is not None:
        node.updater = Updater(
            place, uplinks.evidence, clock, works=node.works, told=node.status_changed, failed=node.not_well
        )
        parts.callback(node.updater.stop)
    if uplinks.mqtt is not None:
        node.mqtt = MqttUplink(
            uplinks.mqtt, site.site.id, site.node.id, journal, clock,
            status=node.status, health=node.health_message, commands=node.commands(), health_period_s=HEALTH_S,
            beats=service.beats,
        )  # fmt: skip
        node.mqtt.start()
        parts.callback(node.mqtt.stop)
    if uplinks.evidence is not None:
        node.uploads = EvidenceUplink(
            uplinks.evidence,
            journal,
            clock,
            may_send=lambda: node.mqtt is None or not journal.pending_alarms(1),
            beats=service.beats,
        )
        node.uploads.start()
        parts.callback(node.uploads.stop)
    if uplinks.influx is not None:
        from edge.uplink.influx import InfluxUplink, InfluxWriter  # noqa: PLC0415 - memory, where it is used

        node.influx = InfluxUplink(
            InfluxWriter(uplinks.influx, site.site.id, site.node.id, journal, clock, beats=service.beats)
        )
        node.influx.start()
        parts.callback(node.influx.stop)
    recorder.start()
    parts.callback(recorder.stop)
    parts.callback(node.close)
    node.begin()
    if site.page is not None:
        page = PageServer(create_app(node, site.page, clock), site.page)
        page.start()
        parts.callback(page.stop)
        log.info("page: %s", page.url)
    house = Repeat(node.keep_house, HOUSE_S, "house")
    house.start()
    parts.callback(node.rest)
    parts.callback(house.stop)
    return node


class Repeat:
    """Calls `work` every `period_s` seconds in a thread of its own."""

    def __init__(self, work: Callable[[], None], period_s: float, name: str) -> None:
        self._work = work
        self._period_s = period_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._period_s):
            self._work()


def run_site(
    path: Path, stop: threading.Event, *, once: bool = False, language: str = "en", service: Service | None = None
) -> None:
    """Run the node of a site file until `stop` is set; with `once`, also end when all clips have been played.

    language: of what is wrong with the site file as long as none is in force, which names its own.
    Where a new site file asks for parts that cannot be opened, the node goes on with the last one that could, and says
    so. Raises SiteFileError or NodeError where not even the first start is possible.
    """
    path = path.absolute()
    keeper = SiteFileKeeper(path, RULES, last_good_beside(path), language)
    keeper.poll()
    proven: InForce | None = None  # the last one that a node could be built on
    in_force = InForce(keeper.current, keeper.hash)
    while not stop.is_set():
        clock = SystemClock(trusted=in_force.site.node.clock_trusted)
        try:
            with open_node(path, keeper, in_force, clock, stop, service) as node:
                proven = in_force
                outcome = node.run(once=once)
        except NodeError as error:
            if proven is None or proven.site is in_force.site:
                raise
            log.error("the new site file cannot be used, the last one stays in force: %s", error)  # noqa: TRY400
            in_force = replace(proven, refused=str(error))
            continue
        if outcome is not Outcome.RENEW:
            return
        in_force = InForce(keeper.current, keeper.hash)
