"""The model card, out of what was measured: no number in it is typed by hand.

    banksman model card models/weights/site-v1 models/results/site-v1 models/CARD.md

The folder of results has `eval.json` of `models.eval`; if they were compared, `runtimes.json` of
`models.eval.runtimes`; `closer.json` of `models.closer` where the model looks closer; and
`recipe.md`, which `--run` writes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from types import MappingProxyType
from typing import Annotated, Any

import typer

from models.data.labels import CLASSES, DataError
from models.eval.network import read_manifest
from models.eval.page import text

TEMPLATE = Path(__file__).with_name("card.template.md")
RECIPE = "recipe.md"
_MAP50 = "metrics/mAP50(B)"  # as ultralytics heads the column


def card(
    manifest: Mapping[str, Any],
    told: Mapping[str, Any],
    runtimes: Mapping[str, Any] | None,
    looks: Mapping[str, Any],
    recipe: str | None,
    *,
    beside: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> str:
    """Markdown. told: of `models.eval`; runtimes: of `models.eval.runtimes`; looks: of `models.closer`, by part;
    recipe: see `recipe_of`; beside: by name what `models.eval` says of other models on the same photos.

    Raises `DataError` where the numbers are of another model, of other weights or of other photos.
    """
    if told["model"] != manifest["name"]:
        raise DataError(f"the numbers are of {told['model']!r}, the model is {manifest['name']!r}; evaluate it first")
    _same_weights(manifest, told, runtimes)
    photos = told["photos"]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=manifest["name"],
        version=manifest["version"],
        source=manifest["source"].rstrip("."),
        licence=manifest["licence"],
        caveat=manifest["metrics"].get("caveat") or "none is recorded.",
        width=manifest["input"]["width"],
        height=manifest["input"]["height"],
        classes=", ".join(manifest["classes"]),
        unknown=", ".join(photos["unknown_classes"]) or "none of ours",
        overlooked=_overlooked(manifest.get("overlooked")),
        beside=_beside(told, beside),
        image_size=told["image_size"],
        photos=photos["photos"],
        dark=photos["light"]["threshold"],
        dark_photos=photos["light"]["dark"]["photos"],
        data=markdown(("source", "licence"), ((one["name"], one["licence"]) for one in manifest["data"])),
        recipe=recipe or f"As far as it is recorded: {manifest['source']}.",
        about=told["about"],
        runtime=told["runtime"],
        operating=photos["operating"],
        classes_table=_classes(photos),
        sources_table=_by(("source", "photos"), ((s, o["photos"], o["classes"]) for s, o in photos["sources"].items())),
        sizes_table=_by(("height",), ((_height(band), band["classes"]) for band in photos["sizes"])),
        recall_table=_by(("height",), ((_height(band), band["classes"]) for band in photos["sizes"]), "recall"),
        light_table=_by(
            ("light", "photos"),
            ((key, photos["light"][key]["photos"], photos["light"][key]["classes"]) for key in ("bright", "dark")),
        ),
        heads_table=_heads(photos["heads"]),
        closer=_closer(manifest.get("closer", ()), looks),
        ece=text(photos["calibration"]["ece"]),
        faint=photos["calibration"]["from"],
        ece_classes=", ".join(f"{name} {text(error)}" for name, error in photos["calibration"]["classes"].items()),
        events=_events(told.get("events")),
        unknown_shares=_unknown(told.get("events")),
        runtimes=_runtimes(runtimes),
    )


def card_of(model: Path, results: Path) -> str:
    """The card out of a folder of results; beside it stand the other models that were played, where their results lie
    next to these. Raises `DataError`."""
    told = _read(results / "eval.json")
    runtimes, looks, recipe = (results / name for name in ("runtimes.json", "closer.json", RECIPE))
    others = [name for name in told.get("events") or {} if name != told["model"]]
    beside = {name: results.parent / name / "eval.json" for name in others}
    return card(
        read_manifest(model),
        told,
        _read(runtimes) if runtimes.is_file() else None,
        _read(looks) if looks.is_file() else {},
        recipe.read_text(encoding="utf-8").strip() if recipe.is_file() else None,
        beside={name: _read(path) for name, path in beside.items() if path.is_file()},
    )


def _same_weights(manifest: Mapping[str, Any], told: Mapping[str, Any], runtimes: Mapping[str, Any] | None) -> None:
    if told.get("version") != manifest["version"]:
        raise DataError(
            f"the numbers are of version {told.get('version')}, not {manifest['version']}; evaluate it first"
        )
    for runtime, one in [(told["runtime"], told), *(runtimes or {"runtimes": {}})["runtimes"].items()]:
        if runtime in manifest["files"] and one.get("weights") != manifest["files"][runtime]:
            raise DataError(f"the numbers of {runtime} are of other weights than the manifest names; measure these")


def recipe_of(run: Path) -> str:
    """What was chosen and the curve of a training run, as `models.train` leaves them. Raises `DataError`."""
    try:
        chosen = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
        with (run / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = [{key.strip(): value for key, value in row.items()} for row in csv.DictReader(file)]
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); a training run has it") from error
    chosen["weights"] = Path(chosen["weights"]).name
    curve = ", ".join(f"{row['epoch'].strip()}: {float(row[_MAP50]):.3f}" for row in rows)
    settings = markdown(("setting", "value"), ((f"`{key}`", f"`{value}`") for key, value in chosen.items()))
    return f"{settings}\n\nmAP50 on the `val` split after each epoch: {curve}."


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(text(cell) for cell in line)} |" for line in lines)


def _classes(photos: Mapping[str, Any]) -> str:
    keys = ("labelled", "photos_with", "groups_with", "ap50", "ap50_interval", "ap50_95", "precision", "recall")
    rows: list[list[object]] = [[name, *(one[key] for key in keys)] for name, one in photos["classes"].items()]
    for mean in photos["means"].values():
        title = f"**mean of {', '.join(mean['classes'])}**"
        rows.append([title, None, None, None, mean["ap50"], mean["ap50_interval"], mean["ap50_95"], None, None])
    return markdown(("class", "boxes", "on photos", "groups", "mAP50", "95 %", "mAP50-95", "precision", "recall"), rows)


def _beside(told: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str:
    """mAP50 by class, a column a model."""
    columns = {**others, told["model"]: told}
    if any(
        (one["split"], one["photos"]["photos"]) != (told["split"], told["photos"]["photos"]) for one in others.values()
    ):
        raise DataError("the models that stand beside it were measured on other photos; evaluate them anew")
    if not others:
        return "No other model was measured on these photos."
    rows: list[list[object]] = [
        [name, *(one["photos"]["classes"].get(name, {}).get("ap50") for one in columns.values())]
        for name in told["photos"]["classes"]
    ]
    means = [f"**mean of {', '.join(told['photos']['means']['ppe']['classes'])}**"]
    means += [text(one["photos"]["means"].get("ppe", {}).get("ap50")) for one in columns.values()]
    return markdown(("class", *columns), [*rows, means])


def _by(head: Sequence[str], rows: Iterable[Sequence[Any]], key: str = "ap50") -> str:
    """A column a class. rows: as many cells as the head has, then by class what was measured."""
    every = list(rows)
    names = [name for name in CLASSES if any(name in row[-1] for row in every)]
    cells = [
        [*row[:-1], *((one := row[-1].get(name)) and f"{one[key]:.3f} ({one['labelled']})" for name in names)]
        for row in every
    ]
    return markdown((*head, *names), cells)


def _height(band: Mapping[str, Any]) -> str:
    return f"{band['from']} to {band['to']}" if band["to"] else f"from {band['from']}"


def _heads(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "It does not know both classes."
    columns = ("helmet", "no_helmet", "nothing")
    rows = [[row, *(cells.get(column) for column in columns)] for row, cells in found.items()]
    return markdown(("labelled", *(f"seen as {column}" for column in columns)), rows)


def _overlooked(classes: Sequence[str] | None) -> str:
    return "not measured" if classes is None else ", ".join(classes) or "none"


def _closer(networks: Sequence[Mapping[str, Any]], looks: Mapping[str, Any]) -> str:
    """Raises `DataError` where a network has no numbers, or those of another."""
    for one in networks:
        told = looks.get(one["on"])
        if told is None or told["network"] not in one["files"]["onnx"].values() or told["least"] != one["least"]:
            raise DataError(
                f"closer.json has no numbers of this network for {one['on']}; `banksman model closer` measures"
            )
    if not networks:
        return "None: blame is on the detector's word."
    rows = [
        [name, split, looks[one["on"]]["least"], found["labelled"], found["called_on"], found["called_off"],
         found["labelled"] - found["called_on"] - found["called_off"]]
        for one in networks
        for split in ("val", "test")
        for name, found in (
            (one[state] or f"no {one['on']}", looks[one["on"]][split][state]) for state in ("on", "off")
        )
    ]  # fmt: skip
    trained = "; ".join(
        f"Trained for {part}: {told['epochs']} epochs over cut-outs of training photos, "
        + ", ".join(f"{count} {answer}" for answer, count in told["trained_on"].items())
        for part, told in ((one["on"], looks[one["on"]]) for one in networks)
    )
    return (
        markdown(("labelled", "split", "from", "boxes", "called on", "called off", "nothing said"), rows)
        + "\n\n"
        + trained
    )


def _events(events: Mapping[str, Any] | None) -> str:
    if not events:
        return "Not measured."
    keys = ("breaches", "found", "recall", "recall_interval", "false", "precision", "false_per_hour_below", "hours")
    rows = [
        [model, f"{kind}: {rule}", *(sums[key] for key in keys)]
        for model, one in events.items()
        for kind, found in one["kinds"].items()
        for rule, sums in (*found["rules"].items(), ("all", found["all"]))
    ]
    head = (
        "model",
        "scenes",
        "breaches",
        "told",
        "recall",
        "95 %",
        "false",
        "precision",
        "false an hour below",
        "hours",
    )
    return markdown(head, rows)


def _unknown(events: Mapping[str, Any] | None) -> str:
    return "; ".join(
        f"{model}: " + ", ".join(f"{rule} {text(share)}" for rule, share in one["unknown_share"].items())
        for model, one in (events or {}).items()
    )


def _runtimes(told: Mapping[str, Any] | None) -> str:
    if not told:
        return "Not compared."
    rows = [
        [title, one["map50"]["mean"], one["points"], one.get("ms"), one.get("times_as_fast"), one.get("mb")]
        for title, one in told["runtimes"].items()
    ]
    head = ("runtime", "mean mAP50", f"points against {told['against']}", "ms", "times as fast as onnx", "MB")
    note = (
        f"On {told['photos']} photos. Speed of the bare network, {told['threads']} thread(s), on {told['processor']}; "
        "medians of interleaved rounds. Of single classes int8 may lose more than of the mean: "
    )
    lost = told["runtimes"].get("onnx int8")
    base = told["runtimes"]["onnx"]["map50"]
    each = (
        [f"{name} {100 * (lost['map50'][name] - base[name]):+.1f}" for name in base if name != "mean"] if lost else []
    )
    return markdown(head, rows) + "\n\n" + note + (", ".join(each) + " points." if each else "not measured.")


def main(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    results: Annotated[Path, typer.Argument(help="Folder with eval.json; runtimes.json, closer.json, recipe.md.")],
    out: Annotated[Path, typer.Argument(help="The card.")],
    *,
    run: Annotated[
        list[Path] | None, typer.Option(help="Folder of a training run, the first one first; kept as recipe.md.")
    ] = None,
) -> None:
    """Write the model card."""
    if run:
        (results / RECIPE).write_text("\n\n".join(map(recipe_of, run)) + "\n", encoding="utf-8")
    out.write_text(card_of(model, results), encoding="utf-8")
    typer.echo(f"wrote {out}")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); `banksman model eval` writes it") from error
    except ValueError as error:
        raise DataError(f"{path}: no JSON ({error})") from error
