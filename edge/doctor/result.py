"""What an examination finds, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from edge.text import catalogue
from edge.values import CameraCause, CameraState


class Grade(StrEnum):
    OK = "ok"
    WARN = "warn"  # works, but somebody should look
    BAD = "bad"
    SKIP = "skip"  # nothing to examine, or no way to


_NUMBERS = "width height fps wanted"
_SPEED = "p50 p95 rss"

_REACHING: dict[str, tuple[Grade, str]] = {
    "dns": (Grade.BAD, "error section"),
    "refused": (Grade.BAD, "section"),
    "timeout": (Grade.BAD, ""),
    "unreachable": (Grade.BAD, "error"),
    "closed": (Grade.BAD, ""),
    "no_tls": (Grade.BAD, "error"),
    # its certificate
    "expired": (Grade.BAD, ""),
    "not_yet": (Grade.BAD, ""),
    "name": (Grade.BAD, "error section"),
    "untrusted": (Grade.BAD, "error section"),
    # the certificate of this node
    "our_missing": (Grade.BAD, "section"),
    "our_unknown": (Grade.BAD, ""),
    "our_expired": (Grade.BAD, ""),
    "our_revoked": (Grade.BAD, ""),
    "files": (Grade.SKIP, ""),
}
"""What may lie between this node and any server; texts under `doctor.server.*`."""

FINDINGS: dict[str, dict[str, tuple[Grade, str]]] = {
    "site_file": {
        "ok": (Grade.OK, ""),
        "wrong": (Grade.BAD, "problems"),
        "missing": (Grade.BAD, "problems"),
    },
    "node": {
        "free": (Grade.OK, ""),
        "running": (Grade.OK, "pid"),
        "unreadable": (Grade.BAD, "error"),
    },
    "clock": {
        "ok": (Grade.OK, ""),
        "trusted": (Grade.OK, ""),
        "unsynced": (Grade.BAD, ""),
        "behind": (Grade.BAD, "date"),
    },
    "disk": {
        "ok": (Grade.OK, "free sync"),
        "slow": (Grade.WARN, "free sync"),
        "short": (Grade.WARN, "free allowed"),
        "nearly_full": (Grade.WARN, "free"),
        "full": (Grade.BAD, "free"),
        "unwritable": (Grade.BAD, "error"),
    },
    "memory": {
        "ok": (Grade.OK, "free total"),
        "short": (Grade.WARN, "free total"),
    },
    "heat": {
        "ok": (Grade.OK, "degrees"),
        "hot": (Grade.WARN, "degrees"),
        "too_hot": (Grade.BAD, "degrees"),
        "was_too_hot": (Grade.WARN, "degrees"),
        "no_sensor": (Grade.SKIP, ""),
    },
    "power": {
        "ok": (Grade.OK, ""),
        "weak": (Grade.BAD, ""),
        "was_weak": (Grade.WARN, ""),
        "no_sensor": (Grade.SKIP, ""),
    },
    "page": {
        "free": (Grade.OK, ""),
        "served": (Grade.OK, ""),
        "in_use": (Grade.BAD, ""),
        "no_right": (Grade.BAD, ""),
        "unusable": (Grade.BAD, "error"),
    },
    "camera": {
        "ok": (Grade.OK, _NUMBERS),
        "slow": (Grade.WARN, _NUMBERS),
        "held": (Grade.SKIP, ""),
        "beside_node": (Grade.WARN, "detail"),
        **{c.value: (Grade.BAD, "detail") for c in CameraCause if c is not CameraCause.NONE},
        **{s.value: (Grade.WARN, "detail") for s in CameraState if s not in (CameraState.LIVE, CameraState.LOST)},
    },
    "model": {
        "ok": (Grade.OK, "version classes"),
        "unusable": (Grade.BAD, "error"),
        "damaged": (Grade.BAD, "error"),
        "weights": (Grade.SKIP, ""),
        "lacks": (Grade.WARN, "classes"),
        "overlooks": (Grade.WARN, "classes"),
    },
    "detector": {
        # of one runtime
        "reference": (Grade.OK, f"{_SPEED} pairs"),
        "same": (Grade.OK, f"{_SPEED} pairs iou gap"),
        "unproven": (Grade.OK, _SPEED),
        "differs": (Grade.WARN, f"{_SPEED} iou gap missing"),
        "absent": (Grade.SKIP, ""),
        "broken": (Grade.WARN, "error"),
        "crashed": (Grade.WARN, "error"),
        "hung": (Grade.WARN, "seconds"),
        # of the choice between them
        "chosen": (Grade.OK, "fps"),
        "uncertain": (Grade.WARN, "fps"),
        "faster": (Grade.WARN, "fps best best_fps"),
        "unfit": (Grade.BAD, "best best_fps"),
        "none": (Grade.BAD, ""),
        "too_few": (Grade.WARN, "fps wanted"),
        "no_room": (Grade.BAD, "error"),
    },
    "certificate": {
        "ok": (Grade.OK, "days"),
        "ends_soon": (Grade.WARN, "days"),
        "expired": (Grade.BAD, "days"),
        "not_yet": (Grade.BAD, ""),
        "other_name": (Grade.WARN, "name wanted"),
        "missing": (Grade.BAD, ""),
        "unreadable": (Grade.BAD, "error"),
        "no_pem": (Grade.BAD, ""),
        "mismatch": (Grade.BAD, "key"),
        "locked": (Grade.BAD, "key"),
        "bad_key": (Grade.BAD, "key error"),
        "open_key": (Grade.WARN, "key"),
    },
    "broker": {
        **_REACHING,
        "ok": (Grade.OK, "days"),
        "node_runs": (Grade.OK, "days"),
        "plain": (Grade.OK, ""),
        "ends_soon": (Grade.WARN, "days"),
        "silent": (Grade.BAD, ""),
        "no_mqtt5": (Grade.BAD, ""),
        "login_password": (Grade.BAD, "error"),
        "login_certificate": (Grade.BAD, "error"),
        "login_nobody": (Grade.BAD, "error"),
        "unwilling": (Grade.BAD, "error"),
        "denied": (Grade.BAD, "topic error"),
    },
    "evidence": {
        **_REACHING,
        "ok": (Grade.OK, "days"),
        "ends_soon": (Grade.WARN, "days"),
        "no_http": (Grade.BAD, ""),
        "not_known": (Grade.BAD, "status"),
        "trouble": (Grade.WARN, "status"),
    },
    "influx": {
        **_REACHING,
        "ok": (Grade.OK, "days"),
        "plain": (Grade.OK, ""),
        "ends_soon": (Grade.WARN, "days"),
        "token": (Grade.BAD, "error"),
        "open_token": (Grade.WARN, "file"),
        "no_http": (Grade.BAD, ""),
        "not_known": (Grade.BAD, "status"),
        "no_bucket": (Grade.BAD, "bucket org"),
        "trouble": (Grade.WARN, "status"),
    },
}
"""Everything that can be found: organ, code, how bad it is, and the fields of its texts."""

_ENDLESS: tuple[Grade, str] = (Grade.BAD, "seconds")


@dataclass(frozen=True, slots=True)
class Result:
    """One finding.

    organ, code: of `FINDINGS`, or the code `endless`, which every organ has: the examination did not come to an end.
    about: which one, e.g. the camera's id. fields: exactly those that `FINDINGS` names.
    """

    organ: str
    code: str
    about: str
    fields: dict[str, Any]

    @property
    def grade(self) -> Grade:
        return _finding(self.organ, self.code)[0]

    @property
    def bad(self) -> bool:
        return self.grade is Grade.BAD


def found(organ: str, code: str, about: str = "", **fields: object) -> Result:
    """A finding. Raises ValueError for one that `FINDINGS` does not know so."""
    try:
        wanted = fields_of(organ, code)
    except KeyError as error:
        raise ValueError(f"{organ}.{code}: no such finding; declare it in FINDINGS, with its texts") from error
    if set(fields) != set(wanted):
        raise ValueError(f"{organ}.{code}: fields are {sorted(fields)}, FINDINGS says {sorted(wanted)}")
    return Result(organ, code, about, fields)


def fields_of(organ: str, code: str) -> tuple[str, ...]:
    """Names of the fields that a finding has."""
    return tuple(_finding(organ, code)[1].split())


def _finding(organ: str, code: str) -> tuple[Grade, str]:
    return _ENDLESS if code == "endless" and organ in FINDINGS else FINDINGS[organ][code]


def text_keys(organ: str, code: str) -> tuple[str, str]:
    """Keys of the catalogue: what was found, and what to do (which only a warning or worse has)."""
    if code == "endless":
        return "doctor.any.endless", "doctor_do.any.endless"
    if code in _REACHING and organ in ("broker", "evidence", "influx"):
        return f"doctor.server.{code}", f"doctor_do.server.{code}"
    if organ == "camera" and code in {c.value for c in CameraCause}:
        return f"cause.{code}", f"cause_do.{code}"  # the words of the node's page
    if organ == "camera" and code in {s.value for s in CameraState}:
        return f"camera_state.{code}", f"page.state_do.{code}"
    return f"doctor.{organ}.{code}", f"doctor_do.{organ}.{code}"


@dataclass(frozen=True, slots=True)
class Told:
    """A finding in words. advice: what to do; empty where there is nothing to do."""

    mark: str
    finding: str
    advice: str

    def lines(self) -> list[str]:
        return [f"{self.mark} {self.finding}", *([f"  → {self.advice}"] if self.advice else [])]


_MARK = {Grade.OK: "+", Grade.WARN: "!", Grade.BAD: "x", Grade.SKIP: "-"}


def tell(result: Result, language: str) -> Told:
    """A finding in the words of a language."""
    text = catalogue(language)
    finding_key, advice_key = text_keys(result.organ, result.code)
    words = text(finding_key, **result.fields)
    if detail := result.fields.get("detail"):
        words = f"{words} ({detail})"
    advised = result.grade in (Grade.WARN, Grade.BAD)
    return Told(
        mark=_MARK[result.grade],
        finding=f"{title(result.organ, result.about, language)}: {words}",
        advice=text(advice_key, **result.fields) if advised else "",
    )


def title(organ: str, about: str, language: str) -> str:
    """What is examined, e.g. `Camera gate`."""
    return f"{catalogue(language)(f'doctor.organ.{organ}')} {about}".rstrip()


def summary(results: Iterable[Result], language: str) -> str:
    """The last line: how it stands."""
    grades = [r.grade for r in results]
    bad, warned = grades.count(Grade.BAD), grades.count(Grade.WARN)
    verdict = "bad" if bad else "warned" if warned else "good"
    return catalogue(language)(f"doctor.summary.{verdict}", bad=bad, warned=warned)
