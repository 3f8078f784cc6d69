"""The real node, parts of which can be made to hang: `python -m tests.service.driver FOLDER run SITE.yaml`.

A part hangs for as long as FOLDER holds a file of its name. What a node allows in tens of seconds is little more than
one here.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edge.judge
import edge.node
from deploy.cli import main
from edge.detect.detector import SessionDetector
from edge.journal.journal import Journal

STANDS_STILL_S = 1.2

HANGS: dict[str, tuple[Any, str]] = {
    "judge": (edge.judge.Judge, "_tick"),
    "detector": (SessionDetector, "detect"),
    "disk": (Journal, "flush"),
}


def hanging(work: Callable[..., Any], while_there: Path) -> Callable[..., Any]:
    def hang(*args: Any, **more: Any) -> Any:
        while while_there.exists():
            time.sleep(0.02)
        return work(*args, **more)

    return hang


ETC = Path("/etc/banksman")
TRIES: dict[str, Callable[[], object]] = {
    "writes its site file": lambda: (ETC / "site.yaml").open("a").close(),
    "puts a file beside it": (ETC / ".site.yaml.last-good").touch,
    "writes its data": lambda: Path("/var/lib/banksman/x").touch(),
    "removes the key of releases": (ETC / "release.pub").unlink,
    "replaces the key of releases": lambda: (ETC / ".site.yaml.last-good").replace(ETC / "release.pub"),
    "writes the program": lambda: Path("/opt/banksman/x").touch(),
    "sees other people's files": lambda: list(Path("/root").iterdir()),
}


def tried() -> str:
    """What the sandbox lets this process do."""
    done = []
    for what, attempt in TRIES.items():
        try:
            attempt()
        except OSError:
            continue
        done.append(what)
    return "; ".join(done)


if __name__ == "__main__":
    if (ETC / "release.pub").exists():
        print(f"it {tried()}.", file=sys.stderr)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(256))
    print(f"adjtimex gives {state}, errno {ctypes.get_errno()}", file=sys.stderr)
    folder = Path(sys.argv.pop(1))
    for part, (owner, name) in HANGS.items():
        setattr(owner, name, hanging(getattr(owner, name), folder / part))
    edge.judge.STANDS_STILL_S = edge.node.HOUSE_STANDS_STILL_S = STANDS_STILL_S
    main()
