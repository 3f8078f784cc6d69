"""chrony.conf in a real chronyd that may not set a clock: it tells the time, also when it has nobody to ask."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from broker.embedded import free_port
from tests.server.builders import edit, make, program, run
from tests.servers import HOST
from tests.waiting import until

SINCE_1900_S = 2_208_988_800


def _asked(port: int) -> tuple[int, float] | None:
    """Stratum and time of an answer (RFC 5905, section 7.3); None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.3)
        udp.connect((HOST, port))
        try:
            udp.send(b"\x23" + 39 * b"\0" + os.urandom(8))  # version 4, client
            answer = udp.recv(100)
        except OSError:
            return None
    seconds, fraction = struct.unpack("!II", answer[40:48])
    return answer[1], seconds - SINCE_1900_S + fraction / 2**32


def test_nodes_get_the_servers_time_when_nobody_else_answers(tmp_path: Path) -> None:
    chronyd = program("chronyd", "chrony")
    folder = make(tmp_path / "srv", "--ntp", HOST)
    own = Path(tempfile.mkdtemp(prefix="banksman-ntp-"))  # not in pytest's folder, which is root's alone
    file, port = own / "chrony.conf", free_port()
    file.write_bytes((folder / "ntp/chrony.conf").read_bytes())
    more = f"port {port}\ncmdport 0\nbindcmdaddress /\npidfile {own}/pid\n"
    edit(file, (r"bindcmdaddress 127\.0\.0\.1\n", more), (rf"server {HOST} iburst", f"server {HOST} port 9"))
    own.chmod(0o755)
    shutil.chown(own, "nobody") if os.geteuid() == 0 else None
    with (tmp_path / "log").open("wb") as log:
        # As in its container: it is not root, and may not set the clock.
        as_nobody = ["setpriv", "--reuid=nobody", "--clear-groups", "--bounding-set=-all"]
        command = [
            *(as_nobody if os.geteuid() == 0 else []),
            chronyd,
            "-d",
            "-x",
            "-U",
            "-u",
            "nobody",
            "-f",
            str(file),
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: _asked(port) is not None, "chronyd does not answer")
        answer = _asked(port)
        assert answer is not None
        stratum, told = answer
        assert stratum == 10
        assert abs(told - time.time()) < 1
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(own)


def test_chrony_takes_it(tmp_path: Path) -> None:
    chronyd = program("chronyd", "chrony")
    folder = make(tmp_path / "srv", "--ntp", "ntp.example.cn", "--ntp", "10.0.0.1", "--ntp", "fd00::1")
    said = run(chronyd, "-p", "-f", folder / "ntp/chrony.conf").splitlines()
    assert said[:3] == ["pool ntp.example.cn iburst", "server 10.0.0.1 iburst", "server fd00::1 iburst"]
    assert "allow" not in said  # not the whole world
    assert "allow 192.168.0.0/16" in said
