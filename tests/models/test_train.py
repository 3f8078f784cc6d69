"""Training: what it writes, that it goes on after a stop, and what it refuses."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ["YOLO_OFFLINE"] = "true"
if not os.environ.get("BANKSMAN_REQUIRE_ALL"):
    pytest.importorskip("ultralytics", reason="ultralytics is not installed (make train-env)")

import torch
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from models import train as module
from models.data import CLASSES, write_set
from models.data.masking import MaskedLoss
from models.train import Draw, Recipe, SiteTrainer, TrainingError, train
from tests.models.command import BANKSMAN
from tests.models.photos import photo, picture

REPO = Path(__file__).resolve().parents[2]
DEADLINE_S = 120


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos to train on, two for tuning; every other one knows nothing of people."""
    root = tmp_path_factory.mktemp("set")
    photos = [
        photo(
            picture(root / "from" / f"p{seed}.png", seed=seed),
            [("person", 0.5, 0.5, 0.4, 0.8), ("helmet", 0.5, 0.2, 0.2, 0.2)],
            split="val" if seed > 7 else "train",
            source="rf100_cs" if seed % 2 else "hhw",
            complete=CLASSES if seed % 2 else ("helmet", "no_helmet"),
        )
        for seed in range(10)
    ]
    return write_set(photos, root / "set").parent


@pytest.fixture(scope="module", params=["yolo26n", "yolo11n"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Of three short epochs, from weights that know nothing."""
    weights = tmp_path_factory.mktemp("start") / f"{request.param}.pt"
    torch.manual_seed(0)
    YOLO(f"{request.param}.yaml").save(str(weights))
    return Recipe(str(weights), image_size=64, epochs=3, batch=4, nominal_batch=4, plain_epochs=1, precision="fp32")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_weights_its_recipe_and_its_curves(listing: Path, recipe: Recipe, tmp_path: Path) -> None:
    seen: list[Any] = []
    original = SiteTrainer._setup_train

    def watch(trainer: SiteTrainer) -> None:
        original(trainer)
        seen.append((trainer.model.criterion, trainer.ema.ema.criterion))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SiteTrainer, "_setup_train", watch)
        best = train(listing, tmp_path / "run", recipe)
    for loss in seen[0]:
        parts = [loss] if isinstance(loss, MaskedLoss) else [loss.one2many, loss.one2one]
        assert all(isinstance(part, MaskedLoss) for part in parts)
    assert tuple(YOLO(str(best)).names.values()) == CLASSES
    assert [row["epoch"] for row in rows(tmp_path / "run" / "results.csv")] == ["1", "2", "3"]
    by_class = rows(tmp_path / "run" / "classes.csv")
    assert [row["epoch"] for row in by_class] == ["1", "2", "3", "best"]
    assert all(row["helmet"] and not row["barrier"] for row in by_class)
    assert Recipe(**json.loads((tmp_path / "run" / "recipe.json").read_text(encoding="utf-8"))) == recipe
    assert not list((tmp_path / "run" / "weights").glob("*.part"))
    with pytest.raises(TrainingError, match="finished run"):
        train(listing, tmp_path / "run", recipe)


def command(listing: Path, recipe: Recipe, out: Path) -> list[str]:
    options = {
        "image-size": 64,
        "epochs": 3,
        "batch": 4,
        "nominal-batch": 4,
        "plain-epochs": 1,
        "precision": "fp32",
    }
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [str(BANKSMAN), "model", "train", str(listing), recipe.weights, str(out), *words]


def test_a_run_that_was_killed_goes_on(listing: Path, recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    last = out / "weights" / "last.pt"
    with subprocess.Popen(
        command(listing, recipe, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=REPO
    ) as run:
        until = time.monotonic() + DEADLINE_S
        while not last.is_file() and run.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    done = torch.load(last, map_location="cpu", weights_only=False)["epoch"] + 1
    assert done in {1, 2}, "the kill came too late to try anything"
    with (out / "results.csv").open("a", encoding="utf-8") as file:
        file.write("9,as if the kill had come between the table and the checkpoint\n")
    train(listing, out, recipe)
    assert [row["epoch"] for row in rows(out / "results.csv")] == ["1", "2", "3"]
    assert [row["epoch"] for row in rows(out / "classes.csv")] == ["1", "2", "3", "best"]


def test_an_epoch_is_in_both_tables_before_its_checkpoint(
    listing: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, told = tmp_path / "run", []
    save = DetectionTrainer.save_model

    def saving(self: DetectionTrainer) -> Any:
        told.append([[row["epoch"] for row in rows(out / name)] for name in ("results.csv", "classes.csv")])
        return save(self)

    monkeypatch.setattr(DetectionTrainer, "save_model", saving)
    train(listing, out, replace(recipe, epochs=2))
    assert told == [[["1"], ["1"]], [["1", "2"], ["1", "2"]]]


def test_another_recipe_does_not_go_on_with_a_run(listing: Path, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    torch.save({"epoch": 1}, tmp_path / "weights" / "last.pt")
    told = {field: getattr(recipe, field) for field in recipe.__slots__}
    (tmp_path / "recipe.json").write_text(json.dumps({**told, "rate": 0.5}), encoding="utf-8")
    with pytest.raises(TrainingError, match=r"another recipe: rate \(then 0.5, now 0.0006\)"):
        train(listing, tmp_path, recipe)


def test_a_checkpoint_is_whole_or_the_one_before(recipe: Recipe, tmp_path: Path) -> None:
    trainer = object.__new__(SiteTrainer)
    trainer.wdir = tmp_path
    (tmp_path / "last.pt").write_bytes(b"before")

    def stopped_in_the_middle(self: Any) -> bool:
        self.last.write_bytes(b"hal")
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.train.DetectionTrainer.save_model", stopped_in_the_middle)
        with pytest.raises(KeyboardInterrupt):
            trainer.save_model()
    assert (tmp_path / "last.pt").read_bytes() == b"before"
    assert trainer.last == tmp_path / "last.pt"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weights": "nowhere.pt"}, "nowhere.pt: no such file"),
        ({"image_size": 100}, "multiple of 32"),
        ({"image_size": 2048}, "multiple of 32"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    listing: Path, recipe: Recipe, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(TrainingError, match=told):
        train(listing, tmp_path, replace(recipe, **change))


def test_photos_for_tuning_are_needed(recipe: Recipe, tmp_path: Path) -> None:
    write_set([photo(picture(tmp_path / "from" / "a.png"))], tmp_path / "set")
    with pytest.raises(TrainingError, match="no photo is in the val split"):
        train(tmp_path / "set", tmp_path / "run", recipe)


def test_precision_is_what_the_processor_has(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    for able, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(module, "bf16_on_cpu", lambda able=able: able)
        assert module._precision(replace(recipe, precision="auto")) == wanted
    assert module._precision(replace(recipe, precision="bf16")) == "bf16"


# The draw


def test_an_epoch_draws_no_photo_twice_and_every_epoch_others() -> None:
    draw = Draw([1.0] * 100, 30, seed=1)
    first, second = list(draw), list(draw)
    assert len(set(first)) == len(first) == len(draw) == 30
    assert first != second
    again = Draw([1.0] * 100, 30, seed=1)
    again.epoch = 1
    assert list(again) == second
    assert list(Draw([1.0] * 100, 30, seed=2)) != first


def test_more_than_there_are_is_everything_and_again() -> None:
    drawn = Counter(Draw([1.0, 2.0, 1.0], 7, seed=1))
    assert sorted(drawn) == [0, 1, 2]
    assert set(drawn.values()) <= {2, 3}


def test_heavier_photos_come_sooner() -> None:
    draw = Draw([4.0] * 10 + [1.0] * 90, 20, seed=1)
    shares = [np.mean([index < 10 for index in draw]) for _ in range(200)]
    assert 0.23 < float(np.mean(shares)) < 0.35  # 0.1 without weights, 0.31 with the first draw's
