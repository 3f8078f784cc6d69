"""The Raspberry Pi's camera module through picamera2, which comes with the system, not from the package index."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edge.capture.source import SourceError, Timing
from edge.site.model import CsiSource
from edge.values import CameraCause, Image

READ_TIMEOUT_S = 6.0


class CsiCamera:
    """One camera module. The request of the newest picture is held until the next, so unwanted ones are not copied."""

    timing = Timing.LIVE

    def __init__(self, config: CsiSource) -> None:
        self._config = config
        self._camera: Any = None
        self._request: Any = None

    def open(self) -> None:
        try:
            driver = import_module("picamera2")
        except ImportError as error:
            raise SourceError(
                CameraCause.NO_DRIVER,
                f"picamera2 cannot be loaded ({error.name or error}); install python3-picamera2 and make the virtual "
                "environment with --system-site-packages",
            ) from None
        wanted, found = self._config.index, len(driver.Picamera2.global_camera_info())
        if wanted >= found:
            raise SourceError(CameraCause.NOT_FOUND, f"no camera module {wanted}; libcamera finds {found}")
        try:
            self._camera = driver.Picamera2(wanted)
            # picamera2's RGB888 lies in memory as blue, green, red.
            main = {"size": (self._config.width, self._config.height), "format": "RGB888"}
            self._camera.configure(self._camera.create_video_configuration(main=main, buffer_count=4))
            self._camera.start()
        except RuntimeError as error:  # what picamera2 raises for a camera that is busy or does not start
            raise SourceError(CameraCause.REFUSED, f"camera module {wanted}: {error}") from None

    def advance(self) -> float:
        self._let_go()
        try:
            self._request = self._camera.capture_request(wait=READ_TIMEOUT_S)
        except TimeoutError:
            detail = f"camera module {self._config.index} gives no picture; is its cable seated?"
            raise SourceError(CameraCause.TIMEOUT, detail) from None
        return 0.0

    def picture(self) -> Image | None:
        image: Image = self._request.make_array("main")
        return image

    def _let_go(self) -> None:
        if self._request is not None:
            self._request.release()
            self._request = None

    def close(self) -> None:
        self._let_go()
        if self._camera is not None:
            self._camera.close()
