"""Plane geometry on boxes and polygons, in pixels, vectorised."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edge.values import Box, Floats, Point


def to_pixels(points: Sequence[Point], width: int, height: int) -> Floats:
    """Relative points (0..1) as (n, 2) float32 pixels."""
    return np.asarray(points, dtype=np.float32) * np.array([width, height], dtype=np.float32)


def inside(polygon: Floats, point: Point) -> bool:
    """Whether a point lies in a polygon (n, 2) or on its edge."""
    return float(cv2.pointPolygonTest(polygon.reshape(-1, 1, 2), point, measureDist=False)) >= 0


def area(boxes: Floats) -> Floats:
    """Areas (n,) of boxes (n, 4)."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def intersection(a: Floats, b: Floats) -> Floats:
    """Areas (n, m) shared by each of boxes `a` (n, 4) and each of `b` (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1], dtype=np.float32)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union (n, m)."""
    shared = intersection(a, b)
    union = area(a)[:, None] + area(b)[None, :] - shared
    return np.asarray(shared / np.maximum(union, 1e-9), dtype=np.float32)


def as_array(boxes: Sequence[Box]) -> Floats:
    """Boxes as (n, 4) float32, also for none."""
    return np.asarray(boxes, dtype=np.float32).reshape(-1, 4)


def clip_box(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    """A box in whole pixels inside the picture, rounded outwards."""
    x1, y1 = max(0, int(np.floor(box[0]))), max(0, int(np.floor(box[1])))
    x2, y2 = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    return x1, y1, max(x1, x2), max(y1, y2)


def lengths(line: Floats) -> npt.NDArray[np.float32]:
    """Lengths (n-1,) of the pieces of a polyline (n, 2)."""
    return np.asarray(np.linalg.norm(np.diff(line, axis=0), axis=1), dtype=np.float32)
