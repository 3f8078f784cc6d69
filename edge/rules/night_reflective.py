"""At night everyone on the job wears the reflective vest.

A `vest` of the model stands for one with reflective bands: warning vests have them, and no camera of this system can
measure how well they reflect.
"""

from edge.rules import people
from edge.rules.night import NightState
from edge.rules.rule import Circumstances, Place, Rule
from edge.values import Judgement, Reason, Scene, Severity, Verdict


def _look(scene: Scene, place: Place, circumstances: Circumstances) -> tuple[Judgement, ...]:
    if circumstances.night is NightState.UNKNOWN:
        return tuple(
            people.verdict_on(p, Verdict.UNKNOWN, Reason.NO_CLOCK, 0.0) for p in people.people_at(scene, place)
        )
    return people.wearing_vest(scene, place, circumstances)


RULE = Rule(
    id="night_reflective",
    clauses=("I.1.2",),
    needs=("person", "vest", "no_vest"),
    subject="person",
    severity=Severity.WARNING,
    confirm_s=people.CONFIRM_S,
    min_looks=people.MIN_LOOKS,
    clear_s=people.CLEAR_S,
    every_s=0.0,
    hours="working",
    night_only=True,
    places=people.working_places,
    look=_look,
)
