"""Files, folders and pans: in real time or as fast as they are taken."""

from __future__ import annotations

import time
import wave
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.file import VideoFile
from edge.capture.health import Limits
from edge.capture.pan import GREY, PhotoPan, window
from edge.capture.reader import CameraReader
from edge.clock import ManualClock
from edge.site.model import FileSource, PanSource
from edge.values import CameraCause, CameraState, Frame, Image
from tests.capture.builders import HEIGHT, WIDTH, camera, number_of, numbered, scene, until, write_video
from tests.capture.conftest import OpenReader


def video(path: Path, **more: Any) -> dict[str, Any]:
    return {"type": "file", "path": str(path), **more}


def folder(path: Path, **more: Any) -> dict[str, Any]:
    return {"type": "folder", "path": str(path), **more}


def all_frames(reader: CameraReader) -> list[Frame]:
    frames: list[Frame] = []
    while frame := reader.take(frames[-1].seq if frames else 0, timeout=10):
        frames.append(frame)
    return frames


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Three seconds at 10 frames a second; the n-th frame carries the number n."""
    return write_video(tmp_path / "clip.mp4", (numbered(n) for n in range(30)))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures of two sizes."""
    where = tmp_path / "photos"
    where.mkdir()
    for n in range(4):
        cv2.imwrite(str(where / f"{n}.png"), numbered(n, *((320, 240), (640, 360))[n % 2]))
    (where / "notes.txt").write_text("not a picture")
    return where


# A video file


def test_as_fast_as_it_can_no_frame_is_dropped_and_stamps_are_media_time(
    open_reader: OpenReader, clip: Path, clock: ManualClock
) -> None:
    sunk: list[int] = []
    reader = open_reader(
        camera(video(clip, realtime=False)), clock, sinks=[lambda frame: sunk.append(number_of(frame.image))]
    )
    start = clock.now()
    frames = all_frames(reader)
    assert [number_of(frame.image) for frame in frames] == sunk == list(range(30))
    assert [frame.seq for frame in frames] == list(range(1, 31))
    assert [frame.stamp.mono - start.mono for frame in frames] == pytest.approx([n / 10 for n in range(30)])
    assert [frame.stamp.wall - start.wall for frame in frames] == pytest.approx([n / 10 for n in range(30)])
    assert reader.ended
    status = reader.status()
    assert (status.state, status.cause) == (CameraState.LOST, CameraCause.ENDED)


def test_as_fast_as_it_can_waits_for_a_taker(open_reader: OpenReader, clip: Path, clock: ManualClock) -> None:
    """Nobody takes: only the first frame is read."""
    offered: list[int] = []
    reader = open_reader(camera(video(clip, realtime=False)), clock, sinks=[lambda frame: offered.append(frame.seq)])
    assert reader.take(1, timeout=0.5) is None
    assert offered == [1]
    first = reader.take(0, timeout=5)
    assert first is not None
    second = reader.take(1, timeout=5)
    assert second is not None
    assert (first.seq, second.seq) == (1, 2)


def test_in_real_time_a_clip_lasts_as_long_as_it_is(open_reader: OpenReader, clip: Path) -> None:
    began = time.monotonic()
    frames = all_frames(open_reader(camera(video(clip))))
    assert 2.6 < time.monotonic() - began < 5
    # A frame that comes late is followed by others that catch up, so only the whole can be told.
    assert frames[-1].stamp.mono - frames[0].stamp.mono == pytest.approx(2.9, abs=0.5)
    numbers = [number_of(frame.image) for frame in frames]
    assert numbers == sorted(numbers)
    assert numbers[0] == 0


def test_a_loop_starts_over_and_its_time_goes_on(open_reader: OpenReader, clip: Path, clock: ManualClock) -> None:
    reader = open_reader(camera(video(clip, realtime=False, loop=True)), clock)
    frames: list[Frame] = []
    for n in range(75):
        frame = reader.take(n, timeout=5)
        assert frame is not None
        frames.append(frame)
    assert [number_of(frame.image) for frame in frames] == [n % 30 for n in range(75)]
    assert np.diff([frame.stamp.mono for frame in frames]) == pytest.approx(0.1)
    assert not reader.ended


def test_a_still_file_is_neither_frozen_nor_stalled(
    open_reader: OpenReader, tmp_path: Path, clock: ManualClock
) -> None:
    still = scene(noise=0)
    path = write_video(tmp_path / "still.mp4", (still for _ in range(80)), fps=1)
    reader = open_reader(camera(video(path, realtime=False)), clock)
    for n in range(80):
        assert reader.take(n, timeout=5) is not None
        assert reader.status().state is CameraState.LIVE


def test_a_dark_file_is_dark(open_reader: OpenReader, tmp_path: Path, clock: ManualClock) -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    path = write_video(tmp_path / "night.mp4", (scene() if n < 20 else black for n in range(60)))
    reader = open_reader(camera(video(path, realtime=False)), clock, limits=Limits(dark_s=2))
    states = []
    for n in range(60):
        assert reader.take(n, timeout=5) is not None
        states.append(reader.status().state)
    assert states[19] is CameraState.LIVE
    assert states[59] is CameraState.DARK


@pytest.mark.parametrize("degrees", [90, -90, 180])
def test_a_phones_turned_video_stands_upright(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degrees: int) -> None:
    """As OpenCV turns it, which is another program reading the same mark."""
    path = write_video(tmp_path / "phone.mp4", [moved_corner()] * 5, rotation=degrees)
    source = VideoFile(FileSource(path=path), tmp_path)
    source.open()
    source.advance()
    picture = source.picture()
    source.close()
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)  # they are for streams: a file loses its start
    _, expected = cv2.VideoCapture(str(path)).read()
    assert picture is not None
    assert picture.shape == expected.shape
    assert cv2.absdiff(picture, expected).max() < 12


def moved_corner() -> Image:
    picture = numbered(0)
    picture[:60, :80] = 250
    return picture


def test_damage_in_the_middle_is_left_out(open_reader: OpenReader, tmp_path: Path, clock: ManualClock) -> None:
    path = write_video(tmp_path / "clip.ts", (numbered(n) for n in range(60)))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 2000] = bytes(2000)
    path.write_bytes(data)
    frames = all_frames(open_reader(camera(video(path, realtime=False)), clock))
    assert 30 <= len(frames) < 60
    assert number_of(frames[-1].image) == 59
    assert all(later.stamp.mono >= earlier.stamp.mono for earlier, later in pairwise(frames))


def broken_files(folder: Path) -> dict[str, tuple[CameraCause, str]]:
    good = write_video(folder / "good.mp4", (numbered(n) for n in range(30)))
    (folder / "text.mp4").write_text("this is no video")
    (folder / "cut.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "empty.mp4").touch()
    data = bytearray(good.read_bytes())
    media = data.index(b"mdat") + 4
    size = int.from_bytes(data[media - 8 : media - 4], "big") - 8
    data[media : media + size] = bytes(size)
    (folder / "zeros.mp4").write_bytes(data)
    with wave.open(str(folder / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 800, "NONE", ""))
        sound.writeframes(bytes(1600))
    return {
        "text.mp4": (CameraCause.DECODE, "not a video"),
        "cut.mp4": (CameraCause.DECODE, "not a video"),
        "empty.mp4": (CameraCause.DECODE, "not a video"),
        "zeros.mp4": (CameraCause.DECODE, "can be decoded"),
        "sound.wav": (CameraCause.FORMAT, "holds no video"),
        "none.mp4": (CameraCause.NOT_FOUND, "there is no file"),
        ".": (CameraCause.NOT_FOUND, "there is no file"),
    }


@pytest.mark.parametrize("realtime", [True, False])
def test_files_that_cannot_be_played_say_why(open_reader: OpenReader, tmp_path: Path, realtime: bool) -> None:
    expected = broken_files(tmp_path)
    readers = {name: open_reader(camera(video(tmp_path / name, realtime=realtime))) for name in expected}
    for name, (cause, said) in expected.items():
        status = until(readers[name], CameraState.LOST)
        assert (name, status.cause) == (name, cause)
        assert said in status.detail
        assert name == "." or name in status.detail


def test_relative_paths_start_from_the_site_file(open_reader: OpenReader, clip: Path) -> None:
    reader = open_reader(camera(video(Path(clip.name), realtime=False)))  # the fixture's base is the clip's folder
    assert reader.take(0, timeout=5) is not None


# A folder


def test_pictures_come_in_the_order_of_their_names_with_the_stated_pace(
    open_reader: OpenReader, photos: Path, clock: ManualClock
) -> None:
    start = clock.now()
    reader = open_reader(camera(folder(photos, realtime=False, fps=0.5)), clock)
    frames = all_frames(reader)
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 3]
    assert [frame.width for frame in frames] == [320, 640, 320, 640]
    assert [frame.stamp.mono - start.mono for frame in frames] == [0, 2, 4, 6]
    assert reader.ended
    assert (reader.status().width, reader.status().height) == (640, 360)


def test_a_folder_in_real_time_shows_each_picture_as_long_as_stated(open_reader: OpenReader, photos: Path) -> None:
    frames = all_frames(open_reader(camera(folder(photos, fps=4))))
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 3]
    assert frames[3].stamp.mono - frames[0].stamp.mono == pytest.approx(0.75, abs=0.4)


def test_a_folder_in_a_loop_goes_on(open_reader: OpenReader, photos: Path, clock: ManualClock) -> None:
    reader = open_reader(camera(folder(photos, realtime=False, loop=True)), clock)
    seen = []
    for n in range(10):
        frame = reader.take(n, timeout=5)
        assert frame is not None
        seen.append(number_of(frame.image))
    assert seen == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_folders_that_cannot_be_shown_say_why(open_reader: OpenReader, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "void").mkdir()
    (photos / "2.png").write_bytes(b"not a picture at all")
    expected = {
        photos: (CameraCause.DECODE, "2.png is not a picture"),
        tmp_path / "void": (CameraCause.NOT_FOUND, "no pictures in"),
        tmp_path / "none": (CameraCause.NOT_FOUND, "there is no folder"),
    }
    for path, (cause, said) in expected.items():
        reader = open_reader(camera(folder(path, fps=10)))
        assert said in until(reader, CameraState.LOST, cause).detail


# A pan over photos


def pan(path: Path, **more: Any) -> PanSource:
    return PanSource.model_validate({"path": path, "width": 640, "height": 360, **more})


def shown(source: PhotoPan, frames: int) -> list[Any]:
    source.open()
    pictures = []
    for _ in range(frames):
        source.advance()
        pictures.append(source.picture())
    source.close()
    return pictures


def test_a_pan_is_the_same_at_every_run_and_moves(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), scene(width=800, height=600))
    cv2.imwrite(str(tmp_path / "b.jpg"), scene(width=300, height=500))
    config = pan(tmp_path, fps=5, seconds=2)
    first, second = shown(PhotoPan(config, tmp_path), 30), shown(PhotoPan(config, tmp_path), 30)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert {picture.shape for picture in first} == {(360, 640, 3)}
    assert not any(np.array_equal(a, b) for a, b in pairwise(first))
    assert np.array_equal(first[0][180, 0], GREY), "beside a photo of another shape"


@given(
    share=st.floats(0, 1),
    photo=st.integers(0, 7),
    size=st.tuples(st.integers(64, 3000), st.integers(64, 3000)),
    fps=st.sampled_from([5.0, 10.0, 25.0]),
)
def test_a_pan_is_smooth_and_stays_on_the_photo(share: float, photo: int, size: tuple[int, int], fps: float) -> None:
    """From one frame to the next no point moves by more than 2 % of the frame (12 s a photo, the default)."""
    width, height = 1280, 720
    corners = np.array([[0, 0, 1], [size[0], 0, 1], [0, size[1], 1], [size[0], size[1], 1]], np.float64)
    now = corners @ window(share, photo, size, width, height).T
    after = corners @ window(min(1.0, share + 1 / (fps * 12)), photo, size, width, height).T
    assert np.abs(after - now).max() < 0.02 * width * 10 / fps
    low, high = now.min(axis=0), now.max(axis=0)
    for axis, room in enumerate((width, height)):
        covers = low[axis] <= 0.5 and high[axis] >= room - 0.5
        within = low[axis] >= -0.5 - 0.3 * room and high[axis] <= 1.3 * room + 0.5
        assert covers or within
    assert np.abs(now.mean(axis=0) - [width / 2, height / 2]).max() <= 0.15 * width


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_pan_begins_and_ends_with_the_whole_photo(share: float) -> None:
    move = window(share, 3, (800, 600), 640, 480)
    assert move @ [0, 0, 1] == pytest.approx([0, 0])
    assert move @ [800, 600, 1] == pytest.approx([640, 480])


def test_a_pan_runs_at_its_pace_and_is_live(open_reader: OpenReader, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), scene(width=640, height=360))
    reader = open_reader(camera({"type": "pan", "path": str(tmp_path), "fps": 20, "width": 320, "height": 240}))
    assert reader.take(25, timeout=10) is not None
    status = reader.status()
    assert status.state is CameraState.LIVE
    assert status.fps == pytest.approx(20, rel=0.2)
    assert (status.width, status.height) == (320, 240)
