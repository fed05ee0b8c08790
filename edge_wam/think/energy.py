"""Joules, where the machine tells: a PC's processor counts them (RAPL), a Jetson's rails have to be sampled.

    with measured() as spent:
        ...
    spent.joules, spent.what       # NaN and '' where nobody tells, or only root may ask

What is measured is everything that hangs on the supply, idle neighbours included: the whole package, or the
whole module.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SYS = Path("/sys")
EVERY_S = 0.02  # a rail's current is averaged over a few milliseconds by the sensor itself
# What makes up the whole module, by the labels of its INA3221: an Orin Nano or NX; an AGX Orin, which has no
# rail of its own for that (jetson_stats adds up the same).
MODULES = (("VDD_IN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
CHANNELS = (1, 2, 3)


class Spent:
    """joules is known once the block has been left."""

    def __init__(self) -> None:
        self.joules, self.what = float("nan"), ""


class Rail(NamedTuple):
    """A channel of an INA3221, as the kernel's hwmon has it: mV and mA."""

    voltage: Path
    current: Path

    def watts(self) -> float:
        return int(self.voltage.read_text()) * int(self.current.read_text()) / 1e6


@contextlib.contextmanager
def measured(sys: Path = SYS) -> Iterator[Spent]:
    """What is spent in the block. Never fails: who does not tell tells nothing."""
    spent = Spent()
    if rails := module(sys):
        with _sampled(lambda: sum(rail.watts() for rail in rails.values()), spent):
            yield spent
        spent.what = " + ".join(rails)
        return
    before = counters(sys)
    yield spent
    after = counters(sys)
    if before and set(before) == set(after):
        # A counter begins anew after some minutes under load.
        wrapped = ((after[path][0] - uj) % limit_uj for path, (uj, limit_uj) in before.items())
        spent.joules, spent.what = sum(wrapped) / 1e6, "package"


def told(sys: Path = SYS) -> bool:
    """Whether anybody here would tell."""
    return bool(module(sys) or counters(sys))


def module(sys: Path) -> dict[str, Rail]:
    """The rails of MODULES that are here, by label; {} if none or not all of them are."""
    found = {}
    for folder in sorted((sys / "bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*")):
        for channel in CHANNELS:
            with contextlib.suppress(OSError, ValueError):
                rail = Rail(folder / f"in{channel}_input", folder / f"curr{channel}_input")
                label = (folder / f"in{channel}_label").read_text().strip()
                rail.watts()  # a channel that is switched off has a label, and no answer
                found[label] = rail
    whole = next((labels for labels in MODULES if set(labels) <= set(found)), ())
    return {label: found[label] for label in whole}


def counters(sys: Path) -> dict[Path, tuple[int, int]]:
    """Intel's and AMD's packages: microjoules since some moment, and where the counter begins anew; {} where
    one of them does not tell."""
    try:
        return {
            package: (
                int((package / "energy_uj").read_text()),
                int((package / "max_energy_range_uj").read_text()),
            )
            for package in (sys / "class/powercap").glob("*-rapl:*")
            if package.name.count(":") == 1
        }
    except (OSError, ValueError):
        return {}


@contextlib.contextmanager
def _sampled(watts: Callable[[], float], spent: Spent) -> Iterator[None]:
    """Integrates by the trapezoid's rule, in a thread of its own; NaN if the sensor falls silent."""
    ended = threading.Event()

    def sample() -> None:
        joules = 0.0
        try:
            then_s, before = time.monotonic(), watts()
            last = False
            while not last:
                last = ended.wait(EVERY_S)
                now_s, now = time.monotonic(), watts()
                joules += (now_s - then_s) * (before + now) / 2
                then_s, before = now_s, now
        except (OSError, ValueError):
            return
        spent.joules = joules

    thread = threading.Thread(target=sample, name="rails", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
