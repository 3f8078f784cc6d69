"""`banksman doctor`: examines what a node needs, one file an organ, and says what to do about what is wrong."""

from edge.doctor.examine import examine
from edge.doctor.result import Grade, Result, summary, tell, title

__all__ = ["Grade", "Result", "examine", "summary", "tell", "title"]
