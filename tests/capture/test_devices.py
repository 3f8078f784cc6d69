"""Cameras on a cable, as far as a machine without one can tell: what is said when they are not there."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

from edge.capture.source import SourceError
from edge.capture.usb import UsbCamera
from edge.site.model import UsbSource
from edge.text import LANGUAGES, catalogue
from edge.values import CameraCause, CameraState
from tests.capture.builders import camera, until
from tests.capture.conftest import OpenReader


def test_a_usb_camera_that_is_not_plugged_in_is_not_found(open_reader: OpenReader) -> None:
    status = until(open_reader(camera({"type": "usb", "index": 63})), CameraState.LOST, CameraCause.NOT_FOUND)
    assert "/dev/video63 does not exist" in status.detail


def test_a_file_in_the_place_of_a_device_is_no_camera(tmp_path: Path) -> None:
    (tmp_path / "video0").touch()
    with pytest.raises(SourceError, match="video0 is not a video device") as caught:
        UsbCamera(UsbSource(), tmp_path).open()
    assert caught.value.cause is CameraCause.FORMAT


def test_a_device_that_is_no_camera_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "video0").symlink_to("/dev/null")
    with pytest.raises(SourceError, match="cannot be opened") as caught:
        UsbCamera(UsbSource(), tmp_path).open()
    assert caught.value.cause is CameraCause.REFUSED


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open everything")
def test_a_device_without_rights_says_which_group_is_missing(tmp_path: Path) -> None:
    (tmp_path / "video0").symlink_to("/dev/mem")
    with pytest.raises(SourceError, match="group video") as caught:
        UsbCamera(UsbSource(), tmp_path).open()
    assert caught.value.cause is CameraCause.AUTH


@pytest.mark.skipif(find_spec("picamera2") is not None, reason="picamera2 is installed")
def test_a_camera_module_without_its_driver_says_what_to_install(open_reader: OpenReader) -> None:
    status = until(open_reader(camera({"type": "csi"})), CameraState.LOST, CameraCause.NO_DRIVER)
    assert "python3-picamera2" in status.detail
    assert "--system-site-packages" in status.detail


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_and_cause_has_its_words(language: str) -> None:
    text = catalogue(language)
    wanted = [f"camera_state.{state}" for state in CameraState]
    wanted += [f"{what}.{cause}" for what in ("cause", "cause_do") for cause in CameraCause]
    assert [key for key in wanted if not text(key)] == []
