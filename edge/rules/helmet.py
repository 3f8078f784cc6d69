"""Everyone in a work zone wears a hard hat, on the head."""

from edge.rules import people
from edge.rules.rule import Rule
from edge.values import Severity

RULE = Rule(
    id="helmet",
    clauses=("I.1.2", "I.6.1", "II.D2", "II.D3"),
    needs=("person", "helmet", "no_helmet"),
    subject="person",
    severity=Severity.WARNING,  # dangerous once something falls; `critical` is for who is in danger already
    confirm_s=people.CONFIRM_S,
    min_looks=people.MIN_LOOKS,
    clear_s=people.CLEAR_S,
    every_s=0.0,
    hours="working",
    places=people.working_places,
    look=people.wearing_helmet,
)
