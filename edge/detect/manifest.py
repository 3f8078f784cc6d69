"""`manifest.json`: what a model folder says about its weights, typed and checked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from edge.detect.errors import ModelError

FILE = "manifest.json"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # no way out of the folder
Side = Annotated[int, Field(ge=32, le=2048)]
RuntimeName = Literal["onnx", "ncnn", "openvino", "ultralytics"]
Files = Annotated[dict[RuntimeName, Annotated[dict[FileName, Sha256], Field(min_length=1)]], Field(min_length=1)]
"""By runtime the files of one network, in the order in which the runtime wants them."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputSize(_Part):
    """Largest picture that the network is given, in pixels."""

    width: Side
    height: Side


class Preprocessing(_Part):
    """How a picture becomes the network's input; as ultralytics' `LetterBox` and predictor do it.

    free_shape: the short side is padded only up to the next multiple of `stride`, not up to the full input
        (ultralytics calls it auto or rect); only for weights whose height and width are free.
    padding: grey value around the picture. scale: pixel values are divided by it.
    """

    resize: Literal["letterbox"]
    free_shape: bool
    stride: Literal[8, 16, 32, 64]
    padding: Annotated[int, Field(ge=0, le=255)]
    colour: Literal["RGB"]
    scale: Literal[255]


class Output(_Part):
    """What the network gives: (1, 4 + classes, anchors) float32.

    Rows 0..3: distances from the anchor's centre to left, top, right and bottom side in strides; then a logit a class.
    Anchors run over the levels in the order of `strides`, each row by row.
    nms_iou: overlap above which the weaker of two boxes of a class is dropped; null where the network needs none.
    """

    layout: Literal["distances-logits"]
    strides: Annotated[tuple[int, ...], Field(min_length=1, max_length=5)]
    nms_iou: Annotated[float, Field(gt=0, le=1)] | None

    @field_validator("strides")
    @classmethod
    def _rising(cls, strides: tuple[int, ...]) -> tuple[int, ...]:
        if list(strides) != sorted(set(strides)) or strides[0] < 1:
            raise ValueError("strides must rise and be positive, for example [8, 16, 32]")
        return strides


class Closer(_Part):
    """A small network that looks at one cut-out: is it what the detector says? (`edge.detect.closer`)

    on, off: the detector's classes that it decides between. Without `off`: whether there is what `on` says, or not.
    side: of its square input, pixels, RGB, 0..1. reach: side of the square that is cut out of a frame around a box, in
    the box's longer side. least: probability below which it decides nothing; chosen on validation photos, by alarms.
    It gives three logits: off, on, neither of them; without `off` two: not there, there.
    """

    on: str
    off: str | None
    side: Side
    reach: Annotated[float, Field(ge=1, le=2.5)]
    least: Annotated[float, Field(ge=0.5, lt=1)]
    files: Files


class DataSource(_Part):
    """Photos that the weights were trained on."""

    name: str
    licence: str


class Metrics(_Part):
    """What was measured, on what, and what is wrong with the number. map50: mean average precision at IoU 0.5."""

    measured_on: str = ""
    map50: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    caveat: str = ""


class Manifest(_Part):
    """A whole manifest. classes: names in the order of the network's logits."""

    format: Literal[1]
    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    version: str
    task: Literal["detect"]
    classes: Annotated[tuple[Annotated[str, StringConstraints(pattern=r"^\S(.*\S)?$")], ...], Field(min_length=1)]
    input: InputSize
    preprocessing: Preprocessing
    output: Output
    files: Files
    source: str
    licence: str
    data: tuple[DataSource, ...] = ()
    metrics: Metrics = Metrics()
    least_confidence: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(default_factory=dict)
    """By class: below it a part of somebody's clothes decides nothing. Chosen on validation photos, by alarms."""
    overlooked: tuple[str, ...] | None = None
    """Classes of which it misses most, by the recall on held-out photos; None: nobody measured that."""
    closer: tuple[Closer, ...] = ()
    """What is looked at once more before somebody is blamed."""

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise ValueError(f"class names must differ; used twice: {', '.join(twice)}")
        return classes

    @model_validator(mode="after")
    def _told_of_its_classes(self) -> Self:
        if unknown := sorted(self.least_confidence.keys() - set(self.classes)):
            raise ValueError(f"least_confidence: no class of this model: {', '.join(unknown)}")
        if unknown := sorted(set(self.overlooked or ()) - set(self.classes)):
            raise ValueError(f"overlooked: no class of this model: {', '.join(unknown)}")
        return self

    @property
    def overlooks(self) -> frozenset[str]:
        """Classes of which it proves nothing that it sees none: all that it knows where that was not measured."""
        return frozenset(self.classes if self.overlooked is None else self.overlooked)

    @model_validator(mode="after")
    def _closer_looks_fit(self) -> Self:
        named = [name for one in self.closer for name in (one.on, one.off) if name is not None]
        if unknown := sorted(set(named) - set(self.classes)):
            raise ValueError(f"closer: no class of this model: {', '.join(unknown)}")
        if len(set(named)) < len(named):
            raise ValueError("closer: each class may be looked at by one network only, and on and off must differ")
        for one in self.closer:
            if missing := sorted(self.files.keys() - one.files.keys() - {"ultralytics"}):
                raise ValueError(f"closer: {one.on}: no files for runtime {', '.join(missing)}, which `files` has")
        return self

    @model_validator(mode="after")
    def _input_fits_stride(self) -> Self:
        stride = self.preprocessing.stride
        if self.input.width % stride or self.input.height % stride:
            raise ValueError(f"input width and height must be multiples of the stride {stride}")
        if stride % self.output.strides[-1]:
            raise ValueError(f"preprocessing.stride {stride} must be a multiple of {self.output.strides[-1]}")
        return self


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder. Raises `ModelError`."""
    path = folder / FILE
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder; a model is a folder with {FILE} and weights")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; `banksman model export` writes it beside the weights") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: {problems}") from error


def verified_files(folder: Path, manifest: Manifest, runtime: RuntimeName) -> tuple[Path, ...]:
    """The weights of one runtime in the manifest's order, present and with the right sha256. Raises `ModelError`."""
    return verified(folder, manifest.files, runtime)


def verified(folder: Path, files: Files, runtime: RuntimeName) -> tuple[Path, ...]:
    """Those of one network; as `verified_files`."""
    listed = files.get(runtime)
    if listed is None:
        raise ModelError(
            f"{folder / FILE}: no weights for runtime {runtime!r}; this model has {', '.join(sorted(files))}"
        )
    paths = tuple(folder / name for name in listed)
    for path, wanted in zip(paths, listed.values(), strict=True):
        try:
            with path.open("rb") as file:
                got = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{path}: named in {FILE}, but cannot be read ({error.strerror})") from error
        if got != wanted:
            raise ModelError(
                f"{path}: wrong checksum, sha256 is {got}, {FILE} says {wanted}; copy the model folder again"
            )
    return paths
