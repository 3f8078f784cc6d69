"""Pictures and clips with unrecognisable faces. The recorder, which needs `av`, is in `edge.evidence.recorder`."""

from edge.evidence.heads import HeadRegion, heads_of
from edge.evidence.pixelate import pixelate

__all__ = ["HeadRegion", "heads_of", "pixelate"]
