"""What is not labelled teaches nothing, and neither does an ignore box."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

if not os.environ.get("BANKSMAN_REQUIRE_ALL"):
    pytest.importorskip("ultralytics", reason="ultralytics is not installed (make train-env)")

import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.loss import E2ELoss

from models.data import CLASSES, DataError, Photo, read_set, write_set
from models.data.labels import CLASS_ID
from models.data.masking import (
    FILLER,
    KEY,
    MaskedDataset,
    MaskedLoss,
    MaskedValidator,
    OwnMosaic,
    Palette,
    UnknownAt,
    repeat_factors,
)
from tests.models.photos import boxes, photo, picture

SIDE = 64
NETWORKS = ("yolo11n.yaml", "yolo26n.yaml")


@pytest.fixture(scope="module")
def networks() -> dict[str, Any]:
    torch.manual_seed(1)
    made = {}
    for name in NETWORKS:
        model = DetectionModel(name, nc=len(CLASSES), verbose=False).train()
        model.args = get_cfg(overrides={"epochs": 10})
        made[name] = model
    return made


def criterion(model: Any, table: torch.Tensor, rare: float = 0.0) -> tuple[Any, list[Any]]:
    """The loss as training has it, and its one or two parts."""
    if getattr(model.model[-1], "one2one_cv2", None) is None:
        loss = MaskedLoss(model, table=table, rare=rare)
        return loss, [loss]
    both = E2ELoss(model, lambda *args, **rest: MaskedLoss(*args, table=table, rare=rare, **rest))
    return both, [both.one2many, both.one2one]


def batch(maps: np.ndarray[Any, Any], marks: list[tuple[int, str, float, float, float, float]]) -> dict[str, Any]:
    """marks: number in the batch, class, box."""
    torch.manual_seed(2)
    return {
        "img": torch.rand(len(maps), 3, SIDE, SIDE),
        "batch_idx": torch.tensor([float(mark[0]) for mark in marks]),
        "cls": torch.tensor([[float(CLASS_ID[mark[1]])] for mark in marks]).reshape(-1, 1),
        "bboxes": torch.tensor([mark[2:] for mark in marks]).reshape(-1, 4),
        KEY: torch.from_numpy(maps),
    }


def gradients(model: Any, table: torch.Tensor, what: dict[str, Any], rare: float = 0.0) -> list[torch.Tensor]:
    """Of the class scores, (photos, classes, anchors), of each head."""
    found: list[torch.Tensor] = []
    loss, _ = criterion(model, table, rare)
    preds = model(what["img"])
    heads = [preds["one2many"], preds["one2one"]] if "one2many" in preds else [preds]
    for head in heads:
        head["scores"] = head["scores"].detach().requires_grad_()
        found.append(head["scores"])
    loss(preds, what)[0].sum().backward()
    return [scores.grad for scores in found if scores.grad is not None]


def complete_for(*names: str) -> Photo:
    return photo(Path("x.png"), complete=names)


@pytest.mark.parametrize("name", NETWORKS)
def test_unknown_classes_get_no_gradient_at_all(networks: dict[str, Any], name: str) -> None:
    palette = Palette()
    known = {"helmet", "no_helmet"}
    maps = np.stack(
        [palette.paint(complete_for(*known), SIDE, SIDE), palette.paint(complete_for(*CLASSES), SIDE, SIDE)]
    )
    marks = [(0, "helmet", 0.5, 0.5, 0.3, 0.3), (1, "person", 0.5, 0.5, 0.5, 0.8)]
    for grad in gradients(networks[name], palette.table(), batch(maps, marks)):
        for number, kind in enumerate(CLASSES):
            assert bool((grad[0, number] == 0).all()) is (kind not in known), kind
            assert (grad[1, number] != 0).all(), kind


@pytest.mark.parametrize("name", NETWORKS)
def test_an_object_that_is_labelled_teaches_even_where_its_class_is_unknown(
    networks: dict[str, Any], name: str
) -> None:
    palette = Palette()
    maps = palette.paint(complete_for("cone"), SIDE, SIDE)[None]
    for grad in gradients(networks[name], palette.table(), batch(maps, [(0, "person", 0.5, 0.5, 0.5, 0.8)])):
        taught = grad[0, CLASS_ID["person"]] != 0
        assert 0 < int(taught.sum()) <= 10  # the anchors that were given to it
        assert (grad[0, CLASS_ID["person"]][taught] < 0).all()  # and only: more like a person
        assert (grad[0, CLASS_ID["vest"]] == 0).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_where_all_is_known_the_loss_is_that_of_ultralytics(networks: dict[str, Any], name: str) -> None:
    palette = Palette()
    maps = palette.paint(complete_for(*CLASSES), SIDE, SIDE)[None]
    what = batch(maps, [(0, "person", 0.5, 0.5, 0.5, 0.8), (0, "cone", 0.2, 0.2, 0.2, 0.2)])
    model = networks[name].eval()  # so that both see the same numbers
    preds = model(what["img"])
    ours, _ = criterion(model, palette.table())
    model.train()
    assert torch.equal(ours(preds, what)[0], model.init_criterion()(preds, what)[0])


def test_an_ignore_box_hides_its_class_and_only_there(networks: dict[str, Any]) -> None:
    palette = Palette()
    one = replace(complete_for(*CLASSES), ignore=boxes(("person", 0.25, 0.5, 0.5, 1.0)))
    maps = palette.paint(one, SIDE, SIDE)[None]
    (grad,) = gradients(networks["yolo11n.yaml"], palette.table(), batch(maps, []))
    fine = grad[0, CLASS_ID["person"], : (SIDE // 8) ** 2].reshape(SIDE // 8, SIDE // 8)
    assert (fine[:, :4] == 0).all()
    assert (fine[:, 4:] != 0).all()
    assert (grad[0, CLASS_ID["vest"]] != 0).all()


def test_a_map_may_be_of_another_size_than_the_picture() -> None:
    table = torch.zeros(256, len(CLASSES), dtype=torch.bool)
    table[1, 0] = True
    maps = torch.zeros(1, 96, 64, dtype=torch.uint8)
    maps[:, :48] = 1
    found = UnknownAt(table)(maps, [(4, 3), (2, 2)])
    assert found.shape == (1, 16, len(CLASSES))
    assert found[0, :, 0].tolist() == [True] * 6 + [False] * 6 + [True, True, False, False]


def test_ignore_boxes_that_overlap_add_up() -> None:
    palette = Palette()
    one = replace(complete_for(*CLASSES), ignore=boxes(("person", 0.5, 0.5, 1, 1), ("vest", 0.5, 0.5, 0.5, 0.5)))
    painted = palette.paint(one, 8, 8)
    table = palette.table()
    assert [CLASSES[n] for n in torch.nonzero(table[painted[0, 0]]).flatten().tolist()] == ["person"]
    assert [CLASSES[n] for n in torch.nonzero(table[painted[4, 4]]).flatten().tolist()] == ["person", "vest"]
    assert not table[FILLER].any()


def test_too_many_sets_are_refused() -> None:
    palette = Palette()
    sets = [frozenset(bit for bit in range(11) if number >> bit & 1) for number in range(256)]
    assert [palette.number(some) for some in sets[:255]] == list(range(255))
    with pytest.raises(DataError, match="more than 255"):
        palette.number(sets[255])


# The data set


@pytest.fixture
def listing(tmp_path: Path) -> Path:
    photos = [
        photo(
            picture(tmp_path / "from" / f"{name}.png", width=80, height=60, seed=seed),
            [("person", 0.5, 0.5, 0.5, 0.8), ("helmet", 0.5, 0.2, 0.1, 0.1)],
            source=source,
            complete=complete,
            split="val" if name == "v" else "train",
        )
        for seed, (name, source, complete) in enumerate(
            [
                ("a", "hhw", ("helmet", "no_helmet")),
                ("b", "tracon", ("cone",)),
                ("c", "css_v28", ("person", "helmet")),
                ("v", "hhw", ("helmet", "no_helmet")),
            ]
        )
    ]
    return write_set(photos, tmp_path / "set").parent.resolve()


def dataset(listing: Path, split: str, **change: Any) -> MaskedDataset:
    told = {"masked": True, "hard": 0.0, "distant": 0.0, "palette": Palette(), "weights": {}, **change}
    return MaskedDataset(
        img_path=str(listing / f"{split}.txt"),
        imgsz=SIDE,
        batch_size=4,
        augment=split == "train",
        hyp=get_cfg(overrides={"mosaic": 1.0, "mixup": 0.0, **told.pop("hyp", {})}),
        data={"names": dict(enumerate(CLASSES)), "nc": len(CLASSES), "channels": 3},
        photos={str(one.path): one for one in read_set(listing)},
        **told,
    )


def unknown(palette: Palette, number: int) -> set[str]:
    return {CLASSES[kind] for kind in torch.nonzero(palette.table()[number]).flatten().tolist()}


@pytest.mark.parametrize("windows", [{}, {"near": 0.7, "source_size": 2 * SIDE}])
def test_the_map_goes_through_mosaic_crop_and_flip_with_the_picture(listing: Path, windows: dict[str, Any]) -> None:
    """Each photo in a colour of its own: wherever its colour is, its map is, up to the blend at the seams."""
    palette = Palette()
    for number, one in enumerate(read_set(listing)):
        one.path.unlink()
        picture(one.path, width=80, height=60)
        assert cv2.imwrite(str(one.path), np.full((60, 80, 3), 60 * number, np.uint8))
    data = dataset(listing, "train", palette=palette, hyp={"hsv_h": 0, "hsv_s": 0, "hsv_v": 0}, **windows)
    names = [Path(file).stem for file in data.im_files]
    shades = {name: 60 * number for number, name in enumerate(["a", "b", "c", "v"])}
    expected = {
        shades["a"]: set(CLASSES) - {"helmet", "no_helmet"},
        shades["b"]: set(CLASSES) - {"cone"},
        shades["c"]: set(CLASSES) - {"person", "helmet"},
        114: set(),
    }
    seen = set()
    for _ in range(20):
        for index in range(len(names)):
            made = data[index]
            grey, maps = made["img"][0].numpy(), made[KEY].numpy()
            assert maps.shape == (SIDE, SIDE)
            for shade, classes in expected.items():
                # Not at a rim, where the shades of two photos may mix to that of a third.
                inside = np.argwhere(cv2.erode((grey == shade).astype(np.uint8), np.ones((3, 3), np.uint8)))
                wrong = sum(unknown(palette, int(maps[y, x])) != classes for y, x in inside[::17])
                assert wrong <= 0.1 * len(inside[::17]) + 1, (shade, wrong)
                seen.update([shade] * bool(len(inside)))
    assert seen == set(expected)


def test_a_ready_mosaic_gets_no_other(listing: Path) -> None:
    data = dataset(listing, "train")
    names = [Path(file).stem for file in data.im_files]
    drawn = {index for _ in range(50) for index in OwnMosaic(data, SIDE, 1.0).get_indexes()}
    assert {names[index] for index in drawn} == {"a", "b"}
    labels = data.get_image_and_label(names.index("c"))
    assert OwnMosaic(data, SIDE, 1.0)(labels) is labels


def test_background_is_what_it_says(listing: Path) -> None:
    palette = Palette()
    data = dataset(listing, "train", palette=palette, masked=False)
    data[0]
    assert not palette.table().any()


def test_validation_counts_only_what_is_known(listing: Path) -> None:
    data = dataset(listing, "val")
    assert data.labels[0]["cls"].flatten().tolist() == [CLASS_ID["helmet"]]
    validator = MaskedValidator(args={"task": "detect", "plots": False, "mode": "val"}, save_dir=listing)
    validator.labelled = {str(one.path): one for one in read_set(listing)}
    validator.seen, validator.is_custom_json, validator.build_gdict = 0, False, False
    found = {
        "bboxes": torch.tensor([[10.0, 10, 20, 20], [30, 30, 50, 50]]),
        "conf": torch.tensor([0.9, 0.8]),
        "cls": torch.tensor([float(CLASS_ID["helmet"]), float(CLASS_ID["person"])]),
        "extra": torch.zeros(2, 0),
    }
    what = data.collate_fn([data[0]])
    kept: list[Any] = []
    validator.metrics = SimpleNamespace(update_stats=kept.append)
    validator.device = torch.device("cpu")
    validator.update_metrics([found], what)
    assert kept[0]["pred_cls"].tolist() == [CLASS_ID["helmet"]]


@pytest.mark.parametrize("name", NETWORKS)
def test_rare_classes_may_be_background_by_a_weight(networks: dict[str, Any], name: str) -> None:
    palette = Palette()
    maps = np.stack([palette.paint(complete_for("helmet"), SIDE, SIDE)])
    whole = gradients(networks[name], torch.zeros(256, len(CLASSES), dtype=torch.bool), batch(maps, []))
    part = gradients(networks[name], palette.table(), batch(maps, []), rare=0.25)
    for known, grad in zip(whole, part, strict=True):
        for number, kind in enumerate(CLASSES):
            weight = {"helmet": 1.0, "warning_light": 0.25, "sign": 0.25}.get(kind, 0.0)
            torch.testing.assert_close(grad[0, number], weight * known[0, number])


def test_photos_of_what_is_weak_come_more_often() -> None:
    site = photo(Path("site.png"), [("person", 0.5, 0.5, 0.2, 0.2)], complete=("person",))
    street = photo(Path("street.png"), [("cone", 0.5, 0.5, 0.2, 0.2)], complete=("barrier", "cone"))
    vests = photo(Path("vests.png"), [("person", 0.5, 0.5, 0.2, 0.2)], complete=("person", "vest"))
    both = photo(Path("both.png"), [("cone", 0.5, 0.5, 0.2, 0.2)], complete=("barrier", "vest"))
    assert repeat_factors([site, street, vests, both], share=0.5, street=3.0, vests=2.0) == [1.0, 3.0, 2.0, 6.0]


def test_photos_of_rare_classes_come_more_often() -> None:
    common = [photo(Path(f"{n}.png"), [("person", 0.5, 0.5, 0.2, 0.2)]) for n in range(99)]
    rare = photo(Path("rare.png"), [("warning_light", 0.5, 0.5, 0.2, 0.2), ("person", 0.2, 0.2, 0.1, 0.1)])
    factors = repeat_factors([*common, rare, photo(Path("empty.png"))], share=0.25)
    assert factors[:99] == [1.0] * 99
    assert factors[99] == pytest.approx((0.25 * 101) ** 0.5)
    assert factors[100] == 1.0
