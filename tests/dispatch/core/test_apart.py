"""A worker's jobs are done in a process of their own: both live, and end, together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.dispatch.database import migrate, open_engine, reading
from broker.dispatch.tables import Job
from deploy.dispatch import JOBS_NICE
from tests.conftest import REPO
from tests.dispatch.site_server import write_settings
from tests.servers import Mosquitto
from tests.waiting import until

Process = subprocess.Popen[bytes]


def children(process: Process) -> list[int]:
    return [int(n) for n in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Process, int]]:
    """A worker, and the id of its process for jobs, which has begun to work."""
    engine = open_engine(f"sqlite:///{tmp_path / 'dispatch.db'}")
    migrate(engine)

    def done() -> bool:
        """`retention` was seen to; only the other process does that."""
        with reading(engine) as session:
            return any(job.due > job_began for job in session.scalars(select(Job).where(Job.kind == "retention")))

    with Mosquitto(tmp_path / "broker") as broker:
        file = write_settings(tmp_path, f"sqlite:///{tmp_path / 'dispatch.db'}", broker.port)
        job_began = file.stat().st_mtime + 1800
        command = [str(Path(sys.executable).with_name("banksman")), "dispatch", "worker", str(file)]
        process = subprocess.Popen(command, cwd=REPO, start_new_session=True)
        try:
            until(done, timeout=60.0)
            yield process, children(process)[0]
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
            engine.dispose()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_jobs_give_way_to_the_intake(pair: tuple[Process, int]) -> None:
    worker, jobs = pair
    assert os.getpriority(os.PRIO_PROCESS, jobs) == os.getpriority(os.PRIO_PROCESS, worker.pid) + JOBS_NICE


def test_a_worker_whose_jobs_died_ends_with_an_error(pair: tuple[Process, int]) -> None:
    worker, jobs = pair
    os.kill(jobs, signal.SIGKILL)
    assert worker.wait(30) > 0, "the service manager starts both again"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_jobs_end_with_their_worker(pair: tuple[Process, int], how: signal.Signals) -> None:
    worker, jobs = pair
    worker.send_signal(how)
    assert worker.wait(30) == (0 if how is signal.SIGTERM else -how)
    until(lambda: gone(jobs))
