"""What the doctor finds out about the machine itself: each look returns what was found, or raises.

Imperfect is a robot that runs, but not as well as it could; any other EdgeWamError is one that does not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from edge_wam.config import SIMULATED, Config
from edge_wam.errors import CameraError, EdgeWamError, VoiceError
from edge_wam.realtime import realtime
from edge_wam.sense import similar
from edge_wam.sense.button import TERMINAL, examine, source_of
from edge_wam.sense.microphone import EAR, Microphone
from edge_wam.sense.soundcheck import level_dbfs, trouble
from edge_wam.think import store

RUNTIME = ("numpy", "openvino", "safetensors", "pyserial", "tqdm")
HARDWARE = ("pyrealsense2", "sounddevice", "soxr")
RECOGNISERS = ("vosk", "pocketsphinx")
_FREE_MB = 500


class Imperfect(EdgeWamError):
    """Worth a line, no reason not to start."""


def machine(root: Path = Path("/")) -> str:
    """The system, and the Jetson's power mode if it is one."""
    said = [_os_name(root), platform.machine(), f"{os.cpu_count()} cores"]
    l4t = root / "etc/nv_tegra_release"
    if not l4t.is_file():
        return ", ".join(said)
    said.append(l4t.read_text(encoding="utf-8").splitlines()[0].strip("# ").split(", GCID")[0])
    mode = _first_line(["nvpmodel", "-q"])
    said.append(mode or "power mode unknown")
    if "MAXN" not in mode:
        raise Imperfect(f"{', '.join(said)}; full speed: sudo nvpmodel -m 0 && sudo jetson_clocks")
    return ", ".join(said)


def packages(found: Callable[[str], str] = version) -> str:
    """Python, and what the robot imports. Missing runtime packages are an error, others a warning."""
    have, lacking = [], []
    for name in (*RUNTIME, *HARDWARE, *RECOGNISERS):
        try:
            have.append(f"{name} {found(name)}")
        except PackageNotFoundError:
            lacking.append(name)
    told = f"Python {platform.python_version()}, {', '.join(have)}"
    if bad := [name for name in lacking if name in RUNTIME]:
        raise EdgeWamError(f"{told}; missing: {', '.join(bad)}; try: pip install {' '.join(bad)}")
    hears = any(name not in lacking for name in RECOGNISERS)
    if worth := [name for name in lacking if name in HARDWARE or not hears]:
        raise Imperfect(f"{told}; missing: {', '.join(worth)}; try: pip install {' '.join(worth)}")
    return told


def real_time() -> str:
    """What the control loop would get of this kernel."""
    said: list[str] = []
    with realtime(said.append):
        pass
    if said:
        raise Imperfect("; ".join(said))
    return "SCHED_FIFO, a core of its own, locked memory"


def room(root: Path | None = None, memory: Path = Path("/dev/shm")) -> str:
    """Space for engines and for the mailboxes."""
    place = store.state() if root is None else root
    while not place.exists():
        place = place.parent
    told = []
    for where in (place, memory):
        free_mb = shutil.disk_usage(where).free >> 20
        if free_mb < _FREE_MB:
            raise Imperfect(f"{free_mb} MB free in {where}; less than {_FREE_MB} is little")
        told.append(f"{free_mb / 1024:.1f} GB free in {where}")
    return ", ".join(told)


def adapter(config: Config, sys_tty: Path = Path("/sys/class/tty")) -> str:
    """How long the USB adapter may sit on a reply: FTDI's chips wait 16 ms unless told otherwise."""
    if config.robot.port == SIMULATED:
        return "simulated"
    name, timer = latency_timer(config, sys_tty)
    if not timer.is_file():
        return f"{name}: no latency timer"
    wait_ms = int(timer.read_text())
    if wait_ms > 1:
        raise Imperfect(f"{name} waits {wait_ms} ms for more bytes; try: echo 1 | sudo tee {timer}")
    return f"{name} waits {wait_ms} ms for more bytes"


def latency_timer(config: Config, sys_tty: Path = Path("/sys/class/tty")) -> tuple[str, Path]:
    """The port's own name, and the file of its adapter's latency timer, if there is one."""
    name = os.path.basename(os.path.realpath(config.robot.port))
    return name, sys_tty / name / "device" / "latency_timer"


def cameras(config: Config) -> str:
    """Every RealSense that the settings name is plugged in, best into USB 3."""
    wanted = {c.name: c.source for c in config.cameras}
    real = {name: source for name, source in wanted.items() if not source.startswith("sim-")}
    serials = {name: source for name, source in real.items() if not source.endswith(".db3")}
    if missing := [
        source for source in real.values() if source.endswith(".db3") and not Path(source).is_file()
    ]:
        raise CameraError(f"no recording {missing[0]}")
    if not serials:
        return ", ".join(f"{name}: {source}" for name, source in wanted.items())
    from edge_wam.sense.realsense import sdk

    rs, there = sdk(), {}
    for device in rs.context().query_devices():
        info = {what: _info(device, getattr(rs.camera_info, what)) for what in _INFO}
        there[info["serial_number"]] = info
    told, slow = [], []
    for name, serial in serials.items():
        if serial not in there:
            raise CameraError(
                f"camera '{name}' ({serial}) is not plugged in; there is: {', '.join(there) or 'none'}"
            )
        info = there[serial]
        told.append(f"{name}: {info['name']} {serial}, firmware {info['firmware_version']}, USB "
                    f"{info['usb_type_descriptor']}")  # fmt: skip
        if info["usb_type_descriptor"].startswith("2"):
            slow.append(name)
    if slow:
        raise Imperfect(f"{'; '.join(told)}; {', '.join(slow)} in a USB 2 port or on a USB 2 cable")
    return "; ".join(told)


_INFO = ("serial_number", "name", "firmware_version", "usb_type_descriptor")


def _info(device: object, what: object) -> str:
    supports, get = device.supports, device.get_info  # type: ignore[attr-defined]
    return str(get(what)) if supports(what) else "unknown"


def microphone(config: Config, ear: Sequence[str] = EAR, listen_s: float = 2.0) -> str:
    """The input that would be listened to, and how it sounds."""
    said: list[str] = []
    source = Microphone(config.voice.device, said.append, ear)
    try:
        source.start()
        until_s, blocks = time.monotonic() + listen_s, []
        while time.monotonic() < until_s:
            if (block := source.read(0.2)) is not None:
                blocks.append(block.samples)
    except VoiceError as error:
        raise Imperfect(str(error)) from None
    finally:
        source.stop()
    told = f"{source.name}, {source.rate_hz} Hz"
    if said:
        raise Imperfect(f"{told}; {said[0]}")
    samples = np.concatenate(blocks)
    if wrong := trouble(samples):
        raise Imperfect(f"{told}, {wrong}")
    lost = source.dropped + source.overflows
    gaps = f", sound was lost {lost} times" if lost else ""
    return f"{told}, {level_dbfs(samples):.0f} dBFS{gaps}"


def button(config: Config) -> str:
    """The push-to-talk button, if there is to be one."""
    voice = config.voice
    if voice.listen != "push":
        return "not wanted: it always listens"
    source, told = source_of(voice.button, voice.button_key), []
    if source.kind:
        told.append(examine(source))
    if voice.button == TERMINAL:
        told.append("the space bar of edge-wam run's terminal")
    if config.web.may_command:
        told.append("the page's")
    if not told:
        raise Imperfect(
            "nobody can say a command: no voice.button, and the page may not; try: voice.button, "
            "or [web] may_command = true"
        )
    return "; ".join(told)


def likeness(config: Config) -> str:
    """Whether a sentence that is not understood can be asked back by what it is like."""
    why = similar.lacking(config.voice.language)
    return f"none: {why}" if why else "all-MiniLM-L6-v2: what is not understood is asked back"


def _os_name(root: Path) -> str:
    with contextlib.suppress(OSError):
        for line in (root / "etc/os-release").read_text(encoding="utf-8").splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
    return platform.system()


def _first_line(words: Sequence[str]) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0] if done.stdout else ""
