"""What the doctor finds out about cables: what hangs on which USB port, and how regularly frames come.

As in looks.py each look returns what was found, or raises.
"""

from __future__ import annotations

import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.config import SIMULATED, Config
from edge_wam.sense.camera import load_calibration
from edge_wam.sense.realsense import Device, RealSenseCamera
from edge_wam.service.looks import Imperfect
from edge_wam.types import FloatArray

SYS_USB = Path("/sys/bus/usb/devices")
SYS_TTY = Path("/sys/class/tty")
_AUDIO, _VIDEO, _HUB = "01", "0e", "09"  # usb.org, class codes
WATCH_S, SETTLE_S, WAIT_S = 3.0, 1.0, 1.0
_LATE, _GAP = 1.3, 2.5  # frames at less than their rate, a gap in them: in intervals


class Plug(NamedTuple):
    """What hangs on a USB port: the port as the kernel names it ("2-1.4"), megabits a second."""

    port: str
    name: str
    speed: float
    kind: str

    @property
    def hub(self) -> str:
        """The hub it hangs on; '' if that is the computer itself."""
        return self.port.rpartition(".")[0]

    def __str__(self) -> str:
        return f"{self.name} on {self.port} ({self.speed:g} Mbit/s)"


def usb(config: Config, devices: Path = SYS_USB, ttys: Path = SYS_TTY) -> str:
    """Cameras, sound and the arm's adapter, with the ports they hang on."""
    if not devices.is_dir():
        return "no USB on this machine"
    there = [plug for path in sorted(devices.iterdir()) if (plug := _plug(path))]
    tty = "" if config.robot.port == SIMULATED else os.path.basename(os.path.realpath(config.robot.port))
    adapter = os.path.realpath(ttys / tty / "device") if tty else ""
    ports = [part for part in adapter.split("/") if (devices / part).exists()]
    ours = [plug for plug in there if plug.kind or plug.port in ports]
    told = "; ".join(map(str, ours)) or "no camera, no microphone, no adapter"
    cameras = [plug for plug in ours if plug.kind == "camera"]
    for index, one in enumerate(cameras):
        for other in cameras[:index]:
            if one.hub and one.hub == other.hub:
                raise Imperfect(
                    f"{told}; {other.name} and {one.name} share the hub {one.hub}, and what it can carry; "
                    f"try: a port of the computer's own for each"
                )
    return told


def _plug(path: Path) -> Plug | None:
    """What a folder of SYS_USB stands for; None for hubs and for parts of devices."""
    if ":" in path.name or path.name.startswith("usb") or _read(path / "bDeviceClass") == _HUB:
        return None
    name = _read(path / "product") or f"{_read(path / 'idVendor')}:{_read(path / 'idProduct')}"
    classes = {_read(part / "bInterfaceClass") for part in path.glob(f"{path.name}:*")}
    kind = "camera" if _VIDEO in classes else "sound" if _AUDIO in classes else ""
    with contextlib.suppress(ValueError):
        return Plug(path.name, name, float(_read(path / "speed")), kind)
    return None


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""


def frames(config: Config, context: Any = None, watch_s: float = WATCH_S) -> str:
    """How regularly the cameras' frames come, all cameras at once: they share what the cables carry.
    context: an rs.context to look in, None for the USB bus."""
    named = {camera.name: camera.source for camera in config.cameras}
    known = load_calibration(config.robot.calibration / "camera.json")
    real = [
        RealSenseCamera(one.spec, Device(source, context))
        for one in known
        if not (source := named.get(one.spec.name, "sim-")).startswith("sim-") and not source.endswith(".db3")
    ]
    if not real:
        return "no camera that is plugged in"
    with contextlib.ExitStack() as stack:
        for camera in real:
            camera.start()
            stack.callback(camera.stop)
        with ThreadPoolExecutor(len(real)) as pool:
            found = list(pool.map(lambda camera: _times(camera, watch_s), real))
    told, bad = [], []
    for camera, times_s in zip(real, found, strict=True):
        text, well = rhythm(times_s, camera.spec.fps)
        told.append(f"{camera.name}: {text}")
        if not well:
            bad.append(camera.name)
    if bad:
        raise Imperfect(
            f"{'; '.join(told)}; {', '.join(bad)} too slow or with gaps; try: more light (a long exposure is "
            f"a slow camera), a shorter cable, a USB 3 port of its own"
        )
    return "; ".join(told)


def _times(camera: RealSenseCamera, watch_s: float) -> FloatArray:
    """When frames were exposed (s), once the exposure has settled."""
    from_s = time.monotonic() + SETTLE_S
    times_s: list[float] = []
    while (now_s := time.monotonic()) < from_s + watch_s:
        t_s = camera.newest(WAIT_S).t_s
        if now_s >= from_s:
            times_s.append(t_s)
    return np.array(times_s)


def rhythm(times_s: FloatArray, fps: int) -> tuple[str, bool]:
    """Intervals of frames that were exposed at times_s (N,) in words, and whether they are those of `fps`."""
    if len(times_s) < 3:
        return f"{len(times_s)} frames, expected {fps} a second", False
    gaps_s = np.diff(times_s)
    usual_s, longest_s = float(np.median(gaps_s)), float(gaps_s.max())
    well = usual_s * fps < _LATE and longest_s * fps < _GAP
    return f"a frame every {1e3 * usual_s:.1f} ms of {1e3 / fps:.1f}, longest {1e3 * longest_s:.0f} ms", well
