"""Everyone outdoors on the job wears warning clothing."""

from edge.rules import people
from edge.rules.rule import Rule
from edge.values import Severity

RULE = Rule(
    id="hi_vis",
    clauses=("I.1.2", "II.D2", "II.D3"),
    needs=("person", "vest", "no_vest"),
    subject="person",
    severity=Severity.WARNING,
    confirm_s=people.CONFIRM_S,
    min_looks=people.MIN_LOOKS,
    clear_s=people.CLEAR_S,
    every_s=0.0,
    hours="working",
    places=people.working_places,
    look=people.wearing_vest,
)
