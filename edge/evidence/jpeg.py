"""Pictures as JPEG."""

from __future__ import annotations

import cv2

from edge.values import Image


def encode(image: Image, quality: int) -> bytes:
    """quality: 0..100. Raises ValueError for a picture that JPEG cannot hold (a side above 65,500 pixels)."""
    done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be encoded as JPEG")
    return jpeg.tobytes()
