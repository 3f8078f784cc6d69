"""The site file of a node: the one that it has, the one that its card brings, or a first one.

One that works is never written over: the node's page saves zones in it. One that cannot be read gives way to the last
good one, which the node keeps beside it, or else to the card's, and stays as `site.yaml.broken`; where there is neither
it stays in its place, and whoever wrote it is told what is wrong with it.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from edge.enrol import first
from edge.enrol.card import SITE_FILE, Card, NodeFile
from edge.enrol.error import EnrolError
from edge.enrol.files import put
from edge.enrol.first import Bucket
from edge.site.disk import read_bytes, replace
from edge.site.keep import last_good_beside
from edge.site.problem import SiteFileError

MODE, _KEPT_MODE = 0o660, 0o600
"""The service's group writes the site file: the node's page saves zones there."""


class SiteFile:
    """node: which one this box is to become; etc: where its files lie, with a folder `enrol`.

    A box that was another node works on with its own file until there is a certificate for the new name. What the card
    brings is kept in `enrol` until then, since it is wiped from the card at once.
    """

    def __init__(self, card: Card, node: NodeFile, etc: Path) -> None:
        """Takes over what is needed of the card; done again it changes nothing. Raises EnrolError, OSError."""
        self._card = card
        self._node = node
        self._path = etc / SITE_FILE
        self._kept = etc / "enrol" / SITE_FILE
        named = self._named(self._path)
        self._moved = named not in (None, node.full_name)
        if named is None:
            self._mend()
        elif self._moved and (data := self._brought()) is not None:
            put(self._kept, data, _KEPT_MODE)

    def exists(self) -> bool:
        """Whether there is one already, of this node or of the one that this box was before."""
        return self._path.exists()

    def made(self, bucket: Bucket | None) -> bytes:
        """What `write` writes. Raises EnrolError."""
        etc = self._path.parent
        data = self._path.read_bytes() if self._path.exists() and not self._moved else self._brought()
        if data is None:
            return first.first_site_file(self._node, bucket, etc)
        return first.completed(data, self._node, bucket, etc)

    def write(self, bucket: Bucket | None) -> None:
        """bucket: where figures go, if there is a token for it."""
        data = self.made(bucket)
        if self._moved:
            self._path.replace(self._path.with_suffix(".yaml.old"))
            self._moved = False
        put(self._path, data, MODE)
        self._kept.unlink(missing_ok=True)

    def _mend(self) -> None:
        """There is none, or one that cannot be read; or this was cut off in between. Raises EnrolError for the latter
        where nothing better is at hand."""
        last_good = last_good_beside(self._path)
        own = self._named(last_good) == self._node.full_name
        data = last_good.read_bytes() if own else self._brought()
        if not self._path.exists():
            if data is not None:
                put(self._path, data, MODE)
        elif data is None or self._path.is_dir():
            self._refuse()
        else:
            self._keep_broken()
            replace(self._path, data)  # it stays the service's

    def _refuse(self) -> None:
        """Say what is wrong with the one that is there. Raises EnrolError."""
        try:
            self._name(read_bytes(self._path, self._node.node.language))
        except SiteFileError as error:
            raise EnrolError("site.wrong", problems=str(error)) from error

    def _keep_broken(self) -> None:
        """By a second name, which is no earlier one's; it may be too big to be read, or unreadable."""
        own = self._path.lstat()
        for n in itertools.count(1):
            name = self._path.with_name(f"{SITE_FILE}.broken" if n == 1 else f"{SITE_FILE}.broken.{n}")
            try:
                os.link(self._path, name, follow_symlinks=False)
            except FileExistsError:
                if not os.path.samestat(name.lstat(), own):  # else it was cut off here
                    continue
            return

    def _brought(self) -> bytes | None:
        """The card's, or what is kept of it; None: it brings none. Raises EnrolError where that is no good."""
        kept = self._named(self._kept) == self._node.full_name
        try:
            data = self._on_card()
        except EnrolError:
            if not kept:
                raise
            data = None  # zeros may be left of what was taken over before
        return self._kept.read_bytes() if data is None and kept else data

    def _on_card(self) -> bytes | None:
        data = self._card.proven(SITE_FILE)
        if data is not None and (named := self._name(data)) != self._node.full_name:
            raise EnrolError("site.other", named=named, wanted=self._node.full_name)
        return data

    def _named(self, path: Path) -> str | None:
        """Which node a file is for; None: there is none, or it cannot be read."""
        try:
            return self._name(read_bytes(path))
        except (SiteFileError, EnrolError):
            return None

    def _name(self, data: bytes) -> str:
        return first.name(data, self._path.parent, self._node.node.language)
