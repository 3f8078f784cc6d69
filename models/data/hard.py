"""Hard cases made out of good photos: night, infra-red, low light, rain, blur, artefacts, back-light, far people,
orange shirts.

Each maps a photo (height, width, 3; BGR, uint8) and a generator to a new photo of the same size and leaves its input
alone. `far` moves the boxes too; `orange_shirt` needs them. `harden` draws which of them a photo gets.
Rough pictures of what cameras do, not simulations: what counts is that hue, contrast, sharpness and size stop being
something that the network may rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np

from models.data.labels import Boxes, Floats
from models.data.pictures import Pixels

Random: TypeAlias = np.random.Generator
Effect: TypeAlias = Callable[[Pixels, Random], Pixels]

_GREY = 114  # what ultralytics pads with


def night(picture: Pixels, random: Random) -> Pixels:
    """Dark with a colour cast (sodium or cold LED), lit from one or two lamps; noise of a high gain."""
    height, width = picture.shape[:2]
    light = np.full((height, width), random.uniform(0.08, 0.2))
    for _ in range(random.integers(1, 3)):
        light += random.uniform(0.3, 0.8) * _spot(height, width, random)
    sodium = random.random() < 0.5
    cast = np.array([0.65, 0.9, 1.1] if sodium else [1.1, 1.0, 0.85])
    return _noisy(_exposed(picture * light.clip(0, 1)[..., None] * cast), random, random.uniform(3, 9))


def infrared(picture: Pixels, random: Random) -> Pixels:
    """Grey as from a night camera: cloth of every colour is pale, the lamp beside the lens fades towards the rim."""
    mix = random.dirichlet([1.0, 2.0, 4.0])  # near infra-red follows red most
    grey = (picture @ mix) ** random.uniform(0.75, 1.0)
    grey *= 255 / max(float(grey.max()), 1.0)
    height, width = picture.shape[:2]
    fall = random.uniform(0.3, 0.8) * (1 - _spot(height, width, random, centred=True))
    return _noisy(np.repeat((grey * (1 - fall))[..., None], 3, axis=2), random, random.uniform(2, 6), grey=True)


def low_light(picture: Pixels, random: Random) -> Pixels:
    """Dusk or an unlit pit: less light, flat colours, noise."""
    dark = (picture / 255.0) ** random.uniform(1.4, 2.4) * random.uniform(110, 200)
    grey = dark.mean(axis=2, keepdims=True)
    return _noisy(_exposed(grey + (dark - grey) * random.uniform(0.4, 0.9)), random, random.uniform(4, 12))


def rain(picture: Pixels, random: Random) -> Pixels:
    """Streaks of one direction, and the haze that comes with them."""
    height, width = picture.shape[:2]
    drops = (random.random((height, width)) < random.uniform(0.002, 0.006)).astype(np.float32) * 255
    streaks = cv2.filter2D(drops, -1, _line(int(random.integers(9, 23)), random.uniform(-25, 25) + 90) * 3)
    haze = random.uniform(0.1, 0.35)
    wet = picture * (1 - haze) + 190 * haze
    return _bytes(wet + random.uniform(0.5, 1.0) * streaks[..., None])


def blur(picture: Pixels, random: Random) -> Pixels:
    """The camera shakes, somebody runs, or the lens is out of focus."""
    if random.random() < 0.3:
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), random.uniform(0.8, 2.0)), np.uint8)
    return np.asarray(cv2.filter2D(picture, -1, _line(int(random.integers(4, 12)), random.uniform(0, 180))), np.uint8)


def artefacts(picture: Pixels, random: Random) -> Pixels:
    """A stream of few bits: JPEG at a low quality, of a picture scaled down and up again now and then."""
    height, width = picture.shape[:2]
    small = picture
    if random.random() < 0.5:
        factor = random.uniform(0.4, 0.8)
        size = (max(1, round(width * factor)), max(1, round(height * factor)))
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(8, 35))])
    rough = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.resize(rough, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def back_light(picture: Pixels, random: Random) -> Pixels:
    """Sun into the lens: a veil around a bright spot, everything else dark and of low contrast."""
    height, width = picture.shape[:2]
    glare = _spot(height, width, random)[..., None]
    dark = picture * random.uniform(0.3, 0.6)
    return _bytes(dark + glare * random.uniform(140, 230))


def orange_shirt(picture: Pixels, boxes: Boxes, random: Random) -> Pixels:
    """Shirts of those without a vest become orange, yellow or red: a colour alone makes no vest.

    In HSV, so that folds stay; white and black cloth stay what they are. Where a vest overlaps, nothing is done.
    """
    height, width = picture.shape[:2]
    shirts = boxes.of("no_vest").xyxy
    vests = boxes.of("vest").xyxy
    result = picture.copy()
    for left, top, right, bottom in shirts:
        apart = (vests[:, 2] <= left) | (vests[:, 0] >= right) | (vests[:, 3] <= top) | (vests[:, 1] >= bottom)
        across, down = _pixels(left, right, width), _pixels(top, bottom, height)
        if not apart.all() or across.stop - across.start < 4 or down.stop - down.start < 4:
            continue
        patch = result[down, across]
        hsv = cv2.cvtColor(patch, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = random.choice([4, 10, 14, 25])  # red, orange, amber, yellow, in OpenCV's half degrees
        hsv[..., 1] = np.clip(hsv[..., 1].astype(np.int16) + random.integers(110, 190), 0, 255)
        hsv[..., 2] = np.clip(hsv[..., 2].astype(np.int16) + 40, 0, 255)
        weight = _ellipse(*patch.shape[:2])[..., None]
        result[down, across] = _bytes(patch * (1 - weight) + cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * weight)
    return result


def far(picture: Pixels, boxes: Floats, random: Random) -> tuple[Pixels, Floats, tuple[int, int, int, int]]:
    """The photo small, somewhere on a canvas of its own size: people as a camera on a high mast sees them.

    boxes: (n, 4), centre and size in shares. Returns the picture, the moved boxes, and where the photo lies: left,
    top, right, bottom in pixels.
    """
    height, width = picture.shape[:2]
    factor = random.uniform(0.3, 0.6)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    left, top = int(random.integers(0, width - size[0] + 1)), int(random.integers(0, height - size[1] + 1))
    canvas = np.full_like(picture, _GREY)
    canvas[top : top + size[1], left : left + size[0]] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    scale = np.array([size[0] / width, size[1] / height] * 2)
    return canvas, boxes * scale + [left / width, top / height, 0, 0], (left, top, left + size[0], top + size[1])


EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        "night": night,
        "infrared": infrared,
        "low_light": low_light,
        "rain": rain,
        "blur": blur,
        "artefacts": artefacts,
        "back_light": back_light,
    }
)


def harden(picture: Pixels, boxes: Boxes, random: Random, share: float) -> Pixels:
    """With probability `share` one of `EFFECTS`, evenly; before that, with half of it, orange shirts."""
    if random.random() < share / 2:
        picture = orange_shirt(picture, boxes, random)
    if random.random() < share:
        picture = EFFECTS[str(random.choice(list(EFFECTS)))](picture, random)
    return picture


def _exposed(picture: Floats) -> Floats:
    """Brightened where it would be black all over, as a camera's automatic exposure does."""
    bright = float(np.percentile(picture[::4, ::4], 99))
    return picture * max(1.0, 90 / max(bright, 0.2))


def _spot(height: int, width: int, random: Random, *, centred: bool = False) -> Floats:
    """(height, width), 1 at a lamp, falling to 0."""
    y, x = (0.5, 0.5) if centred else random.uniform(0.1, 0.9, 2)
    reach = random.uniform(0.25, 0.5)
    down = (np.arange(height) / height - y)[:, None] / reach
    across = (np.arange(width) / width - x)[None, :] / reach
    return np.exp(-(down**2) - across**2)


def _line(length: int, degrees: float) -> Floats:
    """A kernel that smears along a line; its sum is 1."""
    kernel = np.zeros((length, length), np.float64)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), degrees, 1)
    turned = cv2.warpAffine(kernel, turn, (length, length))
    return np.asarray(turned / max(turned.sum(), 1e-6), np.float64)


def _ellipse(height: int, width: int) -> Floats:
    """(height, width), 1 inside, soft at the rim."""
    down = np.linspace(-1, 1, height)[:, None]
    across = np.linspace(-1, 1, width)[None, :]
    return np.clip((1.05 - np.sqrt(down**2 + across**2)) * 4, 0, 1)


def _pixels(low: float, high: float, size: int) -> slice:
    return slice(max(0, round(low * size)), min(size, round(high * size)))


def _noisy(picture: Floats, random: Random, deviation: float, *, grey: bool = False) -> Pixels:
    height, width = picture.shape[:2]
    return _bytes(picture + random.normal(0, deviation, (height, width, 1 if grey else 3)))


def _bytes(picture: Floats) -> Pixels:
    return np.clip(picture, 0, 255).astype(np.uint8)
