"""From detections to tracked persons with what they wear."""

from edge.track.people import persons
from edge.track.tracker import Tracker

__all__ = ["Tracker", "persons"]
