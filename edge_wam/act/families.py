"""The servo families an arm may be made of: which bus speaks to them, which arm knows their registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from edge_wam.act import dynamixel, feetech
from edge_wam.act.arm import Arm
from edge_wam.act.bus import Port, ServoBus
from edge_wam.act.calibration import Calibration
from edge_wam.act.dynamixel_arm import DynamixelArm
from edge_wam.act.dynamixel_bus import DynamixelBus
from edge_wam.act.feetech_arm import FeetechArm
from edge_wam.act.feetech_bus import FeetechBus


class Family(NamedTuple):
    """bus and arm of one kind of servo; error_text puts its error byte into words."""

    bus: Callable[[Port, Sequence[int]], ServoBus[Any]]
    arm: Callable[[Any, Calibration], Arm]
    error_text: Callable[[int], str]


# robot.servos of the settings -> family
FAMILIES: dict[str, Family] = {
    "feetech": Family(FeetechBus, FeetechArm, feetech.error_text),
    "dynamixel": Family(DynamixelBus, DynamixelArm, dynamixel.error_text),
}
