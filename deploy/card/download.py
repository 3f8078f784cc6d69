"""The official image, from its publisher by https, verified, and kept for the next card."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath

import httpx

from deploy.card.errors import CardError
from deploy.card.tree import BLOCK
from deploy.card.unpack import Told, checked_sha256, room

LATEST = "https://downloads.raspberrypi.com/raspios_lite_arm64_latest"  # leads to the image of the newest release


def download(url: str, folder: Path, told: Told, *, client: httpx.Client, sha256: str = "") -> Path:
    """The image, as a file in a folder.

    sha256: of that file; by default what its publisher says at its address + `.sha256`.
    One that is there already and has the right checksum is not fetched again. client: follows no redirects of its own;
    every address on the way has to be https.
    Raises CardError `download.not_https`, `.failed`, `.no_checksum`, `image.checksum`, `image.no_room`.
    """
    final = _followed(client, url)
    wanted = checked_sha256(sha256) if sha256 else _published(client, final)
    path = folder / (PurePosixPath(final.path).name or "image")
    if path.exists() and _sha256(path) == wanted:
        return path
    part = path.with_name(path.name + ".part")
    digest = hashlib.sha256()
    try:
        with room(folder), client.stream("GET", final) as answer, part.open("wb") as file:
            answer.raise_for_status()
            total = int(answer.headers.get("content-length", 0))
            for block in answer.iter_raw(BLOCK):
                file.write(block)
                digest.update(block)
                told("download", answer.num_bytes_downloaded, total)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != wanted:
            raise CardError("image.checksum", path=final, wanted=wanted, found=digest.hexdigest())
        return part.replace(path)
    except httpx.HTTPError as error:
        raise CardError("download.failed", url=final, error=error) from error
    finally:
        part.unlink(missing_ok=True)


def _followed(client: httpx.Client, url: str) -> httpx.URL:
    """Where an address leads. Only https: a checksum that came another way proves nothing."""
    at = httpx.URL(url)
    for _ in range(5):
        if at.scheme != "https":
            raise CardError("download.not_https", url=at)
        try:
            answer = client.head(at)
        except httpx.HTTPError as error:
            raise CardError("download.failed", url=at, error=error) from error
        if answer.next_request is None:
            if answer.is_error:
                raise CardError("download.failed", url=at, error=f"HTTP {answer.status_code}")
            return at
        at = answer.next_request.url
    raise CardError("download.failed", url=url, error="↻")


def _published(client: httpx.Client, url: httpx.URL) -> str:
    try:
        answer = client.get(url.copy_with(path=url.path + ".sha256"))
        answer.raise_for_status()
        return checked_sha256(answer.text.split(maxsplit=1)[0])
    except (httpx.HTTPError, IndexError, CardError) as error:
        raise CardError("download.no_checksum", url=url) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
