"""Alarms of the real node on scenes with known truth: how many breaches are told, and how many alarms are false.

The node is started as a program (`banksman run SITE.yaml --once`) on a site file with a camera a scene, and its journal
is read afterwards. Of an alarm counts whether it was raised: a scene and rule is one event, as one place and rule is.
"""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.data.labels import DataError, Photo
from models.eval.scenes import FPS, Scene, of_clips, of_photos, write_pictures

RULES = ("helmet", "hi_vis", "intrusion")
PANS = 500
"""At most: more than can be made of the held-out photos, because fewer do not tell models apart."""
_CAMERAS = 16  # of a site file, at most
_PATIENCE_S = 900  # for one node with all its cameras


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule in one scene. who: breaks it; None for nobody. raised: whether the node said so. seconds: played.

    zone: the only one that was asked about; None for all of the scene's.
    """

    scene: str
    kind: str
    rule: str
    who: str | None
    raised: bool
    seconds: float
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Played:
    """unknown: seconds by rule that the node could not judge; judged: all seconds that it tallied."""

    outcomes: tuple[Outcome, ...]
    unknown: Counter[str]
    judged: Counter[str]


def play(
    scenes: Sequence[Scene],
    model: Path,
    *,
    runtime: str = "onnx",
    threads: int = 2,
    progress: Callable[[int], None] = lambda _: None,
) -> Played:
    """Run nodes over all scenes. model: a model folder or a `.pt`. Raises `DataError` where a node fails."""
    outcomes: list[Outcome] = []
    unknown: Counter[str] = Counter()
    judged: Counter[str] = Counter()
    for start in range(0, len(scenes), _CAMERAS):
        some = scenes[start : start + _CAMERAS]
        with tempfile.TemporaryDirectory(prefix="banksman-eval-") as folder:
            home = Path(folder)
            seconds = [write_pictures(scene, home / f"scene-{n}") / FPS for n, scene in enumerate(some)]
            site = home / "site.yaml"
            site.write_text(json.dumps(site_file(some, model, runtime, threads)), encoding="utf-8")  # JSON is YAML
            run_node(site)
            raised, tallies = read_journal(home / "data" / "journal.db")
        for n, scene in enumerate(some):
            for asked, who in scene.breaches.items():
                rule, _, zone = asked.partition("@")
                told = any(one[0] == f"scene-{n}" and one[2] == rule and zone in ("", one[1]) for one in raised)
                outcomes.append(Outcome(scene.name, scene.kind, rule, who, told, seconds[n], zone or None))
            for rule in scene.rules:
                ok_s, violation_s, unknown_s = tallies.get((f"scene-{n}", rule), (0, 0, 0))
                unknown[rule] += unknown_s
                judged[rule] += ok_s + violation_s + unknown_s
        progress(len(some))
    return Played(tuple(outcomes), unknown, judged)


def site_file(scenes: Sequence[Scene], model: Path, runtime: str, threads: int) -> dict[str, Any]:
    """A camera a scene; only the rules that truth is known of."""
    wanted = {rule for scene in scenes for rule in scene.rules}
    return {
        "site": {"id": "eval", "latitude": 0.0, "longitude": 0.0},
        "node": {"id": "eval", "data_dir": "data", "clock_trusted": True},
        "detector": {
            "model": str(model.resolve()),
            "runtime": "ultralytics" if model.suffix == ".pt" else runtime,
            "threads": threads,
        },
        "rules": {rule: {"enabled": rule in wanted} for rule in (*RULES, "night_reflective")},
        "evidence": {"clip_before_s": 0, "clip_after_s": 0},
        "page": None,
        "cameras": [
            {
                "id": f"scene-{n}",
                "source": {"type": "folder", "path": f"scene-{n}", "fps": FPS, "realtime": False},
                "judge_fps": FPS,
                "zones": [dict(zone) for zone in scene.zones],
            }
            for n, scene in enumerate(scenes)
        ],
    }


def run_node(site: Path) -> None:
    """`banksman run --once`. Raises `DataError` with what the node said last, if it fails."""
    command = Path(sys.executable).with_name("banksman")
    if not command.is_file():
        raise DataError(f"{command}: no such program; the events need the node installed beside this Python")
    try:
        subprocess.run(  # noqa: S603 - our own program and file
            [command, "run", str(site), "--once"], check=True, capture_output=True, text=True, timeout=_PATIENCE_S
        )
    except subprocess.CalledProcessError as error:
        raise DataError(f"the node ended with {error.returncode}: {error.stderr.strip()[-600:]}") from error
    except subprocess.TimeoutExpired as error:
        raise DataError(f"the node was not done after {_PATIENCE_S} s; play fewer scenes") from error


def read_journal(
    path: Path,
) -> tuple[set[tuple[str, str, str]], dict[tuple[str, str], tuple[int, int, int]]]:
    """(camera, zone, rule) of each alarm that was raised; by camera and rule the seconds in order, in breach and
    unknown."""
    raised = set()
    with closing(sqlite3.connect(path)) as journal:
        for (text,) in journal.execute("SELECT event FROM alarm_event ORDER BY seq"):
            event = json.loads(text)
            if event["change"] == "raised":
                raised.add(tuple(event["instance"][key] for key in ("source", "place", "rule")))
        sums = "SELECT source, rule, SUM(ok_s), SUM(violation_s), SUM(unknown_s) FROM tally GROUP BY source, rule"
        tallies = {(camera, rule): tuple(seconds) for camera, rule, *seconds in journal.execute(sums)}
    return raised, tallies


def table(played: Played) -> dict[str, Any]:
    """Precision, recall and false alarms an hour, by kind of scene and rule, with 95 % bounds; and every row."""
    kinds: dict[str, Any] = {}
    for kind in sorted({o.kind for o in played.outcomes}):
        rules = {}
        for rule in RULES:
            some = [o for o in played.outcomes if o.kind == kind and o.rule == rule]
            if some:
                rules[rule] = summed(some)
        kinds[kind] = {"all": summed([o for o in played.outcomes if o.kind == kind]), "rules": rules}
    return {
        "kinds": kinds,
        "unknown_share": {
            rule: round(played.unknown[rule] / played.judged[rule], 4) for rule in RULES if played.judged[rule]
        },
        "rows": [
            {"scene": o.scene, "rule": o.rule, "who": o.who, "raised": o.raised, "seconds": round(o.seconds, 2)}
            | ({"zone": o.zone} if o.zone else {})
            for o in played.outcomes
        ],
    }


def summed(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Of some outcomes. A false alarm is one in a scene where nobody breaks the rule.

    Where somebody does, an alarm counts as right whomever it is about. hours: in order, each rule by itself: only there
    an alarm can be false. False alarms an hour of pans are not those of a site: every three seconds there are other
    people in another place. They compare models.
    """
    breaches = [o for o in outcomes if o.who is not None]
    found = sum(o.raised for o in breaches)
    false = sum(o.raised for o in outcomes if o.who is None)
    hours = sum(o.seconds for o in outcomes if o.who is None) / 3600
    return {
        "scenes": len(outcomes),
        "hours": round(hours, 5),
        "breaches": len(breaches),
        "found": found,
        "false": false,
        "recall": round(found / len(breaches), 4) if breaches else None,
        "recall_interval": [round(v, 4) for v in wilson(found, len(breaches))] if breaches else None,
        "precision": round(found / (found + false), 4) if found + false else None,
        "false_per_hour": round(false / hours, 3) if hours else None,
        "false_per_hour_below": round(poisson_upper(false) / hours, 3) if hours else None,
    }


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    share = hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def poisson_upper(count: int, level: float = 0.95) -> float:
    """One-sided upper bound of a rate of which `count` events were seen (Garwood, 1936): 3.0 for none at 95 %."""
    low, high = float(count), count + 10 * math.sqrt(count + 1) + 10
    while high - low > 1e-6:
        middle = (low + high) / 2
        terms = [-middle + k * math.log(middle) - math.lgamma(k + 1) for k in range(count + 1)] if middle else [0.0]
        low, high = (middle, high) if math.fsum(map(math.exp, terms)) > 1 - level else (low, middle)
    return high


def scenes_of(photos: Sequence[Photo], clips: Path | None, pans: int) -> list[Scene]:
    """All scenes: those of the clips, and pans over some of the photos, which should be held-out ones."""
    return (of_clips(clips) if clips else []) + of_photos(photos, pans)
