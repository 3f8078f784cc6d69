"""Snapshots and clips: right in what they show, hidden in what they must not show, bounded, and on nobody's way."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import av
import cv2
import numpy as np
import pytest

from edge.clock import ManualClock
from edge.evidence import recorder as recorder_module
from edge.evidence.recorder import MAX_CLIPS, MAX_SNAPSHOTS, STALL_S
from edge.journal.journal import Journal
from edge.journal.rows import Trouble
from edge.site.model import JournalSettings
from edge.values import EvidenceRef, Frame, Image
from tests.evidence.builders import HIDDEN, SHARP, Film, recorder, sharpness
from tests.journal.builders import journal
from tests.journal.test_full_disk import fill
from tests.waiting import until


@pytest.fixture
def kept(tmp_path: Path, clock: ManualClock) -> Iterator[Journal]:
    opened = journal(tmp_path, clock)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


def picture(path: Path) -> Image:
    return np.asarray(cv2.imread(str(path)), dtype=np.uint8)


def clip_frames(path: Path) -> list[tuple[float, Image]]:
    """(seconds from the start, picture) of each frame."""
    with av.open(str(path)) as file:
        return [
            (float(f.time or 0.0), np.asarray(f.to_ndarray(format="bgr24"), np.uint8)) for f in file.decode(video=0)
        ]


def only(kept: Journal, alarm: str) -> Path:
    (file,) = kept.evidence_of(alarm)
    return file.path


# -- snapshots ---------------------------------------------------------------------------------------------------------


def test_a_snapshot_is_named_at_once_and_hides_the_face_only(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    frame = film.frame(1.0)
    before = frame.image.copy()
    ref = made.snapshot("a", frame, film.heads(1.0))
    assert kept.evidence_of("a") == ()  # nothing has touched the disk
    made.start()
    made.stop()
    (stored,) = kept.evidence_of("a")
    assert (stored.ref, stored.at, stored.ref.kind) == (ref, frame.stamp, "snapshot")
    content = stored.path.read_bytes()
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (ref.sha256, ref.bytes)
    shown = picture(stored.path)
    assert shown.shape == frame.image.shape
    assert sharpness(frame.image, film.face(1.0)) > SHARP
    assert sharpness(shown, film.face(1.0)) < HIDDEN
    far = np.s_[200:, :]
    assert int(np.abs(shown[far].astype(int) - frame.image[far]).max()) <= 3
    assert np.array_equal(frame.image, before)


def test_a_head_that_was_lost_just_before_is_hidden_too(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    made.judged(film.frame(0.8), film.heads(0.8))
    made.start()
    made.snapshot("a", film.frame(1.0), ())
    made.stop()
    x1, y1, x2, y2 = film.face(0.8)
    assert sharpness(picture(only(kept, "a")), (x1, y1, x2, y2)) < HIDDEN


def test_alarms_of_one_frame_share_the_file(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    made.start()
    frame = film.frame(1.0)
    refs = {made.snapshot(alarm, frame, film.heads(1.0)) for alarm in "abc"}
    refs.add(made.snapshot("d", film.frame(1.1), film.heads(1.1)))
    made.stop()
    assert len(refs) == 2
    assert [len(kept.evidence_of(alarm)) for alarm in "abcd"] == [1, 1, 1, 1]
    assert len(list(folder.iterdir())) == 2


def test_marks_are_outlined(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    made.start()
    made.snapshot("a", film.frame(1.0), film.heads(1.0), marks=[(300, 200, 400, 340)])
    made.stop()
    shown = picture(only(kept, "a")).astype(int)
    red = (shown[..., 2] - shown[..., 1]) > 60
    assert red[270, 298:303].any()
    assert not red[270, 310:390].any()


def test_a_file_that_is_delivered_for_one_alarm_is_there_for_the_next(
    tmp_path: Path, clock: ManualClock, folder: Path
) -> None:
    class Prompt(Journal):
        """The upload of alarm `a` is done before `b` is recorded."""

        def evidence(self, ref: EvidenceRef, alarm: str, *args: object) -> None:
            super().evidence(ref, alarm, *args)  # type: ignore[arg-type]
            if alarm == "a":
                self.evidence_delivered(ref.sha256, "a")

    kept = Prompt(tmp_path / "prompt.db", clock, JournalSettings())
    film, made = Film(), recorder(kept, folder)
    film.run(made, 0, 2)
    for alarm in ("a", "b"):
        made.clip(alarm, "gate", film.stamp(1.0))
        made.snapshot(alarm, film.frame(1.0), film.heads(1.0))
    made.start()
    made.stop()
    assert [e.alarm for e in kept.pending_evidence(9)] == ["b", "b"]
    assert sorted(p.suffix for p in folder.iterdir()) == [".jpg", ".mp4"]
    kept.close()


# -- clips -------------------------------------------------------------------------------------------------------------


def test_a_clip_shows_before_and_after_at_the_right_times(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    done: SimpleQueue[EvidenceRef] = SimpleQueue()
    made.start()
    film.run(made, 0, 3)
    made.clip("a", "gate", film.stamp(3.0), done.put)
    film.run(made, 3.1, 4.0)
    ref = done.get(timeout=20)  # media time has passed; the node's clock stands still
    made.stop()
    (stored,) = kept.evidence_of("a")
    assert (stored.ref, stored.path.name) == (ref, f"{ref.sha256}.mp4")
    content = stored.path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == ref.sha256
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is all there
    with av.open(str(stored.path)) as file:
        video = file.streams.video[0].codec_context
        assert (video.name, video.pix_fmt, video.width, video.height) == ("h264", "yuv420p", 640, 360)
    times = [after for after, _ in clip_frames(stored.path)]
    assert times == pytest.approx([n / 10 for n in range(31)], abs=0.002)


@pytest.mark.parametrize("look_every", [1, 2, 5, 10])
def test_the_face_is_hidden_in_every_frame_also_between_the_looks(kept: Journal, folder: Path, look_every: int) -> None:
    film, made = Film(), recorder(kept, folder)
    made.start()
    film.run(made, 0, 4, look_every)
    made.clip("a", "gate", film.stamp(3.0))
    made.stop()
    frames = clip_frames(only(kept, "a"))
    assert len(frames) == 31
    for after, image in frames:
        assert sharpness(image, film.face(1.0 + after)) < HIDDEN, after


def test_the_test_would_see_a_face_that_is_not_hidden(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    made.start()
    for second in film.seconds(0, 4):
        made.offer(film.frame(second))
        made.judged(film.frame(second), ())  # a detector that sees nobody
    made.clip("a", "gate", film.stamp(3.0))
    made.stop()
    assert min(sharpness(image, film.face(1.0 + after)) for after, image in clip_frames(only(kept, "a"))) > SHARP


def test_regions_are_scaled_with_the_picture(kept: Journal, folder: Path) -> None:
    film, made = Film(width=1280, height=720), recorder(kept, folder, clip_height=180)
    made.start()
    film.run(made, 0, 4)
    made.clip("a", "gate", film.stamp(3.0))
    made.stop()
    frames = clip_frames(only(kept, "a"))
    assert frames[0][1].shape == (180, 320, 3)
    for after, image in frames:
        x1, y1, x2, y2 = film.face(1.0 + after)
        assert sharpness(image, (x1 / 4, y1 / 4, x2 / 4, y2 / 4)) < 25, after  # 12 px: the edges of the mosaic count


@pytest.mark.parametrize(
    ("looked", "expected"),
    [
        ([0.0, 5.0], 0),  # nobody looked for five seconds
        ([1.0, 2.0, 3.0, 4.0], 31),
        ([0.0, 0.5, 3.0, 3.5, 4.0], 11),
        ([1.5, 2.0, 2.5], 11),
        ([2.0], 1),
        ([], 0),
    ],
)
def test_a_frame_whose_heads_are_unknown_is_not_kept(
    kept: Journal, folder: Path, looked: list[float], expected: int
) -> None:
    film, made = Film(), recorder(kept, folder)
    done: list[EvidenceRef] = []
    made.start()
    for second in film.seconds(0, 5):
        made.offer(film.frame(second))
        if second in looked:
            made.judged(film.frame(second), film.heads(second))
    made.clip("a", "gate", film.stamp(3.0), done.append)
    made.stop()
    if not expected:
        assert (done, kept.evidence_of("a"), made.state.dropped) == ([], (), {"clip": 1})
        assert list(folder.iterdir()) == []
        return
    assert len(done) == 1
    frames = clip_frames(only(kept, "a"))
    assert len(frames) == expected
    start = 3.0 if expected == 11 and looked[0] == 0.0 else looked[0]
    for after, image in frames:
        assert sharpness(image, film.face(start + after)) < HIDDEN


def test_alarms_soon_after_each_other_share_a_clip_later_ones_do_not(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    done: SimpleQueue[tuple[str, EvidenceRef]] = SimpleQueue()
    made.start()
    film.run(made, 0, 3)
    for alarm, second, camera in (("a", 3.0, "gate"), ("b", 3.4, "gate"), ("c", 3.9, "gate"), ("d", 3.0, "yard")):
        made.clip(alarm, camera, film.stamp(second), lambda ref, alarm=alarm: done.put((alarm, ref)))  # type: ignore[misc]
    film.run(made, 3.1, 5.0)
    told = dict(done.get(timeout=20) for _ in range(3))
    made.stop()
    assert told["a"] == told["b"] != told["c"]
    assert [len(kept.evidence_of(alarm)) for alarm in "abcd"] == [1, 1, 1, 0]
    assert made.state.dropped == {"clip": 1}  # the yard has no frames


def test_the_clip_of_a_camera_that_died_ends_with_it(kept: Journal, folder: Path, clock: ManualClock) -> None:
    film, made = Film(), recorder(kept, folder, clock)
    done: SimpleQueue[EvidenceRef] = SimpleQueue()
    made.start()
    film.run(made, 0, 3)
    made.clip("a", "gate", film.stamp(3.0), done.put)
    assert made.state.waiting == 1
    clock.advance(STALL_S + 0.1)
    done.get(timeout=20)
    made.stop()
    assert len(clip_frames(only(kept, "a"))) == 21


def test_a_film_that_begins_anew_ends_the_clip_and_mixes_nothing(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    done: SimpleQueue[EvidenceRef] = SimpleQueue()
    made.start()
    film.run(made, 0, 3)
    made.clip("a", "gate", film.stamp(3.0), done.put)
    film.run(made, 0, 1)
    done.get(timeout=20)
    assert len(clip_frames(only(kept, "a"))) == 21
    film.run(made, 1.1, 4)
    made.clip("b", "gate", film.stamp(3.0), done.put)
    done.get(timeout=20)
    made.stop()
    assert len(clip_frames(only(kept, "b"))) == 31


def test_a_camera_that_changes_its_size_gives_a_clip_of_the_size_at_the_alarm(kept: Journal, folder: Path) -> None:
    small, large, made = Film(), Film(width=960, height=540), recorder(kept, folder, clip_height=540)
    made.start()
    small.run(made, 0, 2.0)
    large.run(made, 2.1, 4)
    made.clip("a", "gate", large.stamp(3.0))
    made.stop()
    frames = clip_frames(only(kept, "a"))
    assert (len(frames), frames[0][1].shape) == (20, (540, 960, 3))


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [5, 10, 12.5, 15, 25, 30, 60])
def test_about_ten_frames_a_second_are_kept(kept: Journal, folder: Path, fps: float) -> None:
    film, made = Film(fps=fps), recorder(kept, folder, clip_before_s=10, clip_after_s=10)
    film.run(made, 0, 6, look_every=0)
    assert made.state.frames == pytest.approx(6 * min(fps, 10), abs=2)


def test_memory_is_bounded_by_time_and_by_size(kept: Journal, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film, made = Film(), recorder(kept, folder)
    film.run(made, 0, 30)
    assert made.state.frames == 61  # 2 s before, 1 s after, 3 s for looks that come late
    each = made.state.bytes / 61
    monkeypatch.setattr(recorder_module, "MAX_RING_BYTES", int(20.5 * each))
    film.run(made, 30.1, 31)
    assert made.state.frames == pytest.approx(20, abs=1)
    Film("yard").run(made, 0, 5)
    film.run(made, 31.1, 32)
    assert made.state.bytes <= 20.5 * each


def test_the_oldest_clips_are_given_up_when_the_encoder_falls_behind(kept: Journal, folder: Path) -> None:
    made = recorder(kept, folder)  # not started: nobody encodes
    films = [Film(f"camera-{n}") for n in range(MAX_CLIPS + 2)]
    for film in films:
        film.run(made, 0, 2)
        made.clip(film.camera, film.camera, film.stamp(1.0))
        film.run(made, 2.1, 2.2)
    assert made.state.dropped == {"clip": 2}
    made.start()
    made.stop()
    assert [len(kept.evidence_of(f.camera)) for f in films] == [0, 0, *[1] * MAX_CLIPS]


def test_the_oldest_snapshots_are_given_up_when_the_disk_falls_behind(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    frame = film.frame(0)
    for n in range(MAX_SNAPSHOTS + 3):
        made.snapshot(f"{n}", frame, ())
    assert made.state.dropped == {"snapshot": 3}
    made.start()
    made.stop()
    assert [len(kept.evidence_of(f"{n}")) for n in range(5)] == [0, 0, 0, 1, 1]


def noisy(n: int) -> Frame:
    """A picture that takes some 230 kB."""
    film = Film()
    image = np.random.default_rng(n).integers(0, 256, (480, 640, 3), np.uint8)
    return Frame("gate", n + 1, film.stamp(n), image)


def test_files_take_no_more_space_than_allowed(kept: Journal, folder: Path) -> None:
    made = recorder(kept, folder, max_mb=10)
    made.start()
    sizes = []
    for n in range(50):
        sizes.append(made.snapshot(f"{n}", noisy(n), ()).bytes)
        until(lambda: made.state.waiting == 0)  # so that the queue's own bound does not come into it
    made.stop()
    assert sum(sizes) > 11_000_000
    assert 9_000_000 < sum(p.stat().st_size for p in folder.iterdir()) <= 10_000_000
    assert kept.evidence_of("0") == ()
    assert len(kept.evidence_of("49")) == 1


# -- the disk ----------------------------------------------------------------------------------------------------------


def test_what_a_power_cut_left_behind_is_cleared_away(kept: Journal, folder: Path, clock: ManualClock) -> None:
    folder.mkdir()
    known, orphan = f"{1:064x}.jpg", f"{2:064x}.mp4"
    part, foreign = "0198c0de-0000-7000-8000-000000000000.part", "notes.txt"
    for name in (known, orphan, part, foreign):
        (folder / name).write_bytes(b"x")
    kept.evidence(EvidenceRef(f"{1:064x}", "snapshot", 1), "a", folder / known, clock.now())
    made = recorder(kept, folder)
    made.start()
    made.stop()
    assert sorted(p.name for p in folder.iterdir()) == sorted([known, foreign])


def test_a_full_disk_is_said_once_counted_and_over_when_it_is_over(
    kept: Journal, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    film, made = Film(), recorder(kept, small_disk / "evidence")
    made.start()
    film.run(made, 0, 3)
    foreign = fill(small_disk)
    for n in range(5):
        made.snapshot(f"lost-{n}", noisy(n), ())
    made.clip("lost-clip", "gate", film.stamp(1.5))
    until(lambda: made.state.waiting == 0)
    assert made.state.dropped == {"snapshot": 5, "clip": 1}
    assert made.state.trouble is Trouble.DISK_FULL
    assert sum("evidence cannot be written" in m for m in caplog.messages) == 1
    foreign.unlink()
    made.snapshot("kept", noisy(9), ())
    made.stop()
    assert made.state.detail == ""
    assert picture(only(kept, "kept")).shape == (480, 640, 3)
    assert [p.suffix for p in (small_disk / "evidence").iterdir()] == [".jpg"]  # nothing half-written stays


def test_on_a_full_disk_older_clips_make_room_for_a_snapshot(
    kept: Journal, small_disk: Path, clock: ManualClock
) -> None:
    folder = small_disk / "evidence"
    folder.mkdir()
    for n, kind in enumerate(["snapshot", "clip", "clip"]):
        path = folder / f"{n:064x}{'.mp4' if kind == 'clip' else '.jpg'}"
        path.write_bytes(b"x" * 300_000)
        kept.evidence(EvidenceRef(f"{n:064x}", kind, 300_000), f"old-{n}", path, clock.now())
    made = recorder(kept, folder)
    made.start()
    fill(small_disk)
    made.snapshot("new", noisy(1), ())
    made.stop()
    assert [len(kept.evidence_of(alarm)) for alarm in ("old-0", "old-1", "old-2", "new")] == [1, 0, 0, 1]
    assert made.state.dropped == {}


def test_a_folder_that_cannot_be_made_is_trouble_not_an_end(kept: Journal, tmp_path: Path) -> None:
    blocked = tmp_path / "a-file"
    blocked.write_bytes(b"")
    film, made = Film(), recorder(kept, blocked / "evidence")
    made.start()
    made.snapshot("a", film.frame(0), ())
    made.stop()
    assert (made.state.trouble, made.state.dropped) == (Trouble.IO, {"snapshot": 1})


def test_clips_are_made_behind_everything_else(kept: Journal, folder: Path) -> None:
    film, made = Film(), recorder(kept, folder)
    niceness: SimpleQueue[int] = SimpleQueue()
    made.start()
    film.run(made, 0, 4)
    made.clip(
        "a",
        "gate",
        film.stamp(2.0),
        lambda _: niceness.put(os.getpriority(os.PRIO_PROCESS, threading.get_native_id())),
    )
    assert niceness.get(timeout=20) > os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    made.stop()
