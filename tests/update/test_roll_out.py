"""`banksman release roll-out` with real nodes, broker, certificates and files: one first, then its site, then all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from broker.dispatch.settings import Mqtt
from broker.pki import names
from deploy.release import rollout
from deploy.release.cli import app
from edge.update import guard
from tests.update.builders import Box, Maker
from tests.update.fleet import ALL, ROLL_OUT, Yard
from tests.waiting import until

A, B, C = "north-yard/gate-03", "north-yard/gate-04", "south-yard/gate-03"


@pytest.fixture
def yard(tmp_path: Path, maker: Maker) -> Iterator[Yard]:
    with Yard(tmp_path, maker) as yard:
        yield yard


def roll_out(yard: Yard, release: Path, *which: str) -> Result:
    card = yard.broker.card(ROLL_OUT)
    return CliRunner().invoke(
        app,
        ["roll-out", str(release), str(yard.settings()), "--cert", str(card.cert), "--key", str(card.key),
         "--public-key", str(yard.maker.public_key), *which],
    )  # fmt: skip


def model(box: Box) -> str | None:
    return box.inuse("current-model")


def test_a_good_release_reaches_all_in_stages_and_again_is_soon_done(yard: Yard, maker: Maker) -> None:
    nodes = [yard.add(name) for name in (A, B, C)]
    release = maker.model("2", 2, weights=b"w" * 3_000_000)
    done = roll_out(yard, release, "--all")
    assert (done.exit_code, [model(node.box) for node in nodes]) == (0, ["models/site-v1-2"] * 3), done.output
    ended = [line.partition(":")[0] for line in done.output.splitlines() if line.endswith(": good")]
    assert ended == [A, B, C]
    assert "3 of 3 nodes have site-v1 2" in done.output
    again = roll_out(yard, release, "--all")
    assert (again.exit_code, again.output.count("fetching")) == (0, 0), again.output


def test_a_release_that_blinds_a_camera_is_rolled_back_and_goes_no_further(yard: Yard, maker: Maker) -> None:
    """The first node's camera was dark before, so that nothing is asked of it; the second one's was not."""
    blind = ALL - {"camera gate"}
    first = yard.add(A, **{"": blind, "2": blind})
    second = yard.add(B, **{"2": blind})
    third = yard.add(C)
    done = roll_out(yard, maker.model("2", 2), "--all")
    assert done.exit_code == 1, done.output
    assert f"{B}: rolled_back camera: worked before, and not since: camera gate" in done.output
    assert [model(node.box) for node in (first, second, third)] == ["models/site-v1-2", None, None]
    assert third.updater.report() is not None
    assert guard.read_state(third.box.root).taken == {"banksman": (1, "0.1.0")}, "it was not even asked"

    mended = roll_out(yard, maker.model("3", 3), "--all")
    assert (mended.exit_code, "3 of 3 nodes" in mended.output) == (0, True), mended.output


def test_who_is_offline_is_named_and_taken_the_next_time(yard: Yard, maker: Maker) -> None:
    yard.add(A)
    away = yard.add(B)
    with rollout.connected(_mqtt(yard)) as line:
        until(lambda: rollout.known(line).keys() >= {A, B})
    away.end()
    del yard.nodes[B]
    release = maker.model("2", 2)
    done = roll_out(yard, release, "--site", "north-yard")
    assert (done.exit_code, f"offline, not asked: {B}" in done.output) == (3, True), done.output
    assert "1 of 2 nodes" in done.output


def _mqtt(yard: Yard) -> Mqtt:
    card = yard.broker.card(ROLL_OUT)
    return Mqtt(host="127.0.0.1", port=yard.broker.port, ca=yard.broker.pki.ca_file, cert=card.cert, key=card.key)


@pytest.mark.parametrize("which", [(), ("--all", "--site", "north-yard")])
def test_it_must_be_said_which_nodes(yard: Yard, maker: Maker, which: tuple[str, ...]) -> None:
    done = roll_out(yard, maker.model("2", 2), *which)
    assert (done.exit_code, "say which nodes" in done.output) == (2, True)


def test_what_is_not_signed_is_not_even_offered(yard: Yard, maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = roll_out(yard, Maker(tmp_path / "other").model("2", 2), "--all")
    assert (done.exit_code, list(yard.releases.iterdir())) == (2, []), done.output


# -- the nodes' door ---------------------------------------------------------------------------------------------------


def test_releases_are_for_nodes_only_and_go_on_where_they_broke(yard: Yard) -> None:
    data = b"release" * 1000
    sha256 = hashlib.sha256(data).hexdigest()
    (yard.releases / sha256).write_bytes(data)
    with yard.client(yard.broker.card(names.node(A))) as node:
        assert node.get(f"/releases/{sha256}").content == data
        part = node.get(f"/releases/{sha256}", headers={"Range": "bytes=6990-"})
        assert (part.status_code, part.content) == (206, data[6990:])
        assert node.get(f"/releases/{'0' * 64}").status_code == 404
        assert node.get("/releases/..%2fdispatch.yaml").status_code in (404, 422)
    with yard.client(yard.broker.card(ROLL_OUT)) as service:
        assert service.get(f"/releases/{sha256}").status_code == 403
    with yard.client(None) as nobody, pytest.raises(httpx.TransportError):
        nobody.get(f"/releases/{sha256}")


# -- stages ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "stages"),
    [
        ([A], [[A]]),
        ([A, B], [[A], [B]]),
        ([A, C, B], [[A], [B], [C]]),
        ([A, C, A], [[A], [C]]),
    ],
)
def test_stages(nodes: list[str], stages: list[list[str]]) -> None:
    assert rollout.stages(nodes) == stages
