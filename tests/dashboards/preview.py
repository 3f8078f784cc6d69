"""Draws each board's layout with the answers of a made-up month: `python -m tests.dashboards.preview FOLDER`.

Not Grafana's drawing: it reads the same JSON (places, units, thresholds, mappings, transformations) so that mistakes in
it are seen by eye. Pictures need chromium.
"""

from __future__ import annotations

import html
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from dashboards.boards import BOARDS
from dashboards.influxql import Influx as Reader
from dashboards.panels import Setup
from tests.dashboards.test_asked import ALL, Chosen
from tests.dashboards.world import DAY, MONTH, world
from tests.influx import TOKEN, Influx

LINE = 34
"""Pixels of a line of Grafana's grid."""
WIDTHS = (1280, 360)
NARROW = 769
"""Below this width Grafana puts panels one below the other, each over the whole width."""


UNITS = {"short": "", "none": "", "string": "", "celsius": "°C", "decmbytes": "MB", "percent": "%", "degree": "°"}
Row = dict[str, Any]


def shown(value: Any, look: Mapping[str, Any]) -> str:
    """A value in its unit, or what it is mapped to."""
    unit, found = look.get("unit", ""), "" if value is None else str(value)
    if isinstance(value, int | float):
        found = {
            "percentunit": f"{100 * value:.1f} %",
            "dtdurations": f"{value / 3600:.1f} h" if value > 5400 else f"{value:.0f} s",
            "dateTimeAsIso": f"{datetime.fromtimestamp(value / 1000, UTC):%Y-%m-%d %H:%M}",
        }.get(unit, f"{value:.4g} {UNITS.get(unit, unit)}")
    for mapping in look.get("mappings", ()):
        options, number = mapping["options"], isinstance(value, int | float)
        within = mapping["type"] == "range" and number and options["from"] <= value <= options["to"]
        if mapping["type"] == "value" and found in options:
            found = str(options[found]["text"])
        elif mapping["type"] == "regex" and isinstance(value, str):
            found = re.sub(options["pattern"], options["result"]["text"].replace("$", "\\"), value)
        elif within or (mapping["type"] == "special" and value is None):
            found = str(options["result"]["text"])
    return found


def color(value: Any, look: Mapping[str, Any]) -> str:
    found = next((m["options"]["result"]["color"] for m in look.get("mappings", ()) if m["type"] == "special"), "#ccc")
    for step in look["thresholds"]["steps"]:
        if isinstance(value, int | float) and (step["value"] is None or value >= step["value"]):
            found = step["color"]
    return found


def look_of(panel: Mapping[str, Any], *names: str) -> Row:
    """Field settings as they hold for a field that is called by one of `names`."""
    look = dict(panel["fieldConfig"]["defaults"])
    for override in panel["fieldConfig"]["overrides"]:
        if override["matcher"]["options"] in names:
            look |= {prop["id"]: prop["value"] for prop in override["properties"]}
    return look


def rows_of(read: Reader, panel: Mapping[str, Any], what: Chosen) -> list[Row]:
    """Rows of a table, joined and with columns left out as the transformations say."""
    tables = []
    for target in panel["targets"]:
        found = read.rows(what.put_in(target["query"]))
        tables.append(
            [
                dict(s.tags) | {"Time": v[0]} | dict(zip(s.columns[1:], v[1:], strict=True))
                for s in found
                for v in s.values
            ]
        )
    rows: list[Row] = tables[0]
    for step in panel.get("transformations", ()):
        if step["id"] == "joinByField":
            key = step["options"]["byField"]
            keys = sorted({str(row[key]) for table in tables for row in table})
            rows = [{k: v for t in tables for r in t if r[key] == one for k, v in r.items()} for one in keys]
        if step["id"] == "organize":
            out, order = step["options"]["excludeByName"], step["options"]["indexByName"]
            rows = [{k: row[k] for k in sorted(row, key=lambda k: order.get(k, 99)) if k not in out} for row in rows]
    for by in panel["options"].get("sortBy", ()):
        name = (
            next((k for k in rows[0] if look_of(panel, k).get("displayName") == by["displayName"]), "") if rows else ""
        )
        rows.sort(key=lambda row: (row.get(name) is None, row.get(name)), reverse=by["desc"])
    return rows


def lines_of(
    read: Reader, panel: Mapping[str, Any], what: Chosen
) -> Iterator[tuple[str, list[tuple[float, Any]], Row]]:
    (target,) = panel["targets"]
    for one in read.rows(what.put_in(target["query"])):
        for i, column in enumerate(one.columns[1:], 1):
            name = target["alias"].replace("$col", column)
            for tag, value in one.tags.items():
                name = re.sub(rf"\$tag_{tag}\b", value, name)
            kept = True
            for step in panel.get("transformations", ()):
                if step["id"] == "filterFieldsByName":
                    kept = bool(re.search(step["options"]["include"]["pattern"].strip("/"), name))
                elif step["id"] == "renameByRegex":
                    name = re.sub(step["options"]["regex"], step["options"]["renamePattern"].replace("$", "\\"), name)
            if kept:
                look = look_of(panel, name)
                yield look.get("displayName", name), [(float(str(v[0])), v[i]) for v in one.values], look


def body(read: Reader, panel: Mapping[str, Any], what: Chosen, wide: float) -> str:
    """wide: pixels of the panel."""
    kind, width, height = panel["type"], int(wide) - 20, panel["gridPos"]["h"] * LINE - 60
    defaults = panel["fieldConfig"]["defaults"]
    nothing = f"<p class=none>{html.escape(defaults['noValue'])}</p>"
    if kind == "stat":
        pattern = panel["options"]["reduceOptions"]["fields"].strip("/")
        values = [
            v for row in rows_of(read, panel, what) for k, v in row.items() if re.search(pattern, k) and v is not None
        ]
        if not values:
            return nothing
        value = sum(values) if panel["options"]["reduceOptions"]["calcs"] == ["sum"] else values[-1]
        return f'<b style="color:{color(value, defaults)}">{shown(value, defaults)}</b>'
    if kind in ("table", "geomap"):
        rows = rows_of(read, panel, what)
        drawn = places(panel, rows, width, height) if kind == "geomap" else table(panel, rows)
        return drawn if rows else nothing
    found = list(lines_of(read, panel, what))
    if not found:
        return nothing
    return cells(found, width, height) if kind == "status-history" else chart(found, panel, width, height)


def table(panel: Mapping[str, Any], rows: list[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(str(look_of(panel, n).get('displayName', n)))}" for n in names)
    lines = []
    for row in rows[:40]:
        cells = []
        for name in names:
            look, value = look_of(panel, name), row.get(name)
            kind = look.get("custom.cellOptions", {}).get("type")
            text = html.escape(shown(value, look))
            if kind == "gauge" and value is not None:
                text = f'<i style="width:{90 * value:.0f}px;background:{color(value, look)}"></i>{text}'
            cells.append(f"<td>{'🖼 ' + text[-24:] if kind == 'image' else text}")
        lines.append("<tr>" + "".join(cells))
    return f"<table><tr>{head}{''.join(lines)}</table>"


def places(panel: Mapping[str, Any], rows: list[Row], width: int, height: int) -> str:
    dots = []
    lat, lon = ([row[key] for row in rows if row.get(key)] for key in ("latitude", "longitude"))
    field = panel["options"]["layers"][0]["config"]["style"]["color"]["field"]
    for row in rows:
        if row.get("latitude") is None:
            continue
        x = 20 + (row["longitude"] - min(lon)) / (max(lon) - min(lon) or 1) * (width - 60)
        y = height - 20 - (row["latitude"] - min(lat)) / (max(lat) - min(lat) or 1) * (height - 40)
        fill = color(row.get(field), panel["fieldConfig"]["defaults"])
        dots.append(f'<circle cx={x} cy={y} r=8 fill="{fill}"/><text x={x - 8} y={y - 12}>{row["site"]}</text>')
    return f"<svg width={width} height={height}>{''.join(dots)}</svg>"


def cells(found: list[tuple[str, list[tuple[float, Any]], Row]], width: int, height: int) -> str:
    tall, out = min(24.0, height / len(found)), []
    for n, (name, values, look) in enumerate(found):
        wide = (width - 150) / len(values)
        out.append(f"<text x=0 y={n * tall + tall * 0.7}>{html.escape(name[:20])}</text>")
        out += [
            f'<rect x={150 + i * wide} y={n * tall} width={wide + 0.2} height={tall - 2} fill="{color(v, look)}"/>'
            for i, (_, v) in enumerate(values)
            if v is not None
        ]
    return f"<svg width={width} height={height}>{''.join(out)}</svg>"


def chart(
    found: list[tuple[str, list[tuple[float, Any]], Row]], panel: Mapping[str, Any], width: int, height: int
) -> str:
    times = [at for _, values, _ in found for at, _ in values]
    first, span = min(times), (max(times) - min(times)) or 1
    out, names, plot = [], [], height - 30
    if panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "percent":
        base: dict[float, float] = {}
        total = {at: sum(dict(v).get(at) or 0 for _, v, _ in found) or 1 for at, _ in found[0][1]}
        for name, values, look in found:
            fill = look["color"]["fixedColor"]
            names.append((name, fill))
            for at, value in values:
                tall, low = (value or 0) / total[at] * plot, base.get(at, 0.0)
                base[at] = low + tall
                x, wide = (at - first) / span * width, width / len(values)
                out.append(f'<rect x={x} y={plot - low - tall} width={wide} height={tall} fill="{fill}"/>')
    else:
        numbers = [v for _, values, _ in found for _, v in values if v is not None] or [0]
        marks = [
            s["value"] for s in panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"] if s["value"]
        ]
        low, high = min([*numbers, *marks]), max([*numbers, *marks])

        def y(value: float) -> float:
            return float(plot - (value - low) / (high - low or 1) * plot)

        for n, (name, values, _) in enumerate(found):
            stroke = f"hsl(202 100% {30 + 40 * n / len(found)}%)"
            names.append((name, stroke))
            path, pen = "", "M"
            for at, value in values:
                if value is not None:
                    path += f"{pen}{(at - first) / span * width:.1f} {y(value):.1f}"
                pen = "M" if value is None else "L"
            out.append(f'<path d="{path}" fill="none" stroke="{stroke}" stroke-width="1.5"/>')
        out += [f'<path d="M0 {y(m)}H{width}" stroke="#D55E00" stroke-dasharray="6"/>' for m in marks]
        out.append(f"<text x=0 y=12>{high:.4g}</text><text x=0 y={plot - 4}>{low:.4g}</text>")
    legend = " ".join(f'<tspan fill="{fill}">■</tspan> {html.escape(name)}' for name, fill in names[:14])
    return f"<svg width={width} height={height}>{''.join(out)}<text x=0 y={height - 8}>{legend}</text></svg>"


STYLE = """body{margin:0;background:#f4f5f5;font:13px "Noto Sans CJK SC",sans-serif}h1{font-size:20px;margin:10px}
.p{position:absolute;background:#fff;border:1px solid #ddd;overflow:auto;padding:6px;box-sizing:border-box}
h2{font-size:13px;margin:0 0 4px}
b{font-size:30px}td,th{text-align:left;padding:2px 8px;white-space:nowrap}
td i{display:inline-block;height:12px;margin-right:4px}
.none{color:#777}text{font-size:12px}nav{margin:8px 10px}"""


def page(read: Reader, board: Mapping[str, Any], what: Chosen, width: int) -> tuple[str, int]:
    """The page, and how many pixels high it is."""
    out = [f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><h1>{board['title']}</h1>"]
    variables = [v["label"] for v in board["templating"]["list"] if v["type"] == "query" and not v.get("hide")]
    out.append(f"<nav>{' ▾ '.join(variables)} ▾</nav>")
    column, lowest = width / 24, 0
    for panel in board["panels"]:
        at = panel["gridPos"]
        x, y, w = (0, lowest, 24) if width < NARROW else (at["x"], at["y"], at["w"])
        lowest = max(lowest, y + at["h"])
        place = f"left:{x * column + 4}px;top:{y * LINE + 90}px"
        size = f"width:{w * column - 6}px;height:{at['h'] * LINE - 6}px"
        inner = "" if panel["type"] == "row" else body(read, panel, what, w * column)
        out.append(f'<div class=p style="{place};{size}"><h2>{html.escape(panel["title"])}</h2>{inner}</div>')
    return "".join(out), lowest * LINE + 100


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    one = {"site": ["s-1"]}
    asked = {
        "banksman-site": Chosen(MONTH[0], MONTH[0] + 7 * 86_400, "1h", one),
        "banksman-sites": Chosen(*MONTH, "1d", {}),
        "banksman-cases": Chosen(MONTH[0], MONTH[0] + 7 * 86_400, "1h", {}),
    }
    with tempfile.TemporaryDirectory() as folder, Influx(Path(folder)) as influx:
        influx.create("preview")
        for lines in world().lines():
            influx.write("preview", lines)
        with Reader(influx.url, "preview", TOKEN) as read, sync_playwright() as play:
            browser = play.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            for uid, make in BOARDS.items():
                for language in ("zh-CN", "en"):
                    board = make(language, Setup(zone="Asia/Shanghai"))
                    for width in WIDTHS:
                        drawn, height = page(read, board, asked.get(uid, Chosen(*DAY, "10m", ALL.values)), width)
                        tab = browser.new_page(viewport={"width": width, "height": height})
                        tab.set_content(drawn)
                        tab.screenshot(path=out / f"{uid}.{language}.{width}.png")
                        tab.close()
            browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
