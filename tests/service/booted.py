"""Machines to install on: Debian, its own systemd as PID 1, in namespaces of this one (`make test-service`).

    with Box("bookworm") as box:
        box.run("systemctl", "start", "edge-wam")

Roots (mmdebstrap) and wheels are made once and kept in a cache outside the tree, by what they were made of.
A box is util-linux's unshare in a control group of its own: processes, mounts, network (none) and hostname
are its own, everything it writes is memory. It dies with whoever started it, however that dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from machine import ENVIRONMENT, POLL_S, Machine, done

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "box"
PACKAGES = (
    "systemd,systemd-sysv,udev,dbus,python3,python3-venv,sudo,"
    # what README.md asks a machine for: pictures of the simulated cameras, and a microphone's library
    "libegl1,libegl-mesa0,libgl1-mesa-dri,libopengl0,libportaudio2"
)
EXTRAS = "sim,voice,calibrate,record,web"
PYTHONS = {"bullseye": "3.9", "bookworm": "3.11", "trixie": "3.13"}
PREFIX = "edge-wam-box-"
BOOT_S, OLD_S = 60.0, 600.0


def lacking() -> str:
    """Why no box can be had here, or ''."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "a box needs root, for mounts and namespaces"
    missing = [tool for tool in ("mmdebstrap", "unshare", "nsenter", "setpriv") if shutil.which(tool) is None]
    if missing:
        return f"a box needs {', '.join(missing)}; try: apt-get install mmdebstrap util-linux"
    return "" if _unified() else "a box needs a cgroup2 file system that is mounted"


def cache() -> Path:
    """Where roots and wheels are kept."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge-wam" / "box"


def _unified() -> Path | None:
    """Where the control groups (version 2) are."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2":
            return Path(where)
    return None


def made(path: Path, make: Callable[[Path], None]) -> Path:
    """The folder `path`, made if it is not there: whole or not at all."""
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as draft:
            make(Path(draft) / "it")
            os.rename(Path(draft) / "it", path)
    return path


def key(*of: str) -> str:
    return hashlib.sha256("\n".join(of).encode()).hexdigest()[:12]


def root(suite: str) -> Path:
    """A Debian of this suite (1.5 minutes the first time)."""

    def make(folder: Path) -> None:
        words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite, str(folder)]
        subprocess.run(words, check=True)

    return made(cache() / f"root-{suite}-{key(suite, PACKAGES)}", make)


def wheels(suite: str) -> Path:
    """Every package that edge_wam needs there, without edge_wam (20 s the first time)."""

    def make(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip"]
        # Vosk wants srt, which has no wheel.
        subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "-w", str(folder), "srt"], check=True)
        words = ["--only-binary=:all:", f"--python-version={PYTHONS[suite]}", f"--find-links={folder}"]
        subprocess.run(
            [*pip, "download", "--quiet", *words, "-d", str(folder), f"{ROOT}[{EXTRAS}]"], check=True
        )

    return made(cache() / f"wheels-{PYTHONS[suite]}-{key((ROOT / 'setup.py').read_text())}", make)


def wheel(folder: Path) -> None:
    """edge_wam's own wheel, of this tree as it is, into the folder."""
    with tempfile.TemporaryDirectory() as draft:  # building leaves folders behind
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, draft)
        shutil.copytree(
            ROOT / "edge_wam", Path(draft) / "edge_wam", ignore=shutil.ignore_patterns("__pycache__")
        )
        words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), draft]
        subprocess.run(words, check=True)


def index(folder: Path, suite: str) -> None:
    """A package index (PEP 503) as files: all wheels, and what building edge_wam itself needs."""

    def make(tools: Path) -> None:
        words = ["--quiet", "--only-binary=:all:", f"--python-version={PYTHONS[suite]}", "--no-deps"]
        pip = [sys.executable, "-m", "pip", "download", *words, "-d", str(tools)]
        subprocess.run([*pip, "pip>=24", "setuptools", "wheel"], check=True)

    tools = made(cache() / f"tools-{PYTHONS[suite]}", make)
    for path in (*wheels(suite).glob("*.whl"), *tools.glob("*.whl")):
        place = folder / path.name.partition("-")[0].replace("_", "-").replace(".", "-").lower()
        place.mkdir(parents=True, exist_ok=True)
        os.link(path, place / path.name)


class Box(Machine):
    """One machine; `shared` is a folder of both worlds, /srv/shared inside."""

    def __init__(self, suite: str) -> None:
        self.suite = suite
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Box:
        with contextlib.ExitStack() as stack:
            lower = root(self.suite)
            unified = _unified()
            assert unified is not None
            _sweep(unified)
            self.shared = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=cache())))
            group = unified / self.shared.name
            group.mkdir()
            stack.callback(_remove_group, group)
            words = ["unshare", "--kill-child", "--fork", "--pid", "--mount"]
            words += ["--uts", "--ipc", "--net", "--cgroup", "sh", str(HERE / "boot.sh")]
            # The group first: a namespace of control groups begins where its first process is.
            script = f'echo $$ >"{group}/cgroup.procs" && exec "$@"'
            self._log = (self.shared / "console").open("wb")
            stack.callback(self._log.close)
            self._outside = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "sh",
                    "-c",
                    script,
                    "sh",
                    *words,
                    lower,
                    self.shared,
                    ROOT,
                ],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
            stack.callback(self._outside.wait)
            stack.callback(self._outside.kill)
            self._wait_running()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wait_running(self) -> None:
        began_s = time.monotonic()
        while time.monotonic() - began_s < BOOT_S and self._outside.poll() is None:
            if pid := _child_of(self._outside.pid):
                self.pid = pid
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(POLL_S)
        raise RuntimeError(f"{self.suite} did not boot: {(self.shared / 'console').read_text()[-1000:]}")

    def run(
        self, *words: str, check: bool = True, timeout_s: float = 300.0, wish: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        inside = ["nsenter", "--target", str(self.pid), "--all", "--", "/usr/bin/env", "-i"]
        ran = subprocess.run(
            [*inside, *ENVIRONMENT, *words], capture_output=True, text=True, timeout=timeout_s, input=wish
        )
        return done(words, ran.returncode, ran.stdout, ran.stderr, check)


def _child_of(pid: int) -> int:
    """The first process inside; 0 before it is there."""
    found = Path(f"/proc/{pid}/task/{pid}/children")
    words = found.read_text().split() if found.exists() else []
    return int(words[0]) if words else 0


def _sweep(unified: Path) -> None:
    """Folders and empty groups of boxes whose test was killed. (Their processes died with it.)"""
    for folder in cache().glob(f"{PREFIX}*"):
        group = unified / folder.name
        alive = group.is_dir() and "populated 1" in (group / "cgroup.events").read_text()
        if not alive and time.time() - folder.stat().st_mtime > OLD_S:
            shutil.rmtree(folder)
            if group.is_dir():
                _remove_group(group)


def _remove_group(group: Path) -> None:
    """It is empty once the last process has been reaped."""
    for _ in range(100):
        try:
            for path in sorted(group.rglob("*"), reverse=True):
                if path.is_dir():
                    path.rmdir()
            group.rmdir()
            return
        except OSError:
            time.sleep(POLL_S)
