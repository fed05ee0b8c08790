"""The last word before the servos: finite, near the arm, in range, not too fast, not too sudden.

Pure arithmetic that trusts nobody upstream. Five promises hold for every call with finite last
targets, whatever is wished or measured, and are tested as such:

1. the target is finite and never farther than one step (speed * period) from the last target sent;
2. it never leaves the range, nor, where the arm was found outside of it, goes farther out; and it never
   comes towards an end of the range faster than the joint's acceleration can brake before that end;
3. while the arm follows (the last target within the lead of the measured pose, that pose in
   range), the target stays within the lead. A STS3215 has no watchdog: a goal that is near is what
   leaves a still arm when the host dies;
4. it speeds up by no more than acceleration * period a call, reversals included, unless the lead asks for it.
   Slowing down is not limited: a stop that takes its time is no stop, and the drives' own profile
   (act/arm.py) makes it a soft one.

5. where the robot's folder says how the arm is built (act/floor.py), no target takes the gripper below the
   floor, nor, where it was found there, deeper.

Speed is limited against the last target *sent*: against the measured pose, gravity's sag would pull
the target down a little every tick. Lead is limited against the *measured* pose: against the sent
one it would wind up against an obstacle. Speed comes last and so has priority over lead: one
garbled reading of an encoder must not become a lunge.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from edge_wam.types import FloatArray

FELT_RAD = 0.00077  # half a count of a 12-bit encoder: less than that is limited, but nobody's news


class Ground(Protocol):
    """What lies below the arm (act/floor.py)."""

    def reach(self, from_rad: FloatArray, to_rad: FloatArray) -> FloatArray:
        """As far from one pose towards another as there is room."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What the arm may do. All arrays (J,), read-only; park_rad is None if there is no resting pose, floor
    if nothing is known of the arm's geometry."""

    joints: tuple[str, ...]
    low_rad: FloatArray
    high_rad: FloatArray
    speed_rad_s: FloatArray
    lead_rad: FloatArray
    acceleration_rad_s2: FloatArray
    park_rad: FloatArray | None = None
    floor: Ground | None = None


class Limited(NamedTuple):
    """How many joints were limited in one call by what a servo can feel, by reason. not_finite counts
    the wish's and the measured pose's bad numbers."""

    not_finite: int
    lead: int
    range: int
    acceleration: int
    speed: int
    floor: int = 0

    @property
    def any(self) -> bool:
        return sum(self) > 0


def limit(
    wish_rad: FloatArray | None,
    sent_rad: FloatArray,
    before_rad: FloatArray,
    measured_rad: FloatArray,
    limits: Limits,
    period_s: float,
) -> tuple[FloatArray, Limited]:
    """The target to send, and what was limited. All poses (J,); before_rad was sent before sent_rad.

    A wish that is None, or holds a single number that is not finite, means hold: not zero, for a
    position servo zero is a move. A joint whose measured pose is not finite keeps its last target.
    ValueError if the last targets themselves are not finite: then nothing is known and nothing may be sent.
    """
    if not (np.isfinite(sent_rad).all() and np.isfinite(before_rad).all()):
        raise ValueError(f"the last target sent is not finite: {sent_rad}, before it {before_rad}")
    wish_rad = sent_rad if wish_rad is None else wish_rad
    bad = int(np.count_nonzero(~np.isfinite(wish_rad)))
    if bad:
        wish_rad = sent_rad
    unseen = ~np.isfinite(measured_rad)
    wish_rad = np.where(unseen, sent_rad, wish_rad)
    measured_rad = np.where(unseen, sent_rad, measured_rad)

    nearest_rad, farthest_rad = measured_rad - limits.lead_rad, measured_rad + limits.lead_rad
    near = np.clip(wish_rad, nearest_rad, farthest_rad)
    low_rad = np.minimum(limits.low_rad, sent_rad)  # found outside: it may come in, not go farther out
    high_rad = np.maximum(limits.high_rad, sent_rad)
    inside = np.clip(near, low_rad, high_rad)

    most_rad = limits.speed_rad_s * period_s  # a step
    last_rad = sent_rad - before_rad
    push_rad = limits.acceleration_rad_s2 * period_s**2  # by which a step may be longer than the last
    back_rad = np.minimum(push_rad - np.minimum(last_rad, 0), _braking(sent_rad - low_rad, push_rad))
    forth_rad = np.minimum(push_rad + np.maximum(last_rad, 0), _braking(high_rad - sent_rad, push_rad))
    smooth = np.clip(inside, sent_rad - back_rad, sent_rad + forth_rad)

    # The hard ones again, for a step that was not free to be as short as they wish.
    safe = np.clip(np.clip(smooth, nearest_rad, farthest_rad), low_rad, high_rad)
    fast = np.clip(safe, sent_rad - most_rad, sent_rad + most_rad)
    # On the way from one pose that keeps the other promises to another, so that they are kept.
    target_rad = fast if limits.floor is None else limits.floor.reach(sent_rad, fast)

    stages = wish_rad, near, inside, safe, fast, target_rad
    with np.errstate(over="ignore"):  # from a wish of 1e308 it is infinitely far
        felt = [np.abs(after - before) > FELT_RAD for before, after in itertools.pairwise(stages)]
    return target_rad, Limited(bad + int(np.count_nonzero(unseen)), *map(int, map(np.count_nonzero, felt)))


def slowed(limits: Limits, scale: float) -> Limits:
    """The same arm, more slowly: speed and lead times scale (0..1)."""
    return dataclasses.replace(
        limits, speed_rad_s=limits.speed_rad_s * scale, lead_rad=limits.lead_rad * scale
    )


def _braking(room_rad: FloatArray, push_rad: FloatArray) -> FloatArray:
    """The longest step towards an end that is room_rad away, such that steps that get shorter by push_rad
    each come to rest on it: n of them, step + (step - push) + ... = n step - push n (n - 1) / 2 = room."""
    count = np.maximum(1, np.ceil((np.sqrt(1 + 8 * room_rad / push_rad) - 1) / 2))
    step_rad: FloatArray = room_rad / count + push_rad * (count - 1) / 2
    return step_rad
