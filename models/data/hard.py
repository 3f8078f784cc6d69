"""Hard cases made out of good photos: night, infra-red, low light, rain, blur, artefacts, back-light, far people;
orange shirts, caps, buckets near heads, helmets in hands, faces made unrecognisable, more lamps.

Each maps a photo (height, width, 3; BGR, uint8) and a generator to a new photo of the same size and leaves its input
alone. `far` moves the boxes too, `carried_helmet` and `more_lamps` add some, those of `DRESSED` need them. `harden`
draws which of them a photo gets.
Rough pictures of what cameras do, not simulations: what counts is that hue, contrast, sharpness and size stop being
something that the network may rely on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import cv2
import numpy as np

from models.data.labels import CLASS_ID, Boxes, Floats
from models.data.pictures import Pixels

Random: TypeAlias = np.random.Generator
Effect: TypeAlias = Callable[[Pixels, Random], Pixels]

STREET = ("barrier", "cone", "warning_light", "sign")
"""What stands on the street: mostly small in the picture, and on few of the photos."""

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


def painted_hat(picture: Pixels, boxes: Boxes, random: Random) -> Pixels:
    """Coloured helmets take another colour: on most photos they are yellow, white, red or blue, and a green one far
    away was taken for hair. White and grey ones stay what they are.
    """
    result = picture.copy()
    for left, top, right, bottom in _corners(boxes.of("helmet"), picture):
        if right - left < 4 or bottom - top < 3 or random.random() < 0.5:
            continue
        patch = result[top:bottom, left:right]
        hsv = cv2.cvtColor(patch, cv2.COLOR_BGR2HSV)
        weight = _ellipse(*patch.shape[:2])[..., None] * (hsv[..., 1:2] > 60)
        hsv[..., 0] = random.integers(0, 180)
        result[top:bottom, left:right] = _bytes(patch * (1 - weight) + cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR) * weight)
    return result


def cap(picture: Pixels, boxes: Boxes, random: Random) -> Pixels:
    """Bare heads wear a cap or a hood of some colour: a coloured crown makes no helmet."""
    result = picture.copy()
    for left, top, right, bottom in _corners(boxes.of("no_helmet"), picture):
        brow = top + max(2, round(0.4 * (right - left)))
        if right - left < 6 or brow >= bottom or random.random() < 0.5:
            continue
        patch = result[top:brow, left:right]
        shade = (patch.mean(axis=2, keepdims=True) + 60) / 180 * _paint(random)
        weight = _ellipse(2 * (brow - top), right - left)[: brow - top, :, None]
        result[top:brow, left:right] = _bytes(patch * (1 - weight) + shade * weight)
    return result


def bucket(picture: Pixels, boxes: Boxes, random: Random) -> Pixels:
    """A bright bucket, ball or canister beside heads: neither a helmet nor a head."""
    result = picture.copy()
    height, width = picture.shape[:2]
    heads = _corners(boxes.of("helmet", "no_helmet"), picture)
    taken = _corners(boxes, picture)
    for left, top, right, _ in heads:
        across = max(4, round((right - left) * random.uniform(0.6, 1.1)))
        x = round(left + random.choice([-1.3, 1.3]) * (right - left))
        y = round(top + random.uniform(-0.3, 1.5) * (right - left))
        # Not over what is labelled, people apart: it would be hidden, and its label wrong.
        covers = [a < x + across and x < c and b < y + across and y < d for a, b, c, d in taken if c - a < 3 * across]
        if x < 0 or y < 0 or x + across > width or y + across > height or any(covers) or random.random() < 0.5:
            continue
        patch = result[y : y + across, x : x + across]
        shine = np.linspace(1.15, 0.55, across)[None, :, None] * _paint(random)
        weight = _ellipse(across, across)[..., None]
        if random.random() < 0.5:  # narrower below, as buckets are
            narrow = np.abs(np.linspace(-1, 1, across))[None, :] < np.linspace(1, 0.65, across)[:, None]
            weight = np.asarray(cv2.GaussianBlur(narrow.astype(np.float64), (3, 3), 0), np.float64)[..., None]
        result[y : y + across, x : x + across] = _bytes(patch * (1 - weight) + shine * weight)
    return result


def carried_helmet(picture: Pixels, boxes: Boxes, random: Random) -> tuple[Pixels, Boxes]:
    """A helmet of the photo once more, where a bare head's hand would be; it is labelled, the head stays bare."""
    height, width = picture.shape[:2]
    hats = [c for c in _corners(boxes.of("helmet"), picture) if c[2] - c[0] >= 10 and c[3] - c[1] >= 8]
    heads = [c for c in _corners(boxes.of("no_helmet"), picture) if c[2] - c[0] >= 8]
    if not hats or not heads:
        return picture, boxes
    left, top, right, bottom = hats[random.integers(len(hats))]
    head = heads[random.integers(len(heads))]
    size = head[2] - head[0]
    factor = size * random.uniform(0.9, 1.2) / (right - left)
    hat = cv2.resize(picture[top:bottom, left:right], None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    down, across = hat.shape[:2]
    x = round(head[0] + random.choice([-1, 1]) * random.uniform(1.0, 1.6) * size)
    y = round(head[1] + random.uniform(2.0, 3.5) * size)
    if x < 0 or y < 0 or x + across > width or y + down > height:
        return picture, boxes
    result = picture.copy()
    weight = _ellipse(down, across)[..., None]
    result[y : y + down, x : x + across] = _bytes(result[y : y + down, x : x + across] * (1 - weight) + hat * weight)
    added = np.array([[(x + across / 2) / width, (y + down / 2) / height, across / width, down / height]])
    kind = np.array([CLASS_ID["helmet"]])
    return result, Boxes(np.append(boxes.classes, kind), np.concatenate((boxes.xywh, added)))


def more_lamps(picture: Pixels, boxes: Boxes, lamps: Sequence[Pixels], random: Random) -> tuple[Pixels, Boxes]:
    """One to three lamps, half of them of other photos and half drawn, on top of barriers, cones, vehicles and machines
    where there are any; they are labelled.

    Lamps are on one training photo in a hundred; pasting rare objects teaches them (Ghiasi et al., "Simple Copy-Paste
    is a Strong Data Augmentation Method", 2021). lamps: cut out along their boxes.
    """
    height, width = picture.shape[:2]
    result, added = picture.copy(), []
    stands, taken = _corners(boxes.of("barrier", "cone", "vehicle", "machinery"), picture), _corners(boxes, picture)
    for _ in range(random.integers(1, 4)):
        if lamps and random.random() < 0.5:
            lamp, weight = lamps[int(random.integers(len(lamps)))].astype(np.float64), np.zeros((0, 0))
        else:
            lamp, weight = drawn_lamp(random)
        down = random.uniform(8, 40)
        if stands:
            left, top, right, bottom = stands[random.integers(len(stands))]
            down = np.clip(random.uniform(0.15, 0.5) * (bottom - top), 7, 60)
        down /= max(1.0, lamp.shape[1] / lamp.shape[0])  # a light bar is flat
        if not weight.size:
            down = min(down, 2.0 * lamp.shape[0])  # more would be a blur
        across, down = max(4, round(lamp.shape[1] * down / lamp.shape[0])), max(4, round(down))
        if stands:
            x, y = round(random.uniform(left, right) - across / 2), round(top - random.uniform(0.7, 1.0) * down)
        else:
            x, y = (int(random.integers(0, max(1, size))) for size in (width - across, height - down))
        new = [x, y, x + across, y + down]
        hides = any(a < new[2] and x < c and b < new[3] and y < d for a, b, c, d in taken if [a, b, c, d] not in stands)
        if x < 0 or y < 0 or new[2] > width or new[3] > height or hides:
            continue
        small = cv2.resize(lamp, (across, down), interpolation=cv2.INTER_AREA)
        if not weight.size:
            weight = _ellipse(down, across) ** 0.5  # lamps are rounder than their boxes, but not much
        weight = np.asarray(cv2.resize(weight, (across, down), interpolation=cv2.INTER_AREA), np.float64)[..., None]
        if random.random() < 0.5:
            small, weight = small[:, ::-1], weight[:, ::-1]
        patch = result[y : new[3], x : new[2]]
        result[y : new[3], x : new[2]] = _bytes(patch * (1 - weight) + small * random.uniform(0.7, 1.2) * weight)
        taken.append(new)
        added.append(new)
    if not added:
        return picture, boxes
    kinds = np.full(len(added), CLASS_ID["warning_light"], boxes.classes.dtype)
    new_boxes = Boxes.of_xyxy(kinds, np.array(added) / [width, height, width, height])
    return result, Boxes(np.append(boxes.classes, new_boxes.classes), np.concatenate((boxes.xywh, new_boxes.xywh)))


def drawn_lamp(random: Random) -> tuple[Floats, Floats]:
    """A flasher on its battery box, a beacon, or a light bar, lit or not: picture (height, width, 3), weight of each
    pixel (height, width). Amber mostly, as on street works; light bars have other colours too.
    """
    kind = str(random.choice(["flasher", "beacon", "bar"], p=[0.5, 0.3, 0.2]))
    height, width = {"flasher": (72, 48), "beacon": (56, 48), "bar": (32, 120)}[kind]
    lens = np.array([random.uniform(0, 60), random.uniform(90, 190), random.uniform(200, 255)])
    if random.random() < 0.25:
        lens = np.array([[40, 40, 220], [220, 90, 40], [210, 215, 220]][random.integers(3)], np.float64)
    base = np.array([[40, 190, 220], [40, 40, 190], [60, 60, 60], [200, 200, 200]][random.integers(4)], np.float64)
    made, weight = np.zeros((height, width, 3)), np.zeros((height, width))
    if kind == "flasher":
        foot = random.uniform(0.0, 0.4) * height
        middle, radius = (width // 2, round((height - foot) / 2)), min(width, round(height - foot)) // 2 - 1
        side = max(2, round(radius * random.uniform(0.35, 1.0)))  # seen from the front or aslant
        cv2.rectangle(weight, (width // 5, middle[1]), (4 * width // 5, height - 1), 1.0, -1)
        made[weight > 0] = base
        for part, shade in ((1.0, 0.75), (0.85, 1.0), (0.5, 1.12)):
            axes = (max(1, round(side * part)), max(1, round(radius * part)))
            cv2.ellipse(made, middle, axes, 0, 0, 360, (lens * shade).tolist(), -1)
        cv2.ellipse(weight, middle, (side, radius), 0, 0, 360, 1.0, -1)
    elif kind == "beacon":
        foot = round(height * random.uniform(0.05, 0.25))
        cv2.rectangle(weight, (2, height - foot - 1), (width - 3, height - 1), 1.0, -1)
        made[weight > 0] = base
        inset = round(width * random.uniform(0.05, 0.2))
        cv2.rectangle(made, (inset, height // 3), (width - 1 - inset, height - foot - 1), lens.tolist(), -1)
        cv2.rectangle(weight, (inset, height // 3), (width - 1 - inset, height - foot - 1), 1.0, -1)
        axes = (width // 2 - inset, height // 3)
        cv2.ellipse(made, (width // 2, height // 3), axes, 0, 180, 360, lens.tolist(), -1)
        cv2.ellipse(weight, (width // 2, height // 3), axes, 0, 180, 360, 1.0, -1)
        stripe = round(width * random.uniform(0.3, 0.6))
        made[height // 4 : height - foot - 1, stripe : stripe + 5] *= 1.25
    else:
        weight[4:-4, 2:-2] = 1.0
        made[4:-4, 2:-2] = lens
        for edge in range(0, width, int(random.integers(20, 50))):
            made[4:-4, edge : edge + 4] = lens * 0.6
        if random.random() < 0.5:
            made[4:-4, 45:75] = base
    if random.random() < 0.4:  # lit: white in the middle
        y, x = np.mgrid[:height, :width]
        glow = np.exp(-(((x - width / 2) / (0.3 * width)) ** 2) - ((y - height * 0.4) / (0.3 * height)) ** 2)[..., None]
        made = made * (1 - glow) + np.array([190.0, 240.0, 255.0]) * glow
    return np.clip(made, 0, 255), cv2.GaussianBlur(weight, (5, 5), 0).astype(np.float64)


def hidden_faces(picture: Pixels, boxes: Boxes, random: Random) -> Pixels:
    """Faces below the brow of a few cells, blocks or smooth, as stored pictures have them (`edge.evidence.mosaic`).

    What was harvested can be learned from then, and what was seen in a frame is seen in its stored picture.
    """
    result = picture.copy()
    height, width = picture.shape[:2]
    smooth = cv2.INTER_CUBIC if random.random() < 0.7 else cv2.INTER_NEAREST
    for names, brow in ((("helmet",), 0.55), (("no_helmet",), 0.4)):
        for left, top, right, bottom in _corners(boxes.of(*names), picture):
            across = right - left
            upper = round(top + min(bottom - top, brow * across))
            lower = min(height, round(max(bottom, top + 1.22 * across) + 0.2 * across))
            begin, end = max(0, round(left - 0.2 * across)), min(width, round(right + 0.2 * across))
            if end - begin < 4 or lower - upper < 4:
                continue
            cell = max(4.0, max(end - begin, lower - upper) / random.integers(4, 10))
            few = max(1, int((end - begin) / cell)), max(1, int((lower - upper) / cell))
            means = cv2.resize(result[upper:lower, begin:end], few, interpolation=cv2.INTER_AREA)
            result[upper:lower, begin:end] = cv2.resize(means, (end - begin, lower - upper), interpolation=smooth)
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


def near(picture: Pixels, boxes: Boxes, side: int, random: Random) -> tuple[Pixels, Boxes, tuple[int, int, int, int]]:
    """A window of the photo around one of its objects, at about the photo's own scale: what is small stays as large as
    a network with a larger input sees it, at the price of the smaller one.

    side: longest side of the result in pixels. Objects of the classes of `STREET` are four times as likely to be
    chosen, as they are the small ones. A box of which less than a sixth is left goes. Returns the picture, its boxes,
    and the window: left, top, right, bottom in pixels of the photo.
    """
    height, width = picture.shape[:2]
    zoom = float(np.exp(random.uniform(np.log(0.7), np.log(1.5))))
    wide, tall = min(width, round(side / zoom)), min(height, round(side / zoom))
    if len(boxes):
        weight = np.where(np.isin(boxes.classes, [CLASS_ID[name] for name in STREET]), 4.0, 1.0)
        centre = boxes.xywh[random.choice(len(boxes), p=weight / weight.sum()), :2] * [width, height]
    else:
        centre = random.uniform(0, 1, 2) * [width, height]
    shift = random.uniform(-0.4, 0.4, 2) * [wide, tall]
    left, top = np.clip(centre + shift - [wide / 2, tall / 2], 0, [width - wide, height - tall]).astype(int).tolist()
    window = (left, top, left + wide, top + tall)
    corners = (boxes.xyxy * np.tile([width, height], 2) - np.tile([left, top], 2)) / np.tile([wide, tall], 2)
    seen = np.clip(corners, 0, 1)
    areas = [(c[:, 2:] - c[:, :2]).prod(axis=1) for c in (seen, corners)]
    kept = areas[0] >= areas[1] / 6
    factor = side / max(wide, tall)
    size = (max(1, round(wide * factor)), max(1, round(tall * factor)))
    cut = cv2.resize(picture[top : top + tall, left : left + wide], size, interpolation=_towards(factor))
    return np.asarray(cut, np.uint8), Boxes.of_xyxy(boxes.classes[kept], seen[kept]), window


def _towards(factor: float) -> int:
    return cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR


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


DRESSED: Mapping[str, Callable[[Pixels, Boxes, Random], Pixels]] = MappingProxyType(
    {
        "orange_shirt": orange_shirt,
        "painted_hat": painted_hat,
        "cap": cap,
        "bucket": bucket,
        "hidden_faces": hidden_faces,
    }
)


def harden(picture: Pixels, boxes: Boxes, random: Random, share: float) -> tuple[Pixels, Boxes]:
    """With probability `share` one of `EFFECTS`, evenly; before that, with a third of it each, a helmet in a hand and
    those of `DRESSED`. Returns the boxes too, as a helmet may have been added.
    """
    if random.random() < share / 3:
        picture, boxes = carried_helmet(picture, boxes, random)
    for effect in DRESSED.values():
        if random.random() < share / 3:
            picture = effect(picture, boxes, random)
    if random.random() < share:
        picture = EFFECTS[str(random.choice(list(EFFECTS)))](picture, random)
    return picture, boxes


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


def _corners(boxes: Boxes, picture: Pixels) -> list[list[int]]:
    """Left, top, right, bottom of each box in whole pixels of the photo."""
    height, width = picture.shape[:2]
    corners: list[list[int]] = np.rint(boxes.xyxy.clip(0, 1) * [width, height, width, height]).astype(int).tolist()
    return corners


def _paint(random: Random) -> Floats:
    """A bright colour as helmets have it, or any other; (3,), BGR."""
    bright = [(30, 60, 220), (20, 120, 250), (40, 220, 240), (200, 90, 30), (230, 230, 230), (60, 160, 50)]
    if random.random() < 0.7:
        return np.array(bright[random.integers(len(bright))], np.float64)
    return random.uniform(0, 255, 3)


def _pixels(low: float, high: float, size: int) -> slice:
    return slice(max(0, round(low * size)), min(size, round(high * size)))


def _noisy(picture: Floats, random: Random, deviation: float, *, grey: bool = False) -> Pixels:
    height, width = picture.shape[:2]
    return _bytes(picture + random.normal(0, deviation, (height, width, 1 if grey else 3)))


def _bytes(picture: Floats) -> Pixels:
    return np.clip(picture, 0, 255).astype(np.uint8)
