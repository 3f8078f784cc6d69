"""Pictures and clips with unrecognisable faces. The recorder, which needs `av`, is in `edge.evidence.recorder`."""

from edge.evidence.heads import HeadRegion, heads_of
from edge.evidence.mosaic import pixelate

__all__ = ["HeadRegion", "heads_of", "pixelate"]
