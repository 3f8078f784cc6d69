"""Every mistake is told once, with its place, what would be right, in both languages, and without a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge.site.load import Problem, SiteFileError, check, load, missing_files, report
from edge.site.parse import MAX_PROBLEMS
from edge.site.tree import MAX_BYTES, MAX_DEPTH
from edge.text import catalogue
from tests.site.builders import FULL, MINIMAL, RULES, full, pointed, problems, site

# What is changed in the full file (the mark is where the problem must point), where, and words of message and hint.
GROUND = "cameras[0].calibration.ground"
MISTAKES = [
    ("latitude: 39.91", "latitude: ¦399", "site.latitude", "at most 90", "Degrees"),
    ("latitude: 39.91", "latitude: ¦.nan", "site.latitude", "finite", "39.91"),
    ("latitude: 39.91", "latitude: ¦true", "site.latitude", "must be a number", "39.91"),
    ("latitude: 39.91", "latitude: ¦north", "site.latitude", "must be a number", ""),
    ("  id: north-yard", "  id: ¦North Yard", "site.id", "small letters, digits or -", "north-yard"),
    ("  id: north-yard\n", "", "site", "“id” is missing", "north-yard"),
    ("timezone: Asia/Shanghai", "timezone: ¦Asia/Peking", "site.timezone", "IANA", "Asia/Shanghai"),
    ("start: 07:00", "start: ¦7", "site.working_hours[0].start", "HH:MM", "07:00"),
    ("start: 07:00", "start: ¦24:00", "site.working_hours[0].start", "23:59", ""),
    ("start: 07:00", 'start: ¦"07:00+08:00"', "site.working_hours[0].start", "HH:MM", ""),
    ("mode: schedule", "mode: ¦shedule", "night.mode", "one of: sun, schedule", "did you mean “schedule”?"),
    ("mode: schedule", "mode: sun", "night.hours", "delete them", ""),
    ("  hours: {start: 19:00, end: 06:00}\n", "", "night", "needs hours", ""),
    ("language: zh-CN", "language: ¦zh_cn", "language", "zh-CN, en", ""),
    ("language: zh-CN", "language: ¦zh-cn", "language", "zh-CN, en", "did you mean “zh-CN”?"),
    ('name: "大门"', "name: ¦12", "cameras[0].name", "must be text", "quotation marks"),
    ('name: "大门"', 'name: ¦"a\\nb"', "cameras[0].name", "one line", ""),
    ("type: rtsp", "type: ¦rtps", "cameras[0].source", "rtsp, mjpeg, usb", "did you mean “rtsp”?"),
    ("      type: rtsp\n", "", "cameras[0].source", "“type” is missing; one of: rtsp", ""),
    ("url: rtsp:", "url: ¦rstp:", "cameras[0].source.url", "start with rtsp://", "never shown"),
    ("10.0.0.20:554", "10.0.0.20:port", "cameras[0].source.url", "complete address", "never shown"),
    ("long%23phrase", "long#phrase", "cameras[0].source.url", "# is %23", "never shown"),
    ("      transport: tcp", "      ¦trnsport: tcp", "cameras[0].source", "unknown key", "“transport”"),
    ("      transport: tcp", "      ¦zzz: tcp", "cameras[0].source", "unknown key", "type, url, transport"),
    ("judge_fps: 4", "judge_fps: ¦0", "cameras[0].judge_fps", "more than 0", "5.0"),
    ("kind: no_entry", "kind: ¦no-entry", "cameras[0].zones[1].kind", "one of: work", "“no_entry”"),
    ("[0.2, 0.5]", "¦[0.2]", "cameras[0].zones[1].polygon[0]", "value is missing", ""),
    ("[0.2, 0.5]", "¦[0.2, 0.5, 1]", "cameras[0].zones[1].polygon[0]", "at most 2", "Relative x, y"),
    ("[0.2, 0.5]", "¦0.2", "cameras[0].zones[1].polygon[0]", "[x, y]", ""),
    ("[0.2, 0.5]", "[0.2, ¦50]", "cameras[0].zones[1].polygon[0][1]", "at most 1", "0..1"),
    ("[0.3, 0.8]", "[0.3, 0.5]", "cameras[0].zones[1].polygon", "enclose no area", ""),
    ("[0.3, 0.8]", "[0.6, 0.5]", "cameras[0].zones[1].polygon", "enclose no area", ""),
    ("[0.9, 0.4], [0.9, 1.0]", "[0.9, 1.0], [0.9, 0.4]", "cameras[0].zones[0].polygon", "“trench”", "Relative x, y"),
    ("[0.9, 0.4], [0.9, 1.0]", "[0.9, 1.0], [0.9, 0.4]", "cameras[0].zones[0].polygon", "1-2 × 3-4", ""),
    ("[0.52, 0.3], ", "[0.52, 0.38], ", "cameras[0].fixtures[1].polygon", "“lamp-1”", "Tight around"),
    ("          - [0.3, 0.8]\n", "", "cameras[0].zones[1].polygon", "at least 3 entries, has 2", ""),
    ("kind: barrier\n        id:", "¦kid: barrier\n        id:", "cameras[0].fixtures[0]", "“kind” is missing", ""),
    ("[[0.1, 0.7], [0.9, 0.7]]", "¦[[0.1, 0.7], [0.1, 0.7]]", "cameras[0].fixtures[0].line", "no length", ""),
    ("id: lamp-1", "id: ¦pit", "cameras[0].fixtures[1].id", "taken by another zone", "lamp-1"),
    ("id: yard", "id: ¦gate", "cameras[1].id", "taken by another camera", ""),
    ("{type: csi, index: 0", "¦{type: usb, index: 0", "cameras[3].source", "uses this device", ""),
    ("[6, 9], ", "", GROUND, "at least 4", "Metres"),
    ("[[0, 0], [6, 0], [6, 9], [0, 9]]", "¦[[0, 0], [1, 1], [2, 2], [3, 3]]", GROUND, "on one line", "Metres"),
    ("index: 0", "index: ¦0.5", "cameras[2].source.index", "whole number", "/dev/video"),
    ("path: clips/site.mp4", 'path: ¦""', "cameras[4].source.path", "not be empty", "clips/site.mp4"),
    ("path: clips/site.mp4", "path: ¦[a]", "cameras[4].source.path", "must be text", ""),
    ("realtime: true", "realtime: ¦yes", "cameras[4].source.realtime", "true or false", ""),
    ("detector:\n", "detector:\n  ¦modle: x\n", "detector", "unknown key", "“model”"),
    ("threads: 2", "threads: ¦99999999999999999999", "detector.threads", "at most 32", ""),
    ("threads: 2", "threads: ¦" + "9" * 5000, "detector.threads", "whole number", ""),
    ("helmet:", "¦helmt:", "rules", "no rule of this id", "did you mean “helmet”?"),
    ("helmet:", "¦zzz:", "rules", "no rule of this id", "helmet, hi_vis"),
    ("severity: critical", "severity: ¦kritical", "rules.helmet.severity", "info, warning, critical", "“critical”"),
    ("intrusion: {enabled: false}", "intrusion¦:", "rules.intrusion", "nothing stands here", "delete the line"),
    ("journal: {max_mb: 500, max_days: 60}", "journal¦:", "journal", "nothing stands here", ""),
    ("journal: {max_mb: 500, max_days: 60}", "journal: ¦small", "journal", "section with keys", '"max_mb"'),
    ("port: 8883", 'port: ¦"8883"', "uplinks.mqtt.port", "whole number", "8883"),
    ("port: 8883", "port: ¦88830", "uplinks.mqtt.port", "at most 65535", ""),
    ("host: broker.example.cn", "host: ¦mqtts://broker.example.cn", "uplinks.mqtt.host", "without ://", ""),
    ("host: broker.example.cn", "host: ¦broker.example.cn:8883", "uplinks.mqtt.host", "port", ""),
    ("host: broker.example.cn", 'host: ¦""', "uplinks.mqtt.host", "at least 1 char", ""),
    ("tls: true", "tls: ¦false", "uplinks.mqtt.tls", "only for a broker on this computer", ""),
    ('"0123 hush"', "¦0123", "uplinks.mqtt.password", "must be text", "quotation marks"),
    ("    username: north-yard/gate-03\n", "", "uplinks.mqtt.password", "needs a username", ""),
    ("    key: certs/node.key\n    username", "    username", "uplinks.mqtt.cert", "key is missing", ""),
    ("https://dispatch", "¦http://dispatch", "uplinks.evidence.url", "https://host", ""),
    ("https://dispatch", "¦https://u:pw@dispatch", "uplinks.evidence.url", "without user", ""),
    ("https://influx", "¦http://influx", "uplinks.influx.url", "only for an InfluxDB on this computer", ""),
    ("https://influx", "¦influx", "uplinks.influx.url", "https://host", ""),
    ("https://influx", "¦https://u:pw@influx", "uplinks.influx.url", "without user", ""),
    ("https://influx.example.cn:8086", "http://localhost:8086", "uplinks.influx.ca", "not used with http", ""),
    ("    token_file: certs/influx.token\n", "", "uplinks.influx", "token_file", ""),
    ('bucket: "{site}"', 'bucket: ¦""', "uplinks.influx.bucket", "at least 1 char", ""),
    ("  password: hush-hush-page\n", "", "page.host", "need a page password", ""),
    ("hush-hush-page", "¦short", "page.password", "eight characters", ""),
    ("  tls_key: certs/page.key\n", "", "page.tls_cert", "tls_key is missing", ""),
    ("language: zh-CN", "language: zh-CN\n¦languge: en", "", "unknown key", "“language”"),
    ("language: zh-CN", "language: zh-CN\n¦language: en", "", "already, in line 19", "keep one"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "where", "message", "hint"), MISTAKES)
def test_a_mistake_is_told_at_its_place_with_what_would_be_right(
    old: str, new: str, where: str, message: str, hint: str
) -> None:
    text = full((old, new))
    line = column = 0
    if "¦" in new:
        text, line, column = pointed(text)
    (told,) = (p for p in problems(text) if p.where == where and message in p.message)
    assert hint in told.hint
    if line:
        assert (told.line, told.column) == (line, column)
    else:  # something is missing, or two things do not fit: the problem points at a line that is there
        assert 1 <= told.line <= text.count("\n")


@pytest.mark.parametrize(("old", "new"), [(m[0], m[1].replace("¦", "")) for m in MISTAKES])
def test_it_is_told_in_chinese_at_the_same_place(old: str, new: str) -> None:
    english, chinese = (problems(full((old, new)), language) for language in ("en", "zh-CN"))
    assert [(p.line, p.column, p.where) for p in english] == [(p.line, p.column, p.where) for p in chinese]
    for en, zh in zip(english, chinese, strict=True):
        assert en.message != zh.message
        assert any("一" <= letter <= "鿿" for letter in zh.message)
        assert zh.message != catalogue("zh-CN")("site.type.other"), f"no own words for: {en.message}"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a: ¦[1, 2\nb: 3\n", "bracket is not closed", ""),
        ("a: ¦{b: 1\nc: 2\n", "bracket is not closed", ""),
        ("a: ¦'x\nb: 1\n", "quotation mark is not closed", ""),
        ("a:\n¦\tb: 1\n", "a tab", ""),
        ("a: b¦: c\n", "second “: ”", "quotation marks"),
        ("a: ¦@home\n", "cannot start with this character", "quotation marks"),
        ("¦a\nb: 1\n", "no “: ”", "key, colon, space"),
        ("site:\n¦  id：gate\n  name: x\n", "no “: ”", "not “：”"),
        ("¦site：x\n", "no “: ”", "not “：”"),
        ("a:\n  - 1\n ¦b: 2\n", "indentation", "same column"),
        ("a: 'x' ¦y\n", "behind the end", "quotation marks"),
        ("a: ¦- b\n", "list cannot begin here", "line of its own"),
        ('a: "\\¦q"\n', "escape", "single"),
        ("¦%YAML 1.1\n---\na: 1\n", "directives", ""),
        ("a: ¦&x 1\n", "anchors", "& or *"),
        ("a: ¦*x\n", "anchors", "& or *"),
        ("a: ¦!secret x\n", "tags", "!"),
        ("? ¦[1]\n: 2\n", "single word", ""),
        ("a: 1\n¦---\nb: 2\n", "second document", ""),
        ("¦", "empty", ""),
        ("¦# nothing but a remark\n", "empty", ""),
        ("¦- a\n", "section with keys", ""),
        ("a: 1\nb: ¦\x07\n", "control character", ""),
        ('a: ¦"\\0"\n', "control character", ""),
        ('a: ¦"\\ud800"\n', "control character", ""),
    ],
)
def test_broken_yaml_is_explained(text: str, message: str, hint: str) -> None:
    text, line, column = pointed(text)
    (told,) = (p for p in problems(text) if message in p.message)
    assert hint in told.hint
    assert (told.line, told.column) == (line, column)
    assert len(problems(text, "zh-CN")) == len(problems(text))


def test_all_problems_are_told_at_once_in_the_order_of_their_lines() -> None:
    text = full(("latitude: 39.91", "latitude: 399"), ("helmet:", "helmt:"), ("mode: schedule", "mode: moon"))
    text = text.replace("port: 8080", "port: 0").replace("judge_fps: 4", "judge_fps: 4\n    judge_fps: 5")
    told = problems(text)
    assert [p.where for p in told] == ["site.latitude", "night.mode", "", "rules", "page.port"]
    assert [p.line for p in told] == sorted(p.line for p in told)


def test_ids_and_devices_given_twice_are_all_told_whatever_else_is_wrong() -> None:
    text = full(("latitude: 39.91", "latitude: 399"), ("id: pit", "id: trench"), ("id: lamp-1", "id: north-fence"))
    text = text.replace("id: yard", "id: gate").replace("id: van", "id: gate").replace("type: csi", "type: usb")
    assert [(p.where, "taken" in p.message or "uses this device" in p.message) for p in problems(text)] == [
        ("site.latitude", False),
        ("cameras[0].zones[1].id", True),
        ("cameras[0].fixtures[1].id", True),
        ("cameras[1].id", True),
        ("cameras[2].id", True),
        ("cameras[3].source", True),
    ]


@pytest.mark.parametrize(
    "change",
    [
        ("id: lamp-1", "id: [a]"),
        ("kind: warning_light\n        id: lamp-1", "kind: lamp\n        id: pit"),
        ("- kind: warning_light\n        id: lamp-1", "- id: pit"),
        ("zones: []", "zones: [3, {id: a}, {id: a}, null]"),
        ("source: {type: csi, index: 0", "source: {type: [usb], index: {}"),
    ],
)
def test_twice_is_looked_for_in_what_is_wrong_otherwise_too(change: tuple[str, str]) -> None:
    told = problems(full(change, ("id: yard", "id: gate")))
    assert ("cameras[1].id", True) in [(p.where, "taken by another camera" in p.message) for p in told]
    assert any(p.where != "cameras[1].id" for p in told)


@pytest.mark.parametrize(
    ("corners", "edges"),
    [
        pytest.param([(0, 0), (1, 0), (1, 1), (0, 1)], "", id="a square"),
        pytest.param([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)], "", id="the first corner again at the end"),
        pytest.param([(0, 0), (1, 0), (1, 0), (1, 1), (0, 1)], "", id="a corner twice in a row"),
        pytest.param([(0, 0), (1, 0), (0.2, 0.2), (0, 1)], "", id="a dent"),
        pytest.param([(0, 0), (0.5, 0), (1, 0), (1, 1)], "", id="a corner on a straight edge"),
        pytest.param([(0, 0), (1, 1), (1, 0), (0, 1)], "1-2 × 3-4", id="an hourglass, whose area is nothing"),
        pytest.param([(0, 0), (1, 1), (1, 0), (0, 0.5)], "1-2 × 3-4", id="a crooked hourglass"),
        pytest.param([(0, 0), (1, 0), (1, 1), (0.5, 0), (0, 1)], "1-2 × 3-4, 1-2 × 4-5", id="a corner on an edge"),
        pytest.param([(0, 0), (1, 0), (0.5, 0), (0, 1)], "1-2 × 3-4", id="there and back"),
        pytest.param(
            [(0.1, 0), (0.9, 0.6), (0, 0.3), (0.9, 0), (0.2, 0.7)], "1-2 × 3-4, 1-2 × 4-5, 2-3 × 4-5", id="a star"
        ),
    ],
)
def test_an_outline_that_meets_itself_is_told_by_its_edges(corners: list[tuple[float, float]], edges: str) -> None:
    text = full(("[[0.1, 0.4], [0.9, 0.4], [0.9, 1.0], [0.1, 1.0]]", str([list(c) for c in corners])))
    assert [p.message.partition("from 1: ")[2].partition(")")[0] for p in problems(text)] == [edges][: bool(edges)]


def test_what_was_refused_is_not_told_again() -> None:
    """An alias has no value here; that it is no number either is not worth a second line."""
    assert len(problems(full(("latitude: 39.91", "latitude: *north")))) == 1


def test_a_file_that_is_wrong_everywhere_gives_a_bounded_list() -> None:
    keys = "".join(f"rule-{n}: {{}}\n" for n in range(2000))
    told = problems(MINIMAL + keys)
    assert len(told) == MAX_PROBLEMS + 1
    assert "more problems" in told[-1].message


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x" * (MAX_BYTES + 1), "larger than 256 KB"),
        (b"[" * MAX_BYTES, f"deeper than {MAX_DEPTH}"),
        (b"{a: " * (MAX_BYTES // 4), f"deeper than {MAX_DEPTH}"),
        (b"a: &a [x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]\n", "anchors"),
        ("名称: 北苑".encode("gb18030"), "not UTF-8"),
        ("site: x".encode("utf-16"), "not UTF-8"),
        (b"site: \xff\n", "not UTF-8"),
        (b"\x7fELF\x02\x01\x01\x00", "control character"),
        (b"", "empty"),
        (b"\xef\xbb\xbf", "empty"),
        (b"- 1\n" * (MAX_BYTES // 4), "section with keys"),
    ],
)
def test_files_that_are_no_site_files_are_refused_by_name_and_soon(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_bytes(data)
    told = check(path, RULES)
    assert any(message in p.message for p in told)
    assert all(p.file == str(path) for p in told)


def test_a_place_that_holds_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    for name, message in {
        "none": "no such file",
        ".": "folder",
        "pipe": "not a regular file",
        "loop": "cannot be read",
        "file/x": "no such file",
    }.items():
        (told,) = check(tmp_path / name, RULES)
        assert message in told.message, name
        assert told.line == 0


def test_a_line_of_the_report_reads_like_a_compilers() -> None:
    told = Problem("site.yaml", 12, 5, "site.latitude", "must be at most 90", "Degrees")
    assert told.text() == "site.yaml:12:5: site.latitude: must be at most 90 (Degrees)"
    assert Problem("site.yaml", 0, 0, "", "the file is empty").text() == "site.yaml: the whole file: the file is empty"
    assert told.text("zh-CN") == "site.yaml:12:5：site.latitude：must be at most 90（Degrees）"


@pytest.mark.parametrize(("language", "good", "bad"), [("en", "in order", "2 problems"), ("zh-CN", "正确", "2 处问题")])
def test_the_report_ends_with_how_it_stands(language: str, good: str, bad: str) -> None:
    assert report("site.yaml", problems(MINIMAL, language), language) == [
        f"site.yaml{'：' if language == 'zh-CN' else ': '}{good}"
    ]
    lines = report("site.yaml", problems(MINIMAL.replace("39.91", "399").replace("116.4", "x"), language), language)
    assert len(lines) == 3
    assert bad in lines[-1]


def test_the_error_says_the_first_problem_and_how_many_more() -> None:
    with pytest.raises(
        SiteFileError, match=r"site\.yaml:1:34: site\.latitude: must be at most 90.*and 1 more"
    ) as caught:
        site(MINIMAL.replace("39.91", "399").replace("116.4", "999"))
    assert caught.value.__context__ is None, "a trace would show the text that Pydantic was given"


def test_a_good_file_loads_with_its_paths_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(full(), encoding="utf-8")
    loaded = load(path, RULES)
    assert loaded.cameras[0].source.type == "rtsp"
    assert loaded.camera("replay").source.path == tmp_path / "clips/site.mp4"  # type: ignore[union-attr]
    assert loaded.uplinks.mqtt is not None
    assert loaded.uplinks.mqtt.ca == tmp_path / "certs/ca.pem"
    assert loaded.node.data_dir == Path("/var/lib/banksman")
    assert loaded.detector.model == Path("site-v1"), "a bare name is a model that ships with Banksman"
    assert load(FULL, RULES).site == loaded.site


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    assert not problems(b"\xef\xbb\xbf" + full().replace("\n", "\r\n").encode())
    text, line, column = pointed(full(("latitude: 39.91", "latitude: ¦399")))
    (told,) = problems(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert (told.line, told.column) == (line, column)


def test_missing_files_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(full(("model: site-v1", "model: my/model")), encoding="utf-8")
    (tmp_path / "certs").mkdir()
    (tmp_path / "photos").write_text("a file, not a folder")
    (tmp_path / "clips" / "site.mp4").mkdir(parents=True)
    for name in ("ca.pem", "node.pem", "node.key", "page.key"):
        (tmp_path / "certs" / name).write_text("x")
    told = missing_files(load(path, RULES), path)
    lines = path.read_text(encoding="utf-8").split("\n")
    assert [(p.where, p.message, lines[p.line - 1][p.column - 1 :].split(",")[0]) for p in told] == [
        ("cameras[4].source.path", "is not a file", "clips/site.mp4"),
        ("cameras[5].source.path", "is not a folder", "photos"),
        ("cameras[6].source.path", "is not a folder", "photos"),
        ("detector.model", "there is no such folder", "my/model"),
        ("uplinks.influx.token_file", "there is no such file", "certs/influx.token"),
        ("page.tls_cert", "there is no such file", "certs/page.pem"),
    ]
