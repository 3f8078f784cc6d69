"""Whatever hangs (a worn card, a dead network drive, a name server), the examination goes on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, work: Callable[[], T]) -> T:
    """What `work` gives; what it raises is raised here. TimeoutError when it takes longer.

    Its thread is then left behind, and does not keep the program from ending.
    """
    answer: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answer.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked
            answer.put((None, error))

    threading.Thread(target=run, name="examination", daemon=True).start()
    try:
        value, error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no end after {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # None only where T is None
