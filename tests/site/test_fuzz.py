"""Whatever stands in a site file: a site file, or problems with names and places, and never a secret in them.

500 files, or 10,000 in the full-size run (`make proof`): the full file changed by structure, by lines and by bytes,
and files that are none.
"""

from __future__ import annotations

import json
import math
import os
import re
from typing import Any

import jsonschema
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edge.site.schema import schema_text
from edge.site.tree import plain, read
from tests.site.builders import RULES, SECRETS, SITE, full, problems

PROOF = bool(os.environ.get("BANKSMAN_PROOF"))
FULL = full()
DATA = plain(read(FULL)[0])  # type: ignore[arg-type] # the full file has a tree
SCHEMA = jsonschema.Draft202012Validator(json.loads(schema_text("en")))
KEYS = sorted(set(re.findall(r"\b([a-z][a-z_0-9]+):", FULL)) | set(RULES))

Pairs = list[tuple[str, Any]]  # a section that may hold a key twice

words = st.one_of(st.sampled_from(KEYS), st.text(max_size=8), st.sampled_from(SECRETS))
wild = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from([10**30, -(10**400), 1e308, "", "07:00", "24:00", "rtsp://u:0123 hush@h", "../..", "\0", "no"]),
        st.text(max_size=20),
        st.sampled_from(SECRETS),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """All paths in a tree of dicts and lists, but the root's."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, item in inner for p in ((*path, key), *places(item, (*path, key)))]


PLACES = places(DATA)
TOKENS = ["", "*a", "&a 1", "!x 1", "|", ">", "[", "{", "%", "@", "no", "~", "- 1", "0x1f", "1e999", "<<"]
SIGNS = [sign.encode() for sign in " \t\n:-[]{}'\"#&*!|>%@`,?\\：\ufeff\u2028\x85"]


def written(value: Any) -> str:
    """The tree as YAML between brackets; sections may be lists of pairs."""
    if isinstance(value, dict):
        value = list(value.items())
        return "{" + ", ".join(f"{json.dumps(k)}: {written(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(v) for v in value) + "]"
    if isinstance(value, Twice):
        return f"{written(value.first)}, {json.dumps(value.key)}: {written(value.second)}"
    if isinstance(value, float) and not math.isfinite(value):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[str(value)]
    return json.dumps(value)


class Twice:
    """A value whose key stands there a second time, with another value."""

    def __init__(self, key: str, first: Any, second: Any) -> None:
        self.key, self.first, self.second = key, first, second


@st.composite
def changed_by_structure(draw: st.DrawFn) -> bytes:
    data = json.loads(json.dumps(DATA))
    for _ in range(draw(st.integers(1, 4))):
        path = draw(st.sampled_from(PLACES))
        parent = data
        try:
            for step in path[:-1]:
                parent = parent[step]
            _ = parent[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        key = path[-1]
        match draw(st.sampled_from(["drop", "replace", "rename", "repeat", "swap"])):
            case "drop":
                del parent[key]
            case "rename" if isinstance(key, str):
                parent[draw(words)] = parent.pop(key)
            case "repeat" if isinstance(key, str):
                parent[key] = Twice(key, parent[key], draw(wild))
            case "repeat":
                parent.append(parent[key])
            case "swap" if isinstance(parent, dict):
                other = draw(st.sampled_from(sorted(parent)))
                parent[key], parent[other] = parent[other], parent[key]
            case _:
                parent[key] = draw(wild)
    return written(data).encode("utf-8", "surrogatepass")


@st.composite
def changed_by_lines(draw: st.DrawFn) -> bytes:
    lines = FULL.split("\n")
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(["drop", "repeat", "indent", "outdent", "value", "join", "move", "cut"])):
            case "drop":
                del lines[at]
            case "repeat":
                lines.insert(at, lines[at])
            case "indent":
                lines[at] = draw(st.sampled_from([" ", "  ", "\t", "    ", "- ", "#", "? "])) + lines[at]
            case "outdent":
                lines[at] = lines[at][draw(st.integers(1, 4)) :]
            case "value":
                lines[at] = f"{lines[at].split(':')[0]}: {draw(st.sampled_from(TOKENS))}"
            case "join":
                lines[at : at + 2] = ["".join(lines[at : at + 2])]
            case "move":
                lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "cut":
                del lines[at:]
        lines = lines or [""]
    return "\n".join(lines).encode()


@st.composite
def changed_by_bytes(draw: st.DrawFn) -> bytes:
    data = bytearray(FULL.encode())
    for _ in range(draw(st.integers(1, 8))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from(SIGNS))
    return bytes(data)


yaml_noise = st.text(st.sampled_from("ab01 \t\n\r:-[]{}'\"#&*!|>%@`,?~.\\<=\0\x85\u2028："), max_size=80).map(
    str.encode
)
anything = st.one_of(
    changed_by_structure(),
    changed_by_structure(),
    changed_by_lines(),
    changed_by_bytes(),
    yaml_noise,
    st.binary(max_size=60),
)


@settings(
    max_examples=10_000 if PROOF else 500,
    derandomize=not PROOF,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)
@example(data=b"\xef\x80", language="en")  # part of a byte order mark
@example(data=b"\xef\xbb\xbf\xe9: 1", language="en")
@given(data=anything, language=st.sampled_from(["en", "zh-CN"]))
def test_any_file_is_a_site_file_or_named_problems(data: bytes, language: str) -> None:
    told = problems(data, language)
    lines = data.count(b"\n") + data.count(b"\r") + 1
    assert list(told) == sorted(told)
    for problem in told:
        assert problem.message
        assert problem.file == str(SITE)
        assert 0 <= problem.line <= lines
        assert (problem.line == 0) == (problem.column == 0)
        assert not [s for s in SECRETS if s in problem.text(language)]
    if not told:  # what is accepted is what editors accept by the schema
        tree, _ = read(data.decode("utf-8-sig"))
        assert tree is not None
        SCHEMA.validate(plain(tree))
