"""Nobody is in a `no_entry` zone, at the hours when it counts."""

from edge.rules import people
from edge.rules.rule import Circumstances, Place, Rule
from edge.site.model import Camera
from edge.values import Judgement, Reason, Scene, Severity, Verdict


def _places(camera: Camera) -> tuple[Place, ...]:
    return people.zones(camera, "no_entry")


def _look(scene: Scene, place: Place, circumstances: Circumstances) -> tuple[Judgement, ...]:
    # Somebody who is seen at all is there: neither size nor light nor who stands before them makes it doubtful.
    smallest = circumstances.settings.min_height_px or 0
    closed_now = scene.stamp.synced or not place.hours
    found = []
    for person in people.people_at(scene, place):
        if person.height < smallest:
            verdict, reason = Verdict.UNKNOWN, Reason.TOO_SMALL
        elif not closed_now:  # the zone has hours, and nobody knows the hour
            verdict, reason = Verdict.UNKNOWN, Reason.NO_CLOCK
        else:
            verdict, reason = Verdict.VIOLATION, Reason.INSIDE
        found.append(people.verdict_on(person, verdict, reason, person.confidence))
    return tuple(found) or people.nobody_seen(scene)


RULE = Rule(
    id="intrusion",
    clauses=("I.6.3", "II.D2"),
    needs=("person",),
    subject="person",
    severity=Severity.CRITICAL,  # in danger of life at this moment: the excavator swings, the trench is open
    confirm_s=people.CONFIRM_S,
    min_looks=people.MIN_LOOKS,
    clear_s=people.CLEAR_S,
    every_s=0.0,
    hours="always",
    empty_is_ok=True,
    places=_places,
    look=_look,
)
