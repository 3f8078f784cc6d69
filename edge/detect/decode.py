"""From the network's raw output to boxes in pixels of its input, only for what is above the threshold."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from edge.values import Floats, Ints

MOST = 300
"""Boxes a picture at most, the most confident ones; ultralytics' max_det."""


@lru_cache(maxsize=16)
def anchors(width: int, height: int, strides: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Centres (2, anchors) in strides and the strides (anchors,) of an input of this size."""
    centres, steps = [], []
    for stride in strides:
        columns, rows = width // stride, height // stride
        x, y = np.meshgrid(np.arange(columns, dtype=np.float32) + 0.5, np.arange(rows, dtype=np.float32) + 0.5)
        centres.append(np.stack([x.ravel(), y.ravel()]))
        steps.append(np.full(columns * rows, stride, np.float32))
    return np.concatenate(centres, axis=1), np.concatenate(steps)


def decode(
    raw: Floats, size: tuple[int, int], strides: tuple[int, ...], nms_iou: float | None, floor: float
) -> tuple[Floats, Floats, Ints]:
    """Boxes (n, 4) in pixels of the input, confidences (n,), falling, and classes (n,) of what is above `floor`.

    raw: (4 + classes, anchors), see `edge.detect.manifest.Output`. size: width and height of the input.
    Without NMS an anchor may give several classes, as ultralytics' end-to-end head does; with NMS its best one only.
    """
    logits = raw[4:]
    # Comparing logits saves the sigmoid of everything that is dropped; logit(0) is minus infinity, so all is kept.
    least = math.log(floor / (1 - floor)) if floor > 0 else -math.inf
    if nms_iou is None:
        class_id, row = np.nonzero(logits > least)
    else:
        row = np.flatnonzero(logits.max(axis=0) > least)
        class_id = logits[:, row].argmax(axis=0)
    confidence = 1 / (1 + np.exp(-logits[class_id, row]))
    order = np.argsort(-confidence, kind="stable")
    if nms_iou is None:
        order = order[:MOST]
    row, class_id, confidence = row[order], class_id[order], confidence[order]
    centres, steps = anchors(*size, strides)
    distances = raw[:4, row]
    corners = np.concatenate([centres[:, row] - distances[:2], centres[:, row] + distances[2:]])
    boxes = (corners * steps[row]).T
    if nms_iou is not None and len(boxes):
        # One batched NMS: boxes of different classes never meet. Sides as width and height, as OpenCV wants them.
        sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        kept = np.asarray(
            cv2.dnn.NMSBoxesBatched(sized.tolist(), confidence.tolist(), class_id.tolist(), 0.0, nms_iou), np.intp
        )[:MOST]
        boxes, confidence, class_id = boxes[kept], confidence[kept], class_id[kept]
    return (
        np.ascontiguousarray(boxes, np.float32),
        confidence.astype(np.float32, copy=False),
        class_id.astype(np.int32, copy=False),
    )
