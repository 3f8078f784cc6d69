"""Faces in photos that people add to a case are hidden as the node hides those of its pictures: same detector, same
regions, same mosaic. A photo stands alone, so that nobody is followed from one to the next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from broker.dispatch.web.photo import FacesError, HideFaces
from edge.detect import ModelError, find_model, load_detector
from edge.evidence.heads import DETECTION_FLOOR, heads_of
from edge.evidence.mosaic import pixelate
from edge.site.model import Detector
from edge.track import Tracker, persons


def hider(settings: Detector) -> HideFaces:
    """Loads the detector. What it gives is for one thread at a time. Both raise FacesError."""
    try:
        detector = load_detector(find_model(settings.model, Path()), settings.runtime, settings.threads)
    except ModelError as error:
        raise FacesError(f"the detector cannot be loaded: {error}") from error

    def hide(photo: Image.Image) -> Image.Image:
        image = np.ascontiguousarray(np.asarray(photo, np.uint8)[:, :, ::-1])
        try:
            seen = detector.detect(image, DETECTION_FLOOR)
        except RuntimeError as error:
            raise FacesError(f"the detector fails on a photo: {error}") from error
        sure = seen.confidence >= np.float32(settings.confidence)
        judged = Tracker(detector.names, settings.confidence).update(seen[sure], 0.0)
        people = persons(judged, photo.width, photo.height)
        heads = heads_of(judged.joined(seen[~sure]), people, photo.width, photo.height)
        hidden = pixelate(image, [head.box for head in heads])
        return Image.fromarray(hidden[:, :, ::-1])

    return hide
