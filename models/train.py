"""Train a detector on a labelled set (`models.data`) with ultralytics.

    banksman model train var/labelled weights.pt var/runs/a --epochs 40 --hours 1.3

The output folder has `recipe.json` (everything that was chosen), `results.csv` (losses and means, a row an epoch),
`classes.csv` (mAP50 of each class), `weights/last.pt` and `weights/best.pt`. The same command goes on where a stopped
run was: `last.pt` is replaced in one step at the end of each epoch, so that a stop costs one epoch at most.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from torch.utils.data import Sampler
from ultralytics.data.build import InfiniteDataLoader, seed_worker
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.utils.loss import E2ELoss
from ultralytics.utils.torch_utils import init_seeds

from models.data.labels import CLASSES, Photo
from models.data.labelset import in_split, read_set
from models.data.masking import MaskedDataset, MaskedLoss, MaskedValidator, Palette, repeat_factors
from models.errors import CommandError

RECIPE = "recipe.json"
CLASS_TABLE = "classes.csv"
SOURCE_SIZE = 640
"""Longer side of the photos that windows are cut out of, pixels; the photos of `data/` have no more."""
_THREADS = torch.get_num_threads()  # as torch found it: one for each core that this program may use

Precision = Literal["auto", "fp32", "bf16"]
Unlabelled = Literal["mask", "background"]


class TrainingError(CommandError):
    """Training cannot start or go on; the text says why and what would be right."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what comes out of a training run, apart from the photos.

    image_size: longer side of the input, pixels.
    epochs: how many; with `hours` only the first guess, as the schedule is fitted to the time after each epoch.
    photos: drawn for an epoch without repetition; all when None. batch: of them at once.
    nominal_batch: photos that an optimizer step is made of, several batches if need be.
    rate: of learning, at its highest, after `warm_up` epochs; from there a cosine down to `last_rate` of it.
    freeze: this many first layers stay as they are.
    unlabelled: what a class is that a photo is not complete for: unknown (`mask`) or background, to compare.
    balance: classes on less than this share of the photos are drawn more often (`repeat_factors`).
    street, vests: photos that are labelled for barriers, for vests, are drawn so many times as often.
    rare_background: weight of background for classes that hardly any unlabelled photo shows (`RARE`), 0 to 1.
    hard, distant: shares of the photos that are made hard, far.
    near: share of the photos that are shown as a window of the photo at `SOURCE_SIZE` pixels, so that small things are
        as large as a network with that input sees them.
    mosaic: share of the samples that become a mosaic; none in the last `plain_epochs`.
    precision: of the forward pass. `auto` is bf16 where the processor itself computes with it; elsewhere that is seven
        times as slow as fp32.
    """

    weights: str
    image_size: int = 416
    epochs: int = 30
    hours: float | None = None
    photos: int | None = None
    batch: int = 16
    nominal_batch: int = 32
    optimizer: str = "AdamW"
    rate: float = 0.0006
    last_rate: float = 0.02
    warm_up: float = 1.0
    freeze: int = 0
    unlabelled: Unlabelled = "mask"
    balance: float = 0.2
    street: float = 1.0
    vests: float = 1.0
    rare_background: float = 0.0
    hard: float = 0.3
    distant: float = 0.1
    near: float = 0.0
    mosaic: float = 0.6
    plain_epochs: int = 3
    precision: Precision = "auto"
    device: str = "cpu"
    seed: int = 20


class Draw(Sampler[int]):  # type: ignore[misc]
    """Indexes of one epoch: drawn by weight without repetition; the same for the same seed and epoch."""

    def __init__(self, weights: Sequence[float], count: int, seed: int) -> None:
        self._share = np.asarray(weights, np.float64) / np.sum(weights)
        self._count = count
        self._seed = seed
        self.epoch = 0
        """Of the next pass; it counts up by itself."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        dice = np.random.default_rng([self._seed, self.epoch])
        self.epoch += 1
        rounds = math.ceil(self._count / len(self._share))
        drawn = [dice.choice(len(self._share), len(self._share), replace=False, p=self._share) for _ in range(rounds)]
        yield from np.concatenate(drawn)[: self._count].tolist()


def bf16_on_cpu() -> bool:
    """Whether this processor computes with bf16 itself (AVX-512 BF16 or AMX)."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class SiteTrainer(DetectionTrainer):  # type: ignore[misc]  # ultralytics is not followed by mypy
    """ultralytics' trainer with masked loss, weighted draw, bf16 on a CPU, and checkpoints written in one step."""

    def __init__(self, photos: Sequence[Photo], recipe: Recipe, **kwargs: Any) -> None:
        self._recipe = recipe
        self._palette = Palette()
        self._by_path = {str(photo.path): photo for photo in photos}
        train = in_split(photos, "train")
        factors = repeat_factors(train, recipe.balance, recipe.street, recipe.vests)
        self._weights = dict(zip((str(photo.path) for photo in train), factors, strict=True))
        super().__init__(**kwargs)

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> MaskedDataset:
        training = mode == "train"
        return MaskedDataset(
            img_path=img_path,
            imgsz=self.args.imgsz,
            batch_size=batch,
            augment=training,
            hyp=self.args,
            rect=not training,
            cache=self.args.cache,
            stride=32,
            pad=0.0 if training else 0.5,
            prefix=f"{mode}: ",
            data=self.data,
            photos=self._by_path,
            palette=self._palette,
            weights=self._weights,
            masked=self._recipe.unlabelled == "mask",
            hard=self._recipe.hard if training else 0.0,
            distant=self._recipe.distant if training else 0.0,
            near=self._recipe.near if training else 0.0,
            source_size=SOURCE_SIZE if training and self._recipe.near else None,
        )

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        if mode != "train":
            return super().get_dataloader(dataset_path, batch_size, rank, mode)
        dataset = self.build_dataset(dataset_path, mode, batch_size)
        wanted = self._recipe.photos or len(dataset)
        return InfiniteDataLoader(
            dataset=dataset,
            batch_size=batch_size,
            sampler=Draw(dataset.weights, max(wanted // batch_size, 1) * batch_size, self._recipe.seed),
            num_workers=self.args.workers,  # none on a CPU: its cores are all busy with the network
            collate_fn=dataset.collate_fn,
            worker_init_fn=seed_worker,
            generator=torch.Generator().manual_seed(self._recipe.seed),
        )

    def get_validator(self) -> MaskedValidator:
        validator = MaskedValidator(
            self.test_loader, save_dir=self.save_dir, args=copy(self.args), _callbacks=self.callbacks
        )
        validator.labelled = self._by_path
        return validator

    def _setup_train(self) -> None:
        super()._setup_train()
        table = self._palette.table()
        for model in (self.model, self.ema.ema):  # validation takes its loss from the averaged weights
            model.criterion = self._criterion(model, table)
        self.train_loader.sampler.epoch = self.start_epoch
        if self.start_epoch:
            for path in (self.csv, self.save_dir / CLASS_TABLE):
                _forget_after(path, self.start_epoch)
        init_seeds(self._recipe.seed + self.start_epoch)
        if self._recipe.precision == "bf16" and self.device.type == "cpu":
            self.amp = True  # autocast of a CPU is bf16; ultralytics itself turns mixed precision on only for GPUs
        if self.device.type == "cpu":
            torch.set_num_threads(_THREADS)  # ultralytics leaves one core idle: of two, that is half of the speed

    def _criterion(self, model: torch.nn.Module, table: torch.Tensor) -> Any:
        if getattr(model.model[-1], "one2one_cv2", None) is None:
            return MaskedLoss(model, table=table, rare=self._recipe.rare_background)
        both = E2ELoss(model, partial(MaskedLoss, table=table, rare=self._recipe.rare_background))
        if self.start_epoch:
            both.updates = self.start_epoch - 1
            both.update()
        return both

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        super().save_metrics(metrics)
        _write_classes(self)  # before the checkpoint, like the other table: a kill behind that must not cost a row

    def save_model(self) -> bool:
        last, best = self.wdir / "last.pt", self.wdir / "best.pt"
        self.last, self.best = last.with_suffix(".part"), best.with_suffix(".best.part")
        try:
            done = bool(super().save_model())
            for part, path in ((self.last, last), (self.best, best)):
                if part.exists():
                    part.replace(path)
        finally:
            self.last, self.best = last, best
        return done


def train(data: Path, out: Path, recipe: Recipe, *, fresh: bool = False) -> Path:
    """Train, or go on with what was stopped, and return the best weights on the `val` split.

    data: a labelled set as `models.data.write_set` leaves it. out: folder of the run.
    fresh: begin anew even if `out` holds a run. Raises `TrainingError` and `DataError`.
    """
    os.environ.setdefault("YOLO_OFFLINE", "true")
    recipe = replace(recipe, precision=_precision(recipe))
    if not Path(recipe.weights).is_file():
        raise TrainingError(f"{recipe.weights}: no such file; give starting weights, a .pt of ultralytics")
    if recipe.image_size % 32 or not 64 <= recipe.image_size <= 1280:
        raise TrainingError(f"image size {recipe.image_size}: must be a multiple of 32 from 64 to 1280")
    photos = read_set(data.resolve())
    for split in ("train", "val"):
        if not in_split(photos, split):
            raise TrainingError(f"{data}: no photo is in the {split} split")
    going_on = not fresh and _begun(out, recipe)
    last = out.resolve() / "weights" / "last.pt"
    out.mkdir(parents=True, exist_ok=True)
    if not going_on:
        for stale in (last, out / CLASS_TABLE):
            stale.unlink(missing_ok=True)
    (out / RECIPE).write_text(json.dumps(asdict(recipe), indent=2) + "\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "model": str(last if going_on else Path(recipe.weights).resolve()),
        "resume": str(last) if going_on else False,
        "data": str(data.resolve() / "data.yaml"),
        "project": str(out.resolve().parent),
        "name": out.resolve().name,
        "exist_ok": True,
        "imgsz": recipe.image_size,
        "epochs": recipe.epochs,
        "time": recipe.hours,
        "batch": recipe.batch,
        "nbs": recipe.nominal_batch,
        "optimizer": recipe.optimizer,
        "lr0": recipe.rate,
        "lrf": recipe.last_rate,
        "cos_lr": True,
        "momentum": 0.9,
        "warmup_epochs": recipe.warm_up,
        "warmup_bias_lr": 0.0,
        "freeze": recipe.freeze or None,
        "mosaic": recipe.mosaic,
        "close_mosaic": recipe.plain_epochs,
        "amp": False if recipe.device == "cpu" else recipe.precision == "bf16" and "bf16",
        "device": recipe.device,
        "workers": 0 if recipe.device == "cpu" else 4,
        "cache": "ram",
        "patience": 0,  # a run has a budget and a schedule made for it: stopping early leaves the rate high
        "seed": recipe.seed,
        "deterministic": True,
        "plots": False,  # ultralytics' plots know no ignore boxes; `models.data review` and the report show more
        "scale": 0.5,
        "translate": 0.1,
        "fliplr": 0.5,
        "hsv_h": 0.01,  # hue tells a vest from a shirt and a red hat from a red lamp
        "hsv_s": 0.5,
        "hsv_v": 0.4,
    }
    trainer = SiteTrainer(photos, recipe, overrides=settings)
    trainer.add_callback("on_fit_epoch_end", _write_best)
    trainer.train()
    best: Path = trainer.best
    return best


def _precision(recipe: Recipe) -> Precision:
    if recipe.precision != "auto":
        return recipe.precision
    if recipe.device == "cpu":
        return "bf16" if bf16_on_cpu() else "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"


def _begun(out: Path, recipe: Recipe) -> bool:
    """Whether a run of the same recipe waits there to be gone on with."""
    last = out / "weights" / "last.pt"
    if not last.is_file():
        return False
    if torch.load(last, map_location="cpu", weights_only=False)["epoch"] < 0:  # ultralytics marks a finished run so
        raise TrainingError(f"{out}: holds a finished run; choose another folder, or begin anew (--fresh)")
    before = json.loads((out / RECIPE).read_text(encoding="utf-8"))
    differing = [
        f"{key} (then {before.get(key)!r}, now {value!r})"
        for key, value in asdict(recipe).items()
        if key not in {"hours", "device", "precision"} and before.get(key) != value
    ]
    if differing:
        raise TrainingError(f"{out}: holds a run of another recipe: {', '.join(differing)}; choose another folder")
    return True


def _forget_after(path: Path, epoch: int) -> None:
    """Drop rows of epochs that are done again, because the run was stopped before their checkpoint was on disk."""
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines(
            keepends=True
        )  # the first is the head; none if killed there
        path.write_text("".join(lines[: epoch + 1]), encoding="utf-8")


def _write_classes(trainer: SiteTrainer) -> None:
    """A row of the class table: mAP50 of each class after this epoch, empty for a class that `val` has no object of.

    The last row, `best`, is of the best weights, after the training.
    """
    path = trainer.save_dir / CLASS_TABLE
    box = trainer.validator.metrics.box
    found = dict(zip(box.ap_class_index, box.ap50, strict=True))
    new = not path.exists() or not path.stat().st_size
    with path.open("a", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        if new:
            table.writerow(("epoch", *CLASSES))
        row = (f"{found[number]:.4f}" if number in found else "" for number in range(len(CLASSES)))
        table.writerow((trainer.epoch + 1 if trainer.validator.training else "best", *row))


def _write_best(trainer: SiteTrainer) -> None:
    if not trainer.validator.training:  # else it was written before the checkpoint
        _write_classes(trainer)


def main(
    data: Annotated[Path, typer.Argument(help="Labelled set, as `banksman model data build` makes it.")],
    weights: Annotated[Path, typer.Argument(help="Starting weights, a .pt.")],
    out: Annotated[Path, typer.Argument(help="Folder of the run; a stopped run there goes on.")],
    *,
    image_size: Annotated[int, typer.Option(help="Longer side of the input in pixels.")] = 416,
    epochs: Annotated[int, typer.Option(help="Epochs; with --hours only the first guess.")] = 30,
    hours: Annotated[float | None, typer.Option(help="Time budget; the schedule is fitted to it.")] = None,
    photos: Annotated[int | None, typer.Option(help="Photos drawn for an epoch; all unless given.")] = None,
    batch: Annotated[int, typer.Option(help="Photos a batch.")] = 16,
    nominal_batch: Annotated[int, typer.Option(help="Photos an optimizer step.")] = 32,
    optimizer: Annotated[str, typer.Option(help="AdamW, SGD or MuSGD.")] = "AdamW",
    rate: Annotated[float, typer.Option(help="Learning rate at its highest.")] = 0.0006,
    warm_up: Annotated[float, typer.Option(help="Epochs of warm-up.")] = 1.0,
    freeze: Annotated[int, typer.Option(help="First layers that stay as they are.")] = 0,
    unlabelled: Annotated[Unlabelled, typer.Option(help="mask or background: what an unlabelled class is.")] = "mask",
    balance: Annotated[float, typer.Option(help="Classes on fewer photos than this share come more often.")] = 0.2,
    street: Annotated[float, typer.Option(help="How often photos labelled for barriers come, in times.")] = 1.0,
    vests: Annotated[float, typer.Option(help="How often photos labelled for vests come, in times.")] = 1.0,
    rare_background: Annotated[float, typer.Option(help="Weight of rare classes as background, unlabelled.")] = 0.0,
    hard: Annotated[float, typer.Option(help="Share of photos made hard (night, rain, ...).")] = 0.3,
    distant: Annotated[float, typer.Option(help="Share of photos made small.")] = 0.1,
    near: Annotated[float, typer.Option(help="Share of photos shown as a window at 640 px.")] = 0.0,
    mosaic: Annotated[float, typer.Option(help="Share of samples that become a mosaic.")] = 0.6,
    plain_epochs: Annotated[int, typer.Option(help="Last epochs without mosaics.")] = 3,
    precision: Annotated[Precision, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, or the number of a GPU.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 20,
    fresh: Annotated[bool, typer.Option(help="Begin anew even if the folder holds a run.")] = False,
) -> None:
    """Train a detector on a labelled set; the same command goes on where it was stopped."""
    recipe = Recipe(
        weights=str(weights),
        image_size=image_size,
        epochs=epochs,
        hours=hours,
        photos=photos,
        batch=batch,
        nominal_batch=nominal_batch,
        optimizer=optimizer,
        rate=rate,
        warm_up=warm_up,
        freeze=freeze,
        unlabelled=unlabelled,
        balance=balance,
        street=street,
        vests=vests,
        rare_background=rare_background,
        hard=hard,
        distant=distant,
        near=near,
        mosaic=mosaic,
        plain_epochs=plain_epochs,
        precision=precision,
        device=device,
        seed=seed,
    )
    best = train(data, out, recipe, fresh=fresh)
    typer.echo(f"best weights: {best}")
