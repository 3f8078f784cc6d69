"""The node's side of updates: the command `update`, fetching, handing over to root, and the verdict on what is tried.

The node runs without rights. It puts a release whose signature and files are right where root looks (`READY`); root
checks again, installs, switches and starts the node anew (`guard.py`, banksman-update.service). What came of it stands
in root's state.json.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker.messages import MAX_LINE, Command, MessageError, Reply, UpdateOrder, UpdateReport
from edge.clock import Clock
from edge.site.model import EvidenceUplink as Server
from edge.update import guard
from edge.update.fetch import Fetch, StoppedError, need
from edge.update.guard import Refused
from edge.update.trial import Trial, Works, read_before, write_before
from edge.uplink.commands import CommandError
from edge.uplink.tls import words

log = logging.getLogger(__name__)

READY = "ready.tar"
INCOMING = "incoming"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where this program is installed by releases. root: root's folder; var: the node's own for updates."""

    root: Path
    var: Path
    public_key: Path


def installation(data: Path, config: Path) -> Installation | None:
    """None for a program that no release has brought: a checkout, a demo.

    data: the node's data folder; config: where its site file lies, and release.pub.
    """
    prefix = Path(sys.prefix).resolve()
    if prefix.parent.name != "releases" or not (prefix / guard.RELEASE_JSON).is_file():
        return None
    return Installation(prefix.parents[1], data / "update", config / "release.pub")


class Updater:
    """works: what of the node works now. told: called from any thread when `report` gives something else.

    failed: called once with what is wrong when the release on probation is not well; the node has to end then.
    """

    def __init__(
        self,
        place: Installation,
        server: Server | None,
        clock: Clock,
        *,
        works: Callable[[], Works],
        told: Callable[[], None],
        failed: Callable[[str], None],
    ) -> None:
        self._place = place
        self._server = server
        self._clock = clock
        self._works = works
        self._told = told
        self._failed = failed
        self._lock = threading.Lock()
        self._fetch: Fetch | None = None
        self._thread: threading.Thread | None = None
        self._refused: UpdateReport | None = None  # by this node, before root has seen it
        self._handed: UpdateOrder | None = None
        self._last_told: UpdateReport | None = None
        place.var.mkdir(parents=True, exist_ok=True)
        probation = self._state().probation
        self._trial = None if probation is None else Trial(read_before(place.var), clock.now().mono)

    def stop(self) -> None:
        """What is being fetched is gone on with when the command comes again."""
        with self._lock:
            fetch, thread = self._fetch, self._thread
        if fetch is not None and thread is not None:
            fetch.stop()
            thread.join(2.0)

    # -- the command -------------------------------------------------------------------------------------------------

    def command(self, command: Command) -> Reply:
        """`update`: answers at once; how it goes on is told by `report`. Raises CommandError.

        The same order again is answered with how it stands, so whoever lost an answer may ask again.
        """
        try:
            order = UpdateOrder.from_payload(json.dumps(command.args).encode())
        except MessageError as error:
            raise CommandError(error.code, error.detail) from error
        try:
            with self._lock:
                there = self._begin(order)
        except Refused as error:
            raise CommandError(error.code, error.message[:MAX_LINE]) from error
        self._tell()
        report = there or self.report()
        return Reply(ok=True, result=None if report is None else report.model_dump())

    def _begin(self, order: UpdateOrder) -> UpdateReport | None:
        """Have it fetched, unless it is under way already. What is given: it is in use, and good. Raises Refused."""
        if self._fetch is not None:
            if self._fetch.order != order:
                raise Refused("busy", f"{self._fetch.order.name} {self._fetch.order.version} is being fetched")
            return None
        if (self._place.var / READY).exists():
            raise Refused("busy", "a release is being installed")
        state = guard.read_state(self._place.root)
        about = (order.name, order.version, order.sequence)
        trial = state.probation
        found = None if trial is None else guard.verdict(self._place.var, trial)
        if trial is not None and (found is None or found.outcome != "good"):
            if about == (trial.name, trial.version, trial.sequence):
                return None
            raise Refused("on_probation", f"{trial.name} {trial.version} is on probation; try again when that is over")
        guard.admit(state, *about)
        if about in ((one.name, one.version, one.sequence) for one in guard.in_use(self._place.root)):
            return UpdateReport(state="good", name=order.name, version=order.version, sequence=order.sequence)
        if self._server is None:
            raise Refused("no_server", "uplinks.evidence of the site file names no server to fetch it from")
        need(self._place.var, order.bytes)
        self._refused = None
        self._fetch = Fetch(self._server, order, self._place.var / INCOMING, self._tell)
        self._thread = threading.Thread(target=self._run, args=(self._fetch,), name="update", daemon=True)
        self._thread.start()
        return None

    # -- fetching, in a thread of its own ------------------------------------------------------------------------------

    def _run(self, fetch: Fetch) -> None:
        order = fetch.order
        refused: UpdateReport | None = None
        try:
            try:
                self._hand_over(fetch.run(), order)
            except OSError as error:
                raise Refused(guard.code_of(error), f"{self._place.var}: {words(error)}") from error
        except StoppedError:
            log.info("%s %s is not fetched to its end", order.name, order.version)
        except Refused as error:
            log.warning("%s %s is not taken: %s", order.name, order.version, error)
            refused = UpdateReport(
                state="refused", name=order.name, version=order.version, sequence=order.sequence,
                percent=fetch.percent, code=error.code, message=error.message[:MAX_LINE],
            )  # fmt: skip
        with self._lock:
            self._fetch = self._thread = None
            self._refused = refused
        self._tell()

    def _hand_over(self, path: Path, order: UpdateOrder) -> None:
        try:
            release = guard.verify(path, self._place.public_key)
        except Refused:
            path.unlink()
            raise
        if (release.name, release.version, release.sequence) != (order.name, order.version, order.sequence):
            path.unlink()
            raise Refused("another", f"it is {release.name} {release.version}, sequence {release.sequence}")
        self._handed = order
        write_before(self._place.var, self._works().now)
        path.replace(self._place.var / READY)
        handle = os.open(self._place.var, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        log.info("%s %s is handed over to be installed", release.name, release.version)

    # -- every second, beside the judging ------------------------------------------------------------------------------

    def look(self) -> None:
        """Judge what is on probation; tell what root has done."""
        trial = self._trial
        found = None if trial is None else trial.look(self._clock.now().mono, self._works())
        if found is not None:
            try:
                self._pronounce(found)
            except OSError as error:  # a full disk is no fault of the release; the next second is another chance
                log.warning("what was found of the release on probation cannot be written: %s", words(error))
            else:
                self._trial = None
        self._tell()

    def _pronounce(self, found: guard.Found) -> None:
        """Raises OSError."""
        probation = self._state().probation
        if probation is None or guard.verdict(self._place.var, probation) is not None:
            return
        well = found.outcome == "good"
        values = {"id": probation.id, "well": well, "code": found.code, "message": found.message}
        guard.write(self._place.var / guard.VERDICT, json.dumps(values).encode())
        log.info("%s %s is %s", probation.name, probation.version, "good" if well else f"not well: {found.message}")
        if not well:
            self._failed(f"{probation.name} {probation.version}: {found.message}")

    def _tell(self) -> None:
        report = self.report()
        if report != self._last_told:
            self._last_told = report
            self._told()

    # -- how it stands -------------------------------------------------------------------------------------------------

    def report(self) -> UpdateReport | None:
        """None: nothing was ever updated here."""
        with self._lock:
            fetch, refused = self._fetch, self._refused
        if fetch is not None:
            order = fetch.order
            return UpdateReport(
                state="fetching", name=order.name, version=order.version, sequence=order.sequence,
                percent=fetch.percent, code="waiting" if fetch.trouble else "ok", message=fetch.trouble[:MAX_LINE],
            )  # fmt: skip
        if refused is not None:
            return refused
        state = self._state()
        last = state.last
        if (self._place.var / READY).exists():
            about = self._handed
            return UpdateReport(
                state="installing", name=about.name if about else "", version=about.version if about else "",
                sequence=about.sequence if about else 0,
            )  # fmt: skip
        if last is None:
            return None
        outcome, code, message = last.outcome, last.code, last.message
        if state.probation is not None and (found := guard.verdict(self._place.var, state.probation)) is not None:
            # Root acts on it at the next start: until then what is not good is still in use.
            outcome, code, message = "good" if found.outcome == "good" else outcome, found.code, found.message
        return UpdateReport.model_validate(
            {"state": outcome, "name": last.name, "version": last.version, "sequence": last.sequence, "code": code,
             "message": message[:MAX_LINE]}
        )  # fmt: skip

    def _state(self) -> guard.State:
        """Nothing known where root's file is damaged: the log says so, and an update is refused with it."""
        try:
            return guard.read_state(self._place.root)
        except Refused as error:
            last = guard.Last("", "refused", code=error.code, message=error.message)
            return guard.State({}, last=last)
