"""Releases for nodes: `GET /releases/{sha256}` at the nodes' door, in parts if asked for; nodes judge what they are."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse

from broker.dispatch.web.pages import Sha256


def add(app: FastAPI, folder: Path, admit: Callable[[Request], object]) -> None:
    """folder: each file under its SHA-256. admit: raises HTTPException for who is no node."""

    @app.get("/releases/{sha256}")
    def release(request: Request, sha256: Sha256) -> FileResponse:
        admit(request)
        path = folder / sha256
        if not path.is_file():
            raise HTTPException(HTTPStatus.NOT_FOUND, "no such release here")
        return FileResponse(path, media_type="application/octet-stream")
