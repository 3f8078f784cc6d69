"""Panels as boards use them: query, texts, units and colours put together with the Grafana Foundation SDK.

Whatever a panel's kind, it has a title, a description that says how the number is made, a unit and a text for "no
data"; texts are in the catalogue under `panel.<board>.<key>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, Self

from grafana_foundation_sdk.builders import (
    common as common_builders,
)
from grafana_foundation_sdk.builders import (
    dashboard as builders,
)
from grafana_foundation_sdk.builders import (
    geomap,
    stat,
    statushistory,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import geomap as map_models

from dashboards import colours
from dashboards.queries import GRAFANA, NODE_UNITS, Query, Scope, tag_values
from dashboards.text import Language, catalogue, rule_names

DATASOURCE: Final = "banksman-influx"
FOLDER: Final = "banksman"
SOURCE: Final = common.DataSourceRef(type_val="influxdb", uid=DATASOURCE)
VARIABLES: Final[Mapping[str, Query]] = {
    "site": tag_values("site", "node"),
    "node": tag_values("node", "node", Scope(site=GRAFANA.site)),
    "source": tag_values("source", "compliance_1h", Scope(site=GRAFANA.site)),
    "rule": tag_values("rule", "compliance_1h", Scope(site=GRAFANA.site)),
    "place": tag_values("place", "compliance_1h", Scope(site=GRAFANA.site)),
}
"""Variables that choose points, in the order in which boards show them, and where their values come from."""
COMPLIANCE_STEPS: Final[Steps] = ((None, colours.BAD), (0.9, colours.CARE), (0.98, colours.GOOD))
UNKNOWN_STEPS: Final = ((None, colours.GOOD), (0.1, colours.CARE), (0.3, colours.BAD))
COUNT_STEPS: Final = ((None, colours.GOOD), (1, colours.BAD))
ORDER: Final = (
    *("Time", "picture", "case", "site", "node", "sensor", "quantity", "source", "place", "rule"),
    *("compliance", "unknown_share", "breach_s"),
)
"""Columns of tables that come first."""
BARS: Final = {"compliance": COMPLIANCE_STEPS, "unknown_share": UNKNOWN_STEPS}
PLAIN: Final = ((None, colours.BLUE),)
Steps = Sequence[tuple[float | None, str]]


@dataclass(frozen=True, slots=True)
class Setup:
    """What differs between installations. dispatch: its public address, no slash at its end. zone: of days, IANA.

    limits: marks by quantity in place of `boards.sensors.DEFAULTS`, as many; who sets them has confirmed them.
    """

    dispatch: str = "http://127.0.0.1:8090"
    zone: str = "Asia/Shanghai"
    limits: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


DEFAULT: Final = Setup()


class Make(Protocol):
    """Makes a board's JSON."""

    def __call__(self, language: Language, setup: Setup = ...) -> dict[str, Any]: ...


class Target(Builder[Dataquery], Dataquery):
    """A raw InfluxQL query; the SDK has no class for it.

    series: what to call a series, in the data source's words (`$tag_rule $col`); empty: rows of a table.
    """

    def __init__(self, query: Query, *, series: str = "", ref: str = "A") -> None:
        self.query, self.series, self.ref = query, series, ref

    def build(self) -> Self:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "refId": self.ref,
            "datasource": {"type": SOURCE.type_val, "uid": SOURCE.uid},
            "rawQuery": True,
            "query": self.query.text,
            "resultFormat": "time_series" if self.series else "table",
        } | ({"alias": self.series} if self.series else {})


AnyPanel = stat.Panel | table.Panel | timeseries.Panel | geomap.Panel | statushistory.Panel


def encoded(built: object) -> dict[str, Any]:
    """As JSON values."""
    made: dict[str, Any] = json.loads(JSONEncoder().encode(built))
    return made


def steps(values: Steps) -> builders.ThresholdsConfig:
    """Thresholds; the first value is None."""
    found = [dashboard.Threshold(value=value, color=color) for value, color in values]
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(found)


def by_thresholds() -> builders.FieldColor:
    return builders.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS)


_TINY: Final = 1e-9
"""Below any share of seconds: one second of thirty years is more."""


def shades(color: str = colours.BLUE) -> builders.FieldColor:
    """Shades of one colour, for series whose names are not known before: they differ in brightness."""
    return builders.FieldColor().mode(dashboard.FieldColorModeId.SHADES).fixed_color(color)


def named(texts: Mapping[str, str]) -> dashboard.ValueMap:
    """Values shown as other words."""
    options = {value: dashboard.ValueMappingResult(text=text, index=i) for i, (value, text) in enumerate(texts.items())}
    return dashboard.ValueMap(options=options)


def only(*columns: str) -> dashboard.DataTransformerConfig:
    """Of a query's series only those of these columns (and the time)."""
    pattern = f"/^[Tt]ime$|(^| )({'|'.join(map(re.escape, columns))})$/"
    return dashboard.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"pattern": pattern}})


def renamed(column: str, word: str) -> dashboard.DataTransformerConfig:
    """Series of this column are called by their tags and `word`; empty: by their tags alone."""
    return dashboard.DataTransformerConfig(
        id_val="renameByRegex", options={"regex": f"^(.*) {re.escape(column)}$", "renamePattern": f"$1{word}"}
    )


def unjudged(text: str) -> dashboard.SpecialValueMap:
    """No value is grey: Grafana would give it the lowest threshold's colour, as if all were in violation."""
    nothing = dashboard.ValueMappingResult(text=text, color=colours.UNKNOWN, index=0)
    options = dashboard.DashboardSpecialValueMapOptions(match=dashboard.SpecialValueMatch.NULL, result=nothing)
    return dashboard.SpecialValueMap(options=options)


def nearly() -> list[dashboard.RangeMap]:
    """Shares that one decimal would round to 0 or 100 %, as the node's page and the report have them."""
    least, most = 0.0005, 0.9995
    return [
        dashboard.RangeMap(
            options=dashboard.DashboardRangeMapOptions(low, high, dashboard.ValueMappingResult(text, index=i))
        )
        for i, (low, high, text) in enumerate(((_TINY, least - _TINY, "< 0.1 %"), (most, 1 - _TINY, "> 99.9 %")), 1)
    ]


def without(*columns: str) -> dashboard.DataTransformerConfig:
    """Without columns that say nothing to people; the others in the order in which they are read."""
    order = {column: i for i, column in enumerate(c for c in ORDER if c not in columns)}
    return dashboard.DataTransformerConfig(
        id_val="organize",
        options={"excludeByName": dict.fromkeys(columns, True), "indexByName": order, "renameByName": {}},
    )


def joined(column: str) -> dashboard.DataTransformerConfig:
    """Rows of several queries side by side."""
    return dashboard.DataTransformerConfig(id_val="joinByField", options={"byField": column, "mode": "outer"})


TIMES: Final = ("Time", "time", *(f"{name} {i}" for name in ("Time", "time") for i in (1, 2, 3, 4)))
"""What the data source calls the time column, which totals have too, and it says 1970."""


def prop(id_: str, value: object) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue(id_val=id_, value=value)


UNITS: Final[Mapping[str, str]] = {
    **NODE_UNITS,
    "compliance": "percentunit",
    "unknown_share": "percentunit",
    "false_alarm_share": "percentunit",
    **dict.fromkeys(
        ("ok_s", "violation_s", "unknown_s", "breach_s", "oldest_s", "review_s", "close_s", "uptime_s"), "dtdurations"
    ),
    **dict.fromkeys(
        ("open", "overdue", "late", "alarms", "ended", "false_alarms", "cameras", "points_waiting"), "short"
    ),
    **dict.fromkeys(("site", "node", "source", "rule", "place", "sensor", "quantity", "quality", "case"), "string"),
}
"""Units of columns, in Grafana's words, where they are not the query's own."""


COLUMN_COLOURS: Final[Mapping[str, str]] = {
    "ok_s": colours.GOOD,
    "violation_s": colours.BAD,
    "unknown_s": colours.UNKNOWN,
    "overdue": colours.BAD,
    "open": colours.BLUE,
}


def unit_of(query: Query, column: str) -> str:
    return UNITS.get(column, query.unit)


def series(tags: Sequence[str]) -> str:
    """What the data source calls a series: the values of its tags, and the column."""
    return " ".join([*(f"$tag_{tag}" for tag in tags), "$col"])


def without_foreign(board: dict[str, Any]) -> dict[str, Any]:
    """Without what the SDK writes and Grafana 13 does not know: intervals' settings in all variables, table footers."""
    for variable in board["templating"]["list"]:
        for key in ("auto", "auto_min", "auto_count"):
            variable.pop(key, None)
    for panel in board["panels"]:
        panel.get("options", {}).pop("footer", None)
    return board


class Board:
    """A board being laid out: panels go from left to right, 24 columns a line; a line's panels are of one height.

    shown: variables that people choose with; one that queries need beside them is there hidden and means all.
    single: the site variable takes one site, no more.
    """

    def __init__(
        self,
        uid: str,
        language: Language,
        setup: Setup,
        *,
        shown: Sequence[str],
        single: bool = False,
        start: str = "now-7d",
        refresh: str = "5m",
        shifts: Query | None = None,
    ) -> None:
        self.t = catalogue(language)
        self._rules = rule_names(language)
        self._setup, self._shown, self._single = setup, shown, single
        self._key = uid.removeprefix("banksman-")
        self._next = 1
        self._texts = "" if shifts is None else shifts.text
        self._board = (
            builders.Dashboard(self.t(f"board.{self._key}.title"))
            .uid(uid)
            .description(self.t(f"board.{self._key}.description"))
            .tags(["banksman"])
            .timezone(setup.zone)
            .time(start, "now")
            .refresh(refresh)
            .readonly()
            .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
            .link(self._to_boards())
            .link(self._to_dispatch("ledger"))
        )
        if shifts is not None:
            self._board.annotation(self._events(shifts))

    def build(self) -> dict[str, Any]:
        """The board as JSON values."""
        for name in VARIABLES:
            if name in self._shown or f"${name}" in self._texts:
                self._board.with_variable(self._variable(name))
        self._board.with_variable(self._constant("dispatch", self._setup.dispatch))
        if "$zone" in self._texts:
            self._board.with_variable(self._constant("zone", self._setup.zone))
        return without_foreign(encoded(self._board.build()))

    # -- what every board has ------------------------------------------------------------------------------------------

    def _to_boards(self) -> builders.DashboardLink:
        """What is chosen goes along from one site; "all" or several would be none that a board of one site knows."""
        return (
            builders.DashboardLink(self.t("link.boards"))
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags(["banksman"])
            .as_dropdown(True)
            .include_vars(self._single)
            .keep_time(True)
        )

    def _to_dispatch(self, page: str) -> builders.DashboardLink:
        link = builders.DashboardLink(self.t(f"link.{page}")).type(dashboard.DashboardLinkType.LINK)
        return link.url(f"${{dispatch}}/{page}").target_blank(True)

    def _variable(self, name: str) -> builders.QueryVariable:
        """What offers "all" means `.*` by it: Grafana leaves just that as it is in a regular expression."""
        query = VARIABLES[name].text
        variable = (
            builders.QueryVariable(name)
            .label(self.t(f"variable.{name}"))
            .datasource(SOURCE)
            .query({"query": query, "refId": f"variable-{name}"})
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(dashboard.VariableSort.NATURAL_ASC)
        )
        if self._single and name == "site":
            return variable.multi(False).include_all(False)
        everything = dashboard.VariableOption(selected=True, text=["All"], value=["$__all"])
        variable.multi(True).include_all(True).all_value(".*").current(everything)
        return variable if name in self._shown else variable.hide(dashboard.VariableHide.HIDE_VARIABLE)

    def _constant(self, name: str, value: str) -> builders.ConstantVariable:
        return builders.ConstantVariable(name).value(value).label(self.t(f"variable.{name}"))

    def _events(self, query: Query) -> builders.AnnotationQuery:
        return (
            builders.AnnotationQuery()
            .name(self.t("annotation.shifts"))
            .datasource(SOURCE)
            .enable(True)
            .icon_color(colours.PURPLE)
            .target(Events(query, text="shift", tags="site", end="end_ms"))
        )

    # -- panels --------------------------------------------------------------------------------------------------------

    def row(self, key: str) -> None:
        """A heading over what follows."""
        self._board.with_row(builders.Row(self.t(f"row.{self._key}.{key}")).id(self._next))
        self._next += 1

    def stat(
        self, key: str, query: Query, column: str, *, w: int = 4, h: int = 4, levels: Steps = PLAIN,
        calc: Literal["lastNotNull", "sum"] = "lastNotNull", page: str = "",
    ) -> None:  # fmt: skip
        """One number. calc: what becomes of several rows. page: of dispatch, where what is counted can be seen."""
        panel = (
            stat.Panel()
            .with_target(Target(query))
            .reduce_options(common_builders.ReduceDataOptions().calcs([calc]).fields(f"/^{column}$/"))
            .color_mode(common.BigValueColorMode.VALUE)
            .graph_mode(common.BigValueGraphMode.NONE)
            .text_mode(common.BigValueTextMode.VALUE)
            .color_scheme(by_thresholds())
            .thresholds(steps(levels))
        )
        if column in BARS:
            panel.mappings([unjudged(self.t(f"panel.{self._key}.{key}.no_data")), *nearly()])
        if page:
            panel.links([self._to_dispatch(page)])
        self._add(key, panel, [query], w=w, h=h, unit=unit_of(query, column))

    def table(
        self, key: str, queries: Sequence[Query], *, w: int, h: int, hide: Sequence[str] = (), sort: str = "",
        worst_first: bool = False, timed: bool = False, links: Mapping[str, str] = {},
    ) -> None:  # fmt: skip
        """Rows of one query, or of several side by side by the first tag of the first.

        timed: their time says something. links: addresses by the column that leads there.
        """
        panel = table.Panel().cell_height(common.TableCellHeight.SM).thresholds(steps(PLAIN))
        panel.cell_options(common.TableAutoCellOptions())
        tags = queries[0].tags
        for ref, query in zip("ABCD", queries, strict=False):
            panel.with_target(Target(query, ref=ref))
        if len(queries) > 1:
            panel.with_transformation(joined(tags[0]))
        panel.with_transformation(without(*(() if timed else TIMES), *hide))
        if sort:
            by = common_builders.TableSortByFieldState()
            panel.sort_by([by.display_name(self.t(f"column.{sort}")).desc(worst_first)])
        units = {column: unit_of(q, column) for q in queries for column in q.columns} | dict.fromkeys(tags, "string")
        for column, unit in (({"Time": "dateTimeAsIso"} if timed else {}) | units).items():
            if column not in hide:
                panel.override_by_name(column, self._column(column, unit, links.get(column, "")))
        self._add(key, panel, queries, w=w, h=h, unit=unit_of(queries[0], queries[0].columns[0]))

    def _column(self, column: str, unit: str, link: str) -> list[dashboard.DynamicConfigValue]:
        found = [prop("displayName", self.t(f"column.{column}")), prop("unit", unit)]
        if column in BARS:
            bar = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
            found += [prop("custom.cellOptions", bar), prop("min", 0), prop("max", 1), prop("decimals", 1)]
            found += [prop("color", {"mode": "thresholds"}), prop("thresholds", encoded(steps(BARS[column]).build()))]
            found.append(prop("mappings", [encoded(one) for one in (unjudged("–"), *nearly())]))
        if words := self._rules if column == "rule" else self._words(column):
            found.append(prop("mappings", [encoded(named(words))]))
        if column == "picture":  # the mapping is literal: Grafana puts no variables into it
            address = {"text": f"{self._setup.dispatch}/cases/$1/picture", "index": 0}
            found.append(prop("mappings", [{"type": "regex", "options": {"pattern": "(.+)", "result": address}}]))
            found += [prop("custom.cellOptions", {"type": "image"}), prop("custom.width", 120)]
        if link:
            found.append(prop("links", [{"title": self.t(f"link.{column}"), "url": link, "targetBlank": True}]))
        return found

    def _words(self, tag: str) -> dict[str, str]:
        """What values of a tag are called; empty where they are shown as they are."""
        start = f"value.{tag}."
        return {key.removeprefix(start): text for key, text in self.t.texts.items() if key.startswith(start)}

    def cases(self, key: str, query: Query, *, w: int, h: int, hide: Sequence[str] = ()) -> None:
        """Cases with their pictures, each leading to the ledger."""
        to = "${dispatch}/cases/${__value.raw}"
        self.table(key, [query], w=w, h=h, timed=True, links={"case": to}, hide=hide)

    def lines(
        self, key: str, query: Query, columns: Sequence[str], *, w: int, h: int, every: str, levels: Steps = (),
        low: float | None = None, unit: str = "", title: str = "", description: str = "",
    ) -> None:  # fmt: skip
        """Columns over time, for each value of the query's tags a line. levels: dashed lines. every: shortest step.

        title, description: where they are not those of the catalogue.
        """
        panel = self._chart(query, columns, every).line_width(2).fill_opacity(0).color_scheme(shades())
        if low is not None:
            panel.min(low)
        if levels:
            style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
            panel.thresholds(steps(levels)).thresholds_style(style)
        self._name(panel, columns, query.tags)
        unit = unit or unit_of(query, columns[0])
        self._add(key, panel, [query], w=w, h=h, unit=unit, title=title, description=description)

    def limited(
        self, quantity: str, query: Query, columns: Sequence[str], levels: Steps, *, unit: str, ours: bool
    ) -> None:
        """Readings against limits. ours: these are Banksman's defaults, which the panel then says in its title."""
        where = f"panel.{self._key}.{quantity}"
        marks = self.t("limit.and").join(f"{mark:g}" for mark, _ in levels if mark is not None)
        source = self.t(f"{where}.source")
        title = self.t(f"{where}.title") + (self.t("limit.mark") if ours else "")
        described = self.t(f"{where}.description", marks=marks)
        described += self.t("limit.ours", source=source) if ours else self.t("limit.own")
        self.lines(
            quantity, query, columns, w=8, h=8, unit=unit, levels=levels, every="10s",
            title=title, description=described,
        )  # fmt: skip

    def stacked(self, key: str, query: Query, columns: Sequence[str], *, w: int, h: int, every: str) -> None:
        """Shares of columns over time, as bars that add up to all; the query's tags have one value."""
        stacking = common_builders.StackingConfig().mode(common.StackingMode.PERCENT).group("A")
        panel = self._chart(query, columns, every, tagged=False).draw_style(common.GraphDrawStyle.BARS)
        panel.fill_opacity(80).line_width(0).stacking(stacking)
        self._name(panel, columns, ())
        self._add(key, panel, [query], w=w, h=h, unit=unit_of(query, columns[0]))

    def _chart(self, query: Query, columns: Sequence[str], every: str, *, tagged: bool = True) -> timeseries.Panel:
        return (
            timeseries.Panel()
            .with_target(Target(query, series=series(query.tags if tagged else ())))
            .with_transformation(only(*columns))
            .interval(every)
            .show_points(common.VisibilityMode.AUTO)
            .span_nulls(False)
            .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        )

    def history(self, key: str, query: Query, column: str, *, w: int, h: int, every: str) -> None:
        """A row for each value of the query's tags, a cell for each step of time, coloured by level."""
        panel = (
            statushistory.Panel()
            .with_target(Target(query, series=series(query.tags)))
            .with_transformation(only(column))
            .interval(every)
            .color_scheme(by_thresholds())
            .thresholds(steps(BARS[column]))
            .show_value(common.VisibilityMode.NEVER)
            .mappings([*nearly()])
            .decimals(1)
        )
        self._name(panel, (column,), query.tags)
        self._add(key, panel, [query], w=w, h=h, unit=unit_of(query, column))

    def _name(self, panel: timeseries.Panel | statushistory.Panel, columns: Sequence[str], tags: Sequence[str]) -> None:
        """Rules have names, and lines of their own; other tags are their own names; columns are named without a tag."""
        if not tags:
            for i, column in enumerate(columns):
                color = COLUMN_COLOURS.get(column, colours.SERIES[i])
                look = prop("color", {"mode": "fixed", "fixedColor": color})
                panel.override_by_name(column, [prop("displayName", self.t(f"column.{column}")), look])
            return
        for column in columns:
            panel.with_transformation(renamed(column, "" if len(columns) == 1 else f" {self.t(f'column.{column}')}"))
        if len(columns) == 1:
            for rule, name in self._rules.items() if tags == ("rule",) else ():
                panel.override_by_name(rule, [prop("displayName", name)])

    def map(self, key: str, queries: Sequence[Query], column: str, *, w: int, h: int) -> None:
        """Rows of queries that have latitude and longitude, joined by their first tag, coloured by a column."""
        tag = queries[0].tags[0]
        style = {
            "color": {"field": column},
            "size": {"fixed": 10, "min": 5, "max": 15},
            "opacity": 0.9,
            "text": {"mode": "field", "field": tag},
            "textConfig": {
                "fontSize": 12,
                "offsetX": 0,
                "offsetY": -16,
                "textAlign": "center",
                "textBaseline": "middle",
            },
        }
        where = common_builders.FrameGeometrySource().mode(common.FrameGeometrySourceMode.COORDS)
        layer = (
            common_builders.MapLayerOptions()
            .type("markers")
            .name(self.t(f"column.{tag}"))
            .config({"style": style, "showLegend": True})
            .location(where.latitude("latitude").longitude("longitude"))
            .tooltip(True)
        )
        panel = (
            geomap.Panel()
            .basemap(common_builders.MapLayerOptions().type("default").name(self.t("map.base")).config({}))
            .layers([layer])
            .view(geomap.MapViewConfig().id("fit").all_layers(True).padding(20))
            .tooltip(geomap.TooltipOptions().mode(map_models.TooltipMode.DETAILS))
            .color_scheme(by_thresholds())
            .thresholds(steps(BARS[column]))
            .mappings([unjudged("–")])
        )
        for ref, query in zip("ABCD", queries, strict=False):
            panel.with_target(Target(query, ref=ref))
        panel.with_transformation(joined(tag)).with_transformation(without(*TIMES))
        for query in queries:
            for name in query.columns:
                shown = [prop("displayName", self.t(f"column.{name}")), prop("unit", unit_of(query, name))]
                panel.override_by_name(name, shown)
        self._add(key, panel, queries, w=w, h=h, unit=unit_of(queries[-1], column))

    def _add(
        self, key: str, panel: AnyPanel, queries: Sequence[Query], *, w: int, h: int, unit: str,
        title: str = "", description: str = "",
    ) -> None:  # fmt: skip
        """The next panel: its texts from the catalogue, unless they are given, its number, its place and its unit."""
        where = f"panel.{self._key}.{key}"
        panel.id(self._next).title(title or self.t(f"{where}.title"))
        hourly = any('"compliance_1h"' in query.text for query in queries)
        described = description or self.t(f"{where}.description")
        panel.description(described + (self.t("hours.whole") if hourly else ""))
        panel.no_value(self.t(f"{where}.no_data")).datasource(SOURCE).unit(unit).span(w).height(h)
        self._next += 1
        self._texts += "".join(query.text for query in queries)
        self._board.with_panel(panel)


class Events(Builder[Dataquery], Dataquery):
    """An annotation's query in InfluxQL; the first four keys are those that Grafana's own schema asks for."""

    def __init__(self, query: Query, *, text: str, tags: str, end: str) -> None:
        self._query, self._text, self._tags, self._end = query, text, tags, end

    def build(self) -> Self:
        return self

    def to_json(self) -> dict[str, object]:
        return {
            "limit": 1000,
            "matchAny": False,
            "tags": [],
            "type": "tags",
            "refId": "Anno",
            "fromAnnotations": True,
            "textEditor": True,
            "rawQuery": True,
            "query": self._query.text,
            "textColumn": self._text,
            "tagsColumn": self._tags,
            "timeEndColumn": self._end,
            "titleColumn": "",
        }
