"""The report as one HTML file: tables, curves as inline SVG, pictures as data; it needs nothing from anywhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from models.eval.misses import Miss, shown
from models.eval.scores import BINS

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-bottom:1px solid #ddd}table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #eee}th:first-child,td:first-child{text-align:left}
caption{text-align:left;color:#555;padding-bottom:.3rem}.note{color:#555;max-width:75ch}figure{display:inline-block;
margin:.4rem;vertical-align:top;width:240px}figcaption{font-size:12px;color:#555;overflow-wrap:anywhere}
svg text{font:12px system-ui,sans-serif}
"""

_MISSES = (
    "<p class=note>By class the surest detections that are wrong (red) and the largest objects that were not seen "
    "(yellow), beside the labels of that class (green). Where the red box is right, a label is missing: the numbers "
    "above count it as a mistake all the same.</p>"
)


def page(told: Mapping[str, Any], misses: Sequence[Miss]) -> str:
    """told: what `models.eval` writes as JSON."""
    photos = told["photos"]
    parts = [
        f"<h1>{escape(told['model'])}</h1>",
        f"<p class=note>{escape(told['about'])} Runtime {escape(told['runtime'])}, {told['image_size']} px.</p>",
        "<h2>Classes</h2>",
        _bars(photos["classes"]),
        _classes(photos),
        "<h2>Sources</h2>",
        _brief({source: one["classes"] for source, one in photos["sources"].items()}),
        "<h2>Size of the person</h2>",
        _sizes(photos["sizes"], photos["operating"]),
        "<h2>Light</h2>",
        _light(photos["light"]),
        "<h2>Helmet or bare head</h2>",
        _heads(photos),
        "<h2>Calibration</h2>",
        _calibration(photos["calibration"]),
    ]
    if told.get("events"):
        parts += ["<h2>Alarms of the whole node</h2>", *(_events(told["events"]))]
    parts += ["<h2>Worst misses</h2>", _MISSES, *(_miss(miss) for miss in misses)]
    body = "\n".join(parts)
    title = escape(f"Evaluation of {told['model']}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>\n{body}\n'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """None becomes a dash, a float three digits."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(text(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{cells}</tr>{body}</table>"


def text(cell: object) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, float):
        return f"{cell:.3f}"
    if isinstance(cell, list):
        return " to ".join(text(part) for part in cell)
    return str(cell)


def _classes(photos: Mapping[str, Any]) -> str:
    keys = ("labelled", "photos_with", "groups_with", "ap50", "ap50_interval", "ap50_95", "precision", "recall")
    rows = [[name, *(one[key] for key in keys)] for name, one in photos["classes"].items()]
    rows += [
        [f"mean ({title})", None, None, None, mean["ap50"], mean["ap50_interval"], mean["ap50_95"], None, None]
        for title, mean in photos["means"].items()
    ]
    unknown = ", ".join(photos["unknown_classes"]) or "none"
    return table(
        ("class", "boxes", "on photos", "groups", "mAP50", "95 % interval", "mAP50-95", "precision", "recall"),
        rows,
        f"{photos['photos']} photos in {photos['groups']} groups. Precision and recall at {photos['operating']}. "
        f"Intervals: whole groups drawn again. Classes that the model does not know: {unknown}.",
    )


def _brief(by_title: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [title, name, one["labelled"], one["ap50"], one["ap50_95"], one["recall"]]
        for title, classes in by_title.items()
        for name, one in classes.items()
    ]
    return table(("", "class", "boxes", "mAP50", "mAP50-95", "recall"), rows)


def _sizes(bands: Sequence[Mapping[str, Any]], operating: float) -> str:
    rows = [
        [
            f"{band['from']} to {band['to']} px" if band["to"] else f"from {band['from']} px",
            name,
            one["labelled"],
            one["ap50"],
            one["ap50_95"],
            one["recall"],
        ]
        for band in bands
        for name, one in band["classes"].items()
    ]
    return table(
        ("height of the person", "class", "boxes", "mAP50", "mAP50-95", "recall"),
        rows,
        f"In pixels of photos of 640 pixels at most. Recall at {operating}. Only where people are labelled too, and of "
        "what is worn only what is on somebody.",
    )


def _light(light: Mapping[str, Any]) -> str:
    titles = {key: f"{key} ({light[key]['photos']} photos)" for key in ("bright", "dark")}
    note = f"<p class=note>Dark: mean luma below {light['threshold']}; the sources do not tell the time of day.</p>"
    return note + _brief({titles[key]: light[key]["classes"] for key in titles})


def _heads(photos: Mapping[str, Any]) -> str:
    found = photos["heads"]
    if found is None:
        return "<p class=note>The model does not know both classes.</p>"
    rows = [[row, *(cells.get(key) for key in ("helmet", "no_helmet", "nothing"))] for row, cells in found.items()]
    return table(
        ("labelled", "seen as helmet", "seen as bare head", "not seen"),
        rows,
        f"The surest detection above {photos['operating']} on each labelled head; elsewhere: on no labelled head.",
    )


def _calibration(found: Mapping[str, Any]) -> str:
    rows = list(found["classes"].items())
    return _curve(found["bins"]) + table(
        ("class", "expected calibration error"),
        [*rows, ["all together", found["ece"]]],
        f"Detections above {found['from']}.",
    )


def _events(events: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    keys = ("breaches", "found", "recall", "recall_interval", "false", "precision", "false_per_hour_below", "hours")
    for model, one in events.items():
        rows = []
        for kind, found in one["kinds"].items():
            for rule, sums in (*found["rules"].items(), ("all", found["all"])):
                rows.append([f"{kind}: {rule}", *(sums[key] for key in keys)])
        shares = ", ".join(f"{rule} {text(share)}" for rule, share in one["unknown_share"].items())
        yield table(
            ("scenes", "breaches", "told", "recall", "95 % interval", "false", "precision", "false an hour <", "hours"),
            rows,
            f"{model}. Share of the seconds that could not be judged: {shares}.",
        )


def _miss(miss: Miss) -> str:
    data = base64.b64encode(shown(miss)).decode()
    told = f"{miss.kind} {miss.name}" + (f" {miss.confidence:.2f}" if miss.kind == "wrong" else "")
    return (
        f'<figure><img alt="{escape(told)}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{escape(told)}<br>{escape(miss.looked.photo.name)}</figcaption></figure>"
    )


def _bars(classes: Mapping[str, Any]) -> str:
    row, left, width = 24, 120, 500
    drawn = []
    for n, (name, one) in enumerate(classes.items()):
        y = n * row + 4
        drawn.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>')
        drawn.append(f'<rect x="{left}" y="{y}" width="{one["ap50"] * width:.1f}" height="16" fill="#4a7ebb"/>')
        low, high = one["ap50_interval"] or (one["ap50"], one["ap50"])
        drawn.append(
            f'<line x1="{left + low * width:.1f}" x2="{left + high * width:.1f}" y1="{y + 8}" y2="{y + 8}" '
            'stroke="#111" stroke-width="2"/>'
        )
        drawn.append(f'<text x="{left + width + 8}" y="{y + 12}">{one["ap50"]:.3f}</text>')
    height = len(classes) * row + 8
    return f'<svg width="{left + width + 60}" height="{height}" role="img" aria-label="mAP50">{"".join(drawn)}</svg>'


def _curve(bins: Sequence[Mapping[str, Any]]) -> str:
    side, edge = 300, 40
    points = [(one["confidence"], one["right"], one["count"]) for one in bins]
    at = [(edge + x * side, edge / 2 + (1 - y) * side) for x, y, _ in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    marks = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#4a7ebb"><title>{count} detections</title></circle>'
        for (x, y), (*_, count) in zip(at, points, strict=True)
    )
    ticks = "".join(
        f'<text x="{edge + t / BINS * side}" y="{side + edge}" text-anchor="middle">{t / BINS:.1f}</text>'
        f'<text x="{edge - 6}" y="{edge / 2 + (1 - t / BINS) * side + 4}" text-anchor="end">{t / BINS:.1f}</text>'
        for t in range(0, BINS + 1, 2)
    )
    return (
        f'<svg width="{side + edge + 20}" height="{side + 2 * edge}" role="img" aria-label="reliability">'
        f'<rect x="{edge}" y="{edge / 2}" width="{side}" height="{side}" fill="none" stroke="#ccc"/>'
        f'<line x1="{edge}" y1="{edge / 2 + side}" x2="{edge + side}" y2="{edge / 2}" stroke="#aaa" '
        f'stroke-dasharray="4"/><polyline points="{line}" fill="none" stroke="#4a7ebb" stroke-width="2"/>{marks}{ticks}'
        f'<text x="{edge + side / 2}" y="{side + edge + 20}" text-anchor="middle">'
        "confidence (across), share that is right (up)</text></svg>"
    )
