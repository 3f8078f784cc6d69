"""Where heads are taken to be in frames that nobody judged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.evidence.between import HOLD_S, Look, regions_at, regions_now
from edge.evidence.heads import HeadRegion
from edge.values import NO_TRACK, Box


def at(x: float) -> Box:
    return x, 10.0, x + 20.0, 30.0


def look(mono: float, **tracks: float) -> Look:
    """`t3=50`: track 3 at x = 50; `free=50`: a head without a track."""
    return Look(mono, tuple(HeadRegion(at(x), NO_TRACK if n == "free" else int(n[1:])) for n, x in tracks.items()))


def covers(region: Box, box: Box) -> bool:
    return region[0] <= box[0] and region[1] <= box[1] and region[2] >= box[2] and region[3] >= box[3]


@pytest.mark.parametrize(
    ("looks", "mono", "known"),
    [
        ([], 10.0, False),
        ([look(9.5)], 10.0, False),  # nobody has looked since
        ([look(10.5)], 10.0, False),  # nobody had looked yet
        ([look(10.0)], 10.0, True),
        ([look(9.5), look(10.5)], 10.0, True),
        ([look(9.0), look(11.0)], 10.0, True),
        ([look(8.9), look(10.1)], 10.0, False),
        ([look(9.9), look(11.1)], 10.0, False),
    ],
)
def test_heads_are_known_only_between_two_looks_near_by(looks: list[Look], mono: float, known: bool) -> None:
    assert (regions_at(looks, mono) == ()) is known
    assert (regions_at(looks, mono) is None) is not known


@pytest.mark.parametrize(
    ("looks", "mono", "hidden"),
    [
        ([look(10.0, t3=0), look(10.4, t3=40)], 10.1, [at(10)]),  # straight on
        ([look(10.0, t3=0), look(10.4, t3=40)], 10.0, [at(0)]),
        ([look(10.0, t3=0, t4=90), look(10.4, t3=40, t4=50)], 10.2, [at(20), at(70)]),  # they cross
        ([look(10.0, t3=0), look(10.2), look(10.4, t3=40)], 10.2, [at(20)]),  # missed in one look
        ([look(10.0, t3=0), look(10.4)], 10.3, [at(0)]),  # gone: held
        ([look(10.0), look(10.4, t3=40)], 10.1, [at(40)]),  # comes: expected
        ([look(9.5, t3=0), look(10.0), look(10.4)], 10.4, [at(0)]),  # gone for 0.9 s
        ([look(10.0, free=5), look(10.4, free=60)], 10.2, [at(5), at(60)]),  # without a track: both places
        ([look(10.0, t3=0, free=90), look(10.4, t3=0)], 10.1, [at(0), at(90)]),
    ],
)
def test_every_head_is_covered_where_it_is_or_may_be(looks: list[Look], mono: float, hidden: list[Box]) -> None:
    regions = regions_at(looks, mono)
    assert regions is not None
    assert len(regions) == len(hidden)
    for box in hidden:
        assert any(covers(region, (box[0] + 0.01, box[1], box[2] - 0.01, box[3])) for region in regions), (box, regions)


def test_a_judged_frame_has_its_heads_where_they_were_seen() -> None:
    assert regions_at([look(9.8, t3=0), look(10.0, t3=7), look(10.2, t3=30)], 10.0) == (at(7),)


def test_a_held_region_grows_with_the_time_nobody_looked() -> None:
    looks = [look(10.0, t3=100), *(look(10.0 + n / 5) for n in range(1, 8))]
    widths = [regions[0][2] - regions[0][0] for n in range(6) if (regions := regions_at(looks, 10.0 + n / 5))]
    assert widths == pytest.approx([20, 24, 28, 32, 36, 40])
    assert regions_at(looks, 10.0 + HOLD_S + 0.2) == ()


tracks = st.dictionaries(st.integers(0, 5), st.floats(0, 600), max_size=4)


@settings(deadline=None)
@given(st.lists(tracks, min_size=2, max_size=6), st.floats(0, 1))
def test_whoever_the_looks_around_a_frame_show_is_hidden_in_it(seen: list[dict[int, float]], share: float) -> None:
    looks = [look(10 + n / 5, **{f"t{t}": x for t, x in heads.items()}) for n, heads in enumerate(seen)]
    mono = 10 + share * (len(seen) - 1) / 5
    regions = regions_at(looks, mono)
    assert regions is not None
    around = {h.track for lk in looks if abs(lk.mono - mono) < 0.2 for h in lk.heads}
    assert len(regions) >= len(around)
    assert all(x1 < x2 and y1 < y2 for x1, y1, x2, y2 in regions)


def test_a_snapshot_hides_its_own_heads_and_those_it_has_just_lost() -> None:
    looks = [look(8.5, t9=300), look(9.5, t3=0, t4=200), look(9.8, t4=210, free=400), look(10.0, t4=220)]
    regions = regions_now(looks, 10.0, looks[-1].heads)
    assert regions[0] == at(220)
    assert len(regions) == 3
    assert covers(regions[1], at(0))
    assert covers(regions[2], at(400))
