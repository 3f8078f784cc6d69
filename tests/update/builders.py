"""Releases as `banksman release` makes them, of tiny real wheels, and a node's folders on which the guard works."""

from __future__ import annotations

import datetime as dt
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from deploy.release import build
from edge.update import guard

NOW = dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC)
GUARD = Path(guard.__file__)
PROGRAM = "print('hello')\n"


def tiny_wheel(folder: Path, version: str, program: str = PROGRAM, pth: str = "") -> Path:
    """A wheel of banksman whose command runs `program`. pth: folders that its Python finds modules in besides."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"banksman-{version}-py3-none-any.whl"
    info = f"banksman-{version}.dist-info"
    parts = {
        "banksman_tiny.py": "def main():\n" + "".join(f"    {line}\n" for line in program.splitlines()),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: banksman\nVersion: {version}\nProvides-Extra: node\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nbanksman = banksman_tiny:main\n",
    }
    if pth:
        parts["banksman_tiny.pth"] = pth
    with zipfile.ZipFile(path, "w") as wheel:
        record = ""
        for name, text in parts.items():
            wheel.writestr(name, text)
            record += f"{name},,\n"
        wheel.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


@dataclass
class Maker:
    """The administrator's computer: keys, and releases made and signed with them."""

    folder: Path
    made: int = 0

    @cached_property
    def keys(self) -> tuple[bytes, bytes]:
        return build.new_key("")

    @cached_property
    def public_key(self) -> Path:
        path = self.folder / "release.pub"
        path.write_bytes(self.keys[1])
        return path

    def signed(self, contents: build.Contents, sequence: int) -> Path:
        self.made += 1
        path = self.folder / f"{self.made}-{contents.name}-{contents.version}.tar"
        unsigned = io.BytesIO()
        build.write(contents, sequence, NOW, unsigned)
        unsigned.seek(0)
        with path.open("wb") as out:
            build.sign(unsigned, build.read_key(self.keys[0], ""), out)
        return path

    def app(
        self, version: str, sequence: int, program: str = PROGRAM, *, target: str | None = None, pth: str = ""
    ) -> Path:
        self.made += 1
        wheels = tiny_wheel(self.folder / f"wheels-{self.made}", version, program, pth).parent
        return self.signed(build.app(wheels, target or guard.machine()), sequence)

    def model(self, version: str, sequence: int, name: str = "site-v1", **more: bytes) -> Path:
        """more: files of it besides the manifest, by name without its ending."""
        self.made += 1
        folder = self.folder / f"model-{self.made}"
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"name": name, "version": version}))
        for stem, data in (more or {"model": b"weights of " + version.encode()}).items():
            (folder / f"{stem}.bin").write_bytes(data)
        return self.signed(build.model(folder), sequence)

    def raw(self, members: dict[str, bytes], values: bytes | None = None) -> Path:
        """A file with a right signature whose members are not checked by anybody. values: its release.json."""
        self.made += 1
        path = self.folder / f"{self.made}-raw.tar"
        data = values if values is not None else release_json(members)
        key = build.read_key(self.keys[0], "")
        path.write_bytes(tar_of({guard.RELEASE_JSON: data, guard.RELEASE_SIG: key.sign(data)} | members))
        return path


def release_json(members: dict[str, bytes], **other: object) -> bytes:
    """That lists these members. other: fields that differ from a good one's."""
    files = [{"path": name, "bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in members.items()]
    values = {"kind": "model", "name": "site-v1", "version": "9", "sequence": 9, "target": "any", "files": files}
    return json.dumps(values | {"made": "2026-11-27T08:00:00Z"} | other).encode()


def tar_of(members: dict[str, bytes]) -> bytes:
    """A plain tar, made by hand, so that it may hold what no library would write."""
    return b"".join(member(name, data) for name, data in members.items()) + bytes(1024)


def member(name: str, data: bytes, kind: bytes = b"0", link: str = "") -> bytes:
    """kind: type flag of ustar; link: where a link leads."""
    header = bytearray(512)
    for at, value in (
        (0, name.encode()),
        (100, b"0000644\0"),
        (124, b"%011o\0" % len(data)),
        (136, b"00000000000\0"),
        (148, b" " * 8),
        (156, kind),
        (157, link.encode()),
        (257, b"ustar\x0000"),
    ):
        header[at : at + len(value)] = value
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


@dataclass
class Box:
    """The folders of a node: what root owns, and what the node itself writes."""

    folder: Path
    maker: Maker
    root: Path = field(init=False)
    var: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root, self.var = self.folder / "opt", self.folder / "update"
        self.var.mkdir(parents=True)

    def install(self, tar: Path) -> guard.Release:
        return guard.install(tar, self.maker.public_key, self.root, self.var)

    def old_program(self, version: str, sequence: int) -> None:
        """In use, and good: as `install` leaves it, but without the time that a virtual environment takes."""
        program = self.root / f"releases/{version}/bin/banksman"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!{program.parent}/python\n{PROGRAM}")
        (program.parent / "python").symlink_to(sys.executable)
        program.chmod(0o755)
        data = release_json(
            {"guard.py": GUARD.read_bytes()}, kind="app", name="banksman", version=version, sequence=sequence,
            target=guard.machine(),
        )  # fmt: skip
        (program.parents[1] / "guard.py").write_bytes(GUARD.read_bytes())
        (program.parents[1] / guard.RELEASE_JSON).write_bytes(data)
        guard.take(self.root, guard.parse(data))

    def start(self) -> guard.Last | None:
        return guard.start(self.root, self.var)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """guard.py as the service manager runs it."""
        return subprocess.run(
            [sys.executable, "-I", GUARD, *arguments], capture_output=True, text=True, check=False, timeout=120
        )

    def says(self, *, well: bool, code: str = "ok", message: str = "") -> None:
        """The node's verdict on what is being tried."""
        trial = self.state.probation
        assert trial is not None
        values = {"id": trial.id, "well": well, "code": code, "message": message}
        (self.var / guard.VERDICT).write_text(json.dumps(values))

    @property
    def state(self) -> guard.State:
        return guard.read_state(self.root)

    @property
    def last(self) -> tuple[str, str]:
        """Outcome and code of the last update."""
        last = self.state.last
        assert last is not None
        return last.outcome, last.code

    def inuse(self, link: str = "current") -> str | None:
        """The folder that is in use, which is whole: every file is as its signed list says."""
        place = self.root / link
        if not place.is_symlink():
            return None
        release = guard.parse((place / guard.RELEASE_JSON).read_bytes())
        for listed in release.files:
            if not listed.path.startswith("wheels/"):
                assert sha256((place / listed.path).read_bytes()).hexdigest() == listed.sha256
        if release.kind == "app":
            assert (place / "bin/banksman").read_text().startswith(f"#!{self.root}/{release.folder}/bin/python")
        return place.readlink().as_posix()
