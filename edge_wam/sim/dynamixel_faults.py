"""The faults of `edge-wam faults --servos dynamixel`: those of sim/fault_list.py that any servo may have, and
what only Dynamixel X servos do: alerts, hardware errors, reboots, a bus watchdog, stuffing, joined answers.

In a joined answer every servo's CRC runs over those before it, so a reply is bent by taking the whole packet
apart and putting it together again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.dynamixel import JoinedReader, Status, StatusReader
from edge_wam.sim.fault_list import FAULTS, ONE, bend, servo, wire
from edge_wam.sim.faults import Fault, Rig
from edge_wam.sim.servos import Reply

_POSITION = slice(10, 14)  # of the block's 17 bytes
_EFFORT_SPEED = slice(4, 10)
_HEADER_LIKE = b"\xff\xff\xfd\x00\x00\x00"  # load -0.1 %, 253 counts of speed; byte for byte a header


def say(rig: Rig, lasts_s: float, how: Callable[[Status], Status]) -> None:
    """Every servo's answer as `how` makes it, in a packet that is right in every other way."""
    rig.tamper.bend = partial(_again, how)
    rig.at(rig.t_s + lasts_s, lambda: setattr(rig.tamper, "bend", None))


def _again(how: Callable[[Status], Status], replies: list[Reply]) -> list[Reply]:
    if not replies or replies[0].data[4] != dynamixel.BROADCAST_ID:
        return [reply._replace(data=b"".join(dynamixel.status(*how(one)) for one in _read(reply)))
                for reply in replies]  # fmt: skip
    length = int.from_bytes(replies[0].data[5:7], "little")
    said = JoinedReader(table.BLOCK_BYTES, len(replies)).feed(b"".join(reply.data for reply in replies))
    if len(said) != len(replies):
        return replies  # bent already
    pieces = dynamixel.joined([how(one) for one in said], length)
    return [reply._replace(data=piece) for reply, piece in zip(replies, pieces, strict=True)]


def _read(reply: Reply) -> list[Status]:
    return StatusReader(dynamixel.LONGEST_PARAMETERS - 1).feed(reply.data)


def _of_one(how: Callable[[Status], Status]) -> Callable[[Status], Status]:
    return lambda status: how(status) if status.servo_id == ONE else status


def alert(status: Status) -> Status:
    return status._replace(code=status.code | dynamixel.ALERT)


def refusal(status: Status) -> Status:
    return status._replace(code=status.code | dynamixel.RESULT_FAIL)


def another(status: Status) -> Status:
    return status._replace(servo_id=9)


def shorter(status: Status) -> Status:
    return status._replace(parameters=status.parameters[:-3])


def elsewhere(counts: int, status: Status) -> Status:
    """An encoder that says something else."""
    if len(status.parameters) != table.BLOCK_BYTES:
        return status
    there = int.from_bytes(status.parameters[_POSITION], "little", signed=True) + counts
    block = bytearray(status.parameters)
    block[_POSITION] = there.to_bytes(4, "little", signed=True)
    return status._replace(parameters=bytes(block))


def header_inside(status: Status) -> Status:
    """Data that read as the beginning of a packet: stuffed in a plain answer, as they are in a joined one."""
    if len(status.parameters) != table.BLOCK_BYTES:
        return status
    block = bytearray(status.parameters)
    block[_EFFORT_SPEED] = _HEADER_LIKE
    return status._replace(parameters=bytes(block))


def two_servos_one_id(rig: Rig, reply: Reply) -> list[Reply]:
    """Both speak at once: the bytes are the one's and the other's."""
    if reply.servo_id != ONE:
        return [reply]
    return [reply._replace(data=bytes(byte & (byte ^ 0x5A) for byte in reply.data))]


def hardware_error(rig: Rig, error: int) -> None:
    """The elbow's register 70. Those that it shuts down for cut its torque."""
    elbow = rig.chain.servos[2]
    elbow.put(table.HARDWARE_ERROR, elbow.get(table.HARDWARE_ERROR) | error)


def error_and_reboot(rig: Rig) -> None:
    """It shuts down, and somebody reboots it half a second later."""
    hardware_error(rig, dynamixel.ERROR_SHOCK)
    rig.at(rig.t_s + 0.5, rig.chain.servos[2].power_on)


def tripped(rig: Rig, index: int) -> None:
    """As if that servo alone had not heard us for a while."""
    rig.chain.servos[index].trip()


def all_tripped(rig: Rig) -> None:
    for index in range(len(rig.chain.servos)):
        tripped(rig, index)


def header_inside_plain(rig: Rig) -> None:
    no_fast_reads(rig)
    say(rig, 10.0, header_inside)


def no_fast_reads(rig: Rig) -> None:
    """Another firmware: fast reads are not answered any more."""
    rig.chain.fast = False


_OTHERS = {  # Feetech's own, or with another end here
    "replies of a servo that is not ours",
    "replies of another length",
    "two servos with one id",
    "encoder says 90 degrees more, once",
    "encoder says 90 degrees less, for good",
    "one servo restarts",
    "all servos restart",
}
_ENDS = {  # where it ends otherwise than with Feetech's
    "control stopped for 1 s": "held",  # the bus watchdogs have stopped them meanwhile
    "control stopped for 3 s": "held",
    "no replies for 0.5 s": "held",
}
_SHARED = tuple(
    fault._replace(expected=_ENDS.get(fault.name, fault.expected))
    for fault in FAULTS
    if fault.name not in _OTHERS
)

DYNAMIXEL_FAULTS: tuple[Fault, ...] = (
    *_SHARED,
    wire("replies of a servo that is not ours", "went on", partial(say, lasts_s=0.5, how=_of_one(another))),
    wire("replies of another length", "went on", partial(say, lasts_s=0.5, how=shorter)),
    wire("two servos with one id", "let go", partial(bend, lasts_s=10.0, how=two_servos_one_id)),
    wire("data that look like a header", "went on", partial(say, lasts_s=10.0, how=header_inside)),
    wire("data that look like a header, in plain answers", "went on", header_inside_plain),
    wire("a firmware that knows no fast read", "went on", no_fast_reads),
    servo("encoder says 90 degrees more, once", "went on",
          partial(say, lasts_s=0.02, how=_of_one(partial(elsewhere, 1024)))),
    servo("encoder says 90 degrees less, for good", "let go",
          partial(say, lasts_s=60.0, how=_of_one(partial(elsewhere, -1024)))),
    servo("the alert bit, once", "went on", partial(say, lasts_s=0.02, how=_of_one(alert))),
    servo("the alert bit for good", "held", partial(say, lasts_s=60.0, how=_of_one(alert))),
    servo("answers that refuse", "went on", partial(say, lasts_s=60.0, how=refusal)),
    servo("hardware error: overload, torque off", "held",
          partial(hardware_error, error=dynamixel.ERROR_OVERLOAD)),
    servo("hardware error: encoder, torque on", "held",
          partial(hardware_error, error=dynamixel.ERROR_ENCODER)),
    servo("hardware error, then a reboot", "held", error_and_reboot),
    servo("one servo reboots", "held", lambda rig: rig.chain.servos[1].power_on()),
    servo("all servos reboot", "held", lambda rig: rig.chain.power_cycle()),
    servo("one bus watchdog has tripped", "held", partial(tripped, index=1)),
    servo("all bus watchdogs have tripped", "held", all_tripped),
)  # fmt: skip
