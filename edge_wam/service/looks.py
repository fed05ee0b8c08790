"""What the doctor finds out about the machine itself: each look returns what was found, or raises.

Imperfect is a robot that runs, but not as well as it could; any other EdgeWamError is one that does not.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
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
from edge_wam.sense.waker import lacking_ear
from edge_wam.think import store

RUNTIME = ("numpy", "openvino", "safetensors", "pyserial", "tqdm")
HARDWARE = ("pyrealsense2", "sounddevice", "soxr")
RECOGNISERS = ("vosk", "pocketsphinx")
_FREE_MB = 500
# L4T's first number -> its JetPack; what goes with it: Python, torch and torch-tensorrt, numpy (setup.py).
JETPACKS = {35: "JetPack 5", 36: "JetPack 6", 38: "JetPack 7", 39: "JetPack 7"}
MATRIX = {36: ("3.10", "2.8.", "1."), 39: ("3.12", "2.12.", "1.")}


class Imperfect(EdgeWamError):
    """Worth a line, no reason not to start."""


def machine(root: Path = Path("/")) -> str:
    """The system, and the Jetson's power mode if it is one."""
    said = [_os_name(root), platform.machine(), f"{os.cpu_count()} cores"]
    if not (l4t := l4t_of(root)):
        return ", ".join(said)
    said.append(f"{JETPACKS.get(l4t[0], 'a JetPack that is not known')} (L4T {'.'.join(map(str, l4t))})")
    mode = _first_line(["nvpmodel", "-q"])
    said.append(mode or "power mode unknown")
    if "MAXN" not in mode:
        raise Imperfect(f"{', '.join(said)}; full speed: sudo nvpmodel -m 0 && sudo jetson_clocks")
    return ", ".join(said)


def l4t_of(root: Path = Path("/")) -> tuple[int, ...]:
    """A Jetson's L4T, (36, 4, 3); () elsewhere."""
    try:
        text = (root / "etc/nv_tegra_release").read_text(encoding="utf-8")
    except OSError:
        return ()
    found = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return (int(found[1]), *map(int, found[2].strip(".").split("."))) if found else ()


def clocks(root: Path = Path("/")) -> str:
    """How fast the cores may run; on a Jetson, whether they stay there."""
    folder = root / "sys/devices/system/cpu/cpu0/cpufreq"
    try:
        governor = (folder / "scaling_governor").read_text(encoding="ascii").strip()
        least, most = (int((folder / f"scaling_{end}_freq").read_text()) / 1e6 for end in ("min", "max"))
    except (OSError, ValueError):
        return "not told by this kernel"
    said = f"{least:.1f} to {most:.1f} GHz by '{governor}'"
    if l4t_of(root) and least < most:
        raise Imperfect(f"{said}: slower whenever it idles between two thoughts; try: sudo jetson_clocks")
    return said


def packages(found: Callable[[str], str] = version, root: Path = Path("/")) -> str:
    """Python, and what the robot imports. Missing runtime packages are an error, others a warning; on a
    Jetson so is what does not go with its JetPack (setup.py, JETSON)."""
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
    if (l4t := l4t_of(root)) and (wrong := _off_matrix(l4t[0], found)):
        raise Imperfect(f"{told}; {wrong}")
    return told


def _off_matrix(l4t: int, found: Callable[[str], str]) -> str:
    """What does not go with a Jetson's system; '' if all does."""
    if (wanted := MATRIX.get(l4t)) is None:
        return f"nothing is known of L4T {l4t}; known: {', '.join(map(str, MATRIX))}"
    python, torch, numpy = wanted
    wrong = []
    if (here := ".".join(platform.python_version_tuple()[:2])) != python:
        wrong.append(f"Python {here}, expected {python}")
    for name, start in (("torch", torch), ("torch-tensorrt", torch), ("numpy", numpy)):
        try:
            version = found(name)
        except PackageNotFoundError:
            wrong.append(f"no {name}, expected {start}*")
            continue
        if not version.startswith(start):
            wrong.append(f"{name} {version}, expected {start}*")
    try_this = "; try: pip install 'edge-wam[jetson]' with NVIDIA's index of Jetson wheels"
    return f"for {JETPACKS[l4t]}: {', '.join(wrong)}{try_this}" if wrong else ""


def real_time() -> str:
    """What the control loop would get of this kernel."""
    said: list[str] = []
    with realtime(said.append):
        pass
    kernel = f"kernel {platform.release()}, {preemption(platform.version())}"
    if said:
        raise Imperfect(f"{'; '.join(said)}; {kernel}")
    return f"SCHED_FIFO, a core of its own, locked memory; {kernel}"


def preemption(version: str) -> str:
    """Whether a kernel (uname -v) can be interrupted anywhere."""
    for word in ("PREEMPT_RT", "PREEMPT_DYNAMIC", "PREEMPT"):
        if word in version.split():
            return word
    return "not preemptible"


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
        if config.voice.missing == "allow":
            raise Imperfect(str(error)) from None
        raise EdgeWamError(f'{error}; without one it starts only where voice.missing = "allow"') from None
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


def wake_word(config: Config) -> str:
    """What listens for the word that calls the robot, if there has to be one."""
    word = config.voice.wake.casefold().strip()
    if not word:
        return "none: every command counts"
    why = lacking_ear(word)
    return f"'{word}', by " + (f"the recogniser ({why})" if why else "an ear of its own")


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
