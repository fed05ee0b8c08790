"""The cameras that a person calibrates: those on the USB bus, or those of a simulated robot."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge_wam.errors import CameraError, EdgeWamError
from edge_wam.sense.camera import CameraCalibration, CameraSpec, load_calibration
from edge_wam.sense.realsense import Device, Plugged, Simulated, plugged
from edge_wam.service.terminal import Terminal

_TIMEOUT_S = 10.0


class Eyes(NamedTuple):
    """There: what is plugged in. `context` is None for the USB bus."""

    there: Sequence[Plugged]
    context: Any

    def source(self, serial: str) -> Device | Simulated:
        """What a RealSenseCamera opens."""
        return Device(serial) if self.context is None else Simulated(serial, self.context)


@contextlib.contextmanager
def opened_eyes(simulation: Sequence[str] | None) -> Iterator[Eyes]:
    """The USB bus, or (camera.json, prefix) of a simulated robot's frames."""
    if simulation is None:
        yield Eyes(plugged(), None)
        return
    from edge_wam.robot import simulated  # the whole runtime, which nobody else here needs

    path, prefix = simulation
    sim, cameras = simulated("camera"), load_calibration(Path(path))
    devices = sim.SoftwareCameras(cameras)
    feeder = sim.FrameFeeder(sim.FrameInlet(prefix, [one.spec for one in cameras], _TIMEOUT_S), devices)
    feeder.start()
    try:
        context = devices.source(cameras[0].spec.name).context
        yield Eyes(plugged(context), context)
    finally:
        feeder.stop()


def choose(terminal: Terminal, eyes: Eyes, serial: str) -> Plugged:
    """The camera that was named, or the only one there is, or the one that is picked."""
    there = eyes.there
    if not there:
        raise CameraError("no RealSense is plugged in; try: a USB 3 port of its own, another cable")
    if serial:
        for one in there:
            if one.serial == serial:
                return one
        found = ", ".join(f"{one.model} {one.serial}" for one in there)
        raise CameraError(f"no RealSense with serial '{serial}'; found {found}")
    if len(there) == 1:
        return there[0]
    terminal.say("\n".join(f"  {n}  {one.model} {one.serial}" for n, one in enumerate(there, 1)))
    answer = terminal.ask(f"Which one? [1-{len(there)}]")
    if not (answer.isdigit() and 1 <= int(answer) <= len(there)):
        raise EdgeWamError(f"expected a number from 1 to {len(there)}, found '{answer}'; try: --serial")
    return there[int(answer) - 1]


def spec_of(name: str, size: str) -> CameraSpec:
    """What "424x240@30" says."""
    numbers = size.replace("@", "x").split("x")
    if len(numbers) != 3 or not all(number.isdigit() and int(number) for number in numbers):
        raise EdgeWamError(f"expected a size as 424x240@30, found '{size}'")
    width, height, fps = map(int, numbers)
    return CameraSpec(name, width, height, fps)


def largest(one: Plugged, spec: CameraSpec) -> CameraSpec:
    """The size with most pixels that has the shape of `spec`, at its highest rate up to 30 Hz."""
    sizes = [
        (width * height, CameraSpec(spec.name, width, height, max(slow)))
        for (width, height), rates in one.rates.items()
        if abs(width * spec.height - height * spec.width) <= spec.width  # 848x480 is not quite 16:9
        and (slow := [rate for rate in rates if rate <= 30])
    ]
    return max(sizes, key=lambda size: size[0])[1] if sizes else spec


def known_cameras(path: Path) -> tuple[CameraCalibration, ...]:
    """What the file says already; nothing if there is none."""
    return load_calibration(path) if path.exists() else ()
