"""The faults of `edge-wam faults`: what happens, where it comes from, and what is to come of it.

Every entry says what a person would see. They are injected at the wire (what bytes come back, or none), in
the servo (its memory, heat, supply and encoder), at the policy's mailbox (what a policy process, or the
cameras behind it, would send or not), and in the host (the time it gets, the orders it is given).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from edge_wam.act import feetech
from edge_wam.mailbox import SLOTS
from edge_wam.orders import Order, Verb
from edge_wam.sim.faults import FAULT_S, Fault, Rig
from edge_wam.sim.servos import Reply
from edge_wam.types import ActionChunk, FloatArray

ALL, ONE = None, 3  # a servo's id; the elbow
STALLED = 0.95  # of the stall torque


# --- the wire -------------------------------------------------------------------------------


def drop(rig: Rig, count: int, servo_id: int | None) -> None:
    rig.tamper.drop(count, servo_id)


def unplugged(rig: Rig, lasts_s: float) -> None:
    """Nothing gets through, and nothing says so: the bus cable."""
    rig.tamper.unplugged = True
    rig.at(rig.t_s + lasts_s, lambda: setattr(rig.tamper, "unplugged", False))


def shorted(rig: Rig, lasts_s: float) -> None:
    """The data line against ground."""
    rig.wire.shorted = True
    rig.at(rig.t_s + lasts_s, lambda: setattr(rig.wire, "shorted", False))


def adapter_gone(rig: Rig) -> None:
    """The USB adapter: every call fails."""
    rig.wire.broken = True


def bend(rig: Rig, lasts_s: float, how: Callable[[Rig, Reply], list[Reply]]) -> None:
    """Replies as `how` makes them, for a while."""
    rig.tamper.bend = lambda replies: [bent for reply in replies for bent in how(rig, reply)]
    rig.at(rig.t_s + lasts_s, lambda: setattr(rig.tamper, "bend", None))


def noisy(rate: float, rig: Rig, reply: Reply) -> list[Reply]:
    """Each byte is another with this probability."""
    data = bytes(rig.rng.randrange(256) if rig.rng.random() < rate else byte for byte in reply.data)
    return [reply._replace(data=data)]


def stray(rig: Rig, reply: Reply) -> list[Reply]:
    return [reply._replace(data=bytes(rig.rng.randrange(256) for _ in range(9)) + reply.data)]


def headers(rig: Rig, reply: Reply) -> list[Reply]:
    """Noise that looks like the beginning of a packet."""
    return [reply._replace(data=b"\xff\xff\x03\x11" + reply.data)]


def echo(rig: Rig, reply: Reply) -> list[Reply]:
    """An adapter that hears itself."""
    return [reply._replace(data=rig.tamper.request + reply.data)]


def wrong_id(rig: Rig, reply: Reply) -> list[Reply]:
    return [reply._replace(data=feetech.status(9, 0, reply.data[5:-1]))]


def short(rig: Rig, reply: Reply) -> list[Reply]:
    """Whole and checksummed, but not as long as what was asked for."""
    return [reply._replace(data=feetech.status(reply.servo_id, 0, reply.data[5:-4]))]


def doubled(rig: Rig, reply: Reply) -> list[Reply]:
    return [reply, reply]


def two_servos_one_id(rig: Rig, reply: Reply) -> list[Reply]:
    """Both speak at once: the bytes are the one's and the other's."""
    if reply.servo_id != ONE:
        return [reply]
    other = feetech.status(ONE, 0, bytes(b ^ 0x5A for b in reply.data[5:-1]))
    return [reply._replace(data=bytes(a & b for a, b in zip(reply.data, other, strict=True)))]


def babble(rig: Rig, reply: Reply) -> list[Reply]:
    return [reply._replace(data=bytes(rig.rng.randrange(256) for _ in range(300)))]


def position_off(counts: int, rig: Rig, reply: Reply) -> list[Reply]:
    """An encoder that says something else, in a packet that is right in every other way."""
    if reply.servo_id != ONE or len(reply.data) != 6 + feetech.BLOCK_BYTES:
        return [reply]
    block = bytearray(reply.data[5:-1])
    there = int.from_bytes(block[:2], "little") + counts
    block[:2] = (there % 4096).to_bytes(2, "little")
    return [reply._replace(data=feetech.status(ONE, 0, bytes(block)))]


# --- the servos -----------------------------------------------------------------------------


def heat(rig: Rig, temperature_c: float) -> None:
    """The elbow is that hot, and stays so."""
    rig.every.append(lambda t_s: setattr(rig.chain.servos[2], "temperature_c", temperature_c))


def supply(rig: Rig, volts: float, lasts_s: float) -> None:
    before_v, rig.chain.supply_v = rig.chain.supply_v, volts
    rig.at(rig.t_s + lasts_s, lambda: setattr(rig.chain, "supply_v", before_v))


def obstacle(rig: Rig) -> None:
    """The elbow meets something that does not give way; it pushes against it."""
    plant, joint = rig.plant, 2
    here_rad = plant.position_rad.copy()

    def blocked(t_s: float) -> None:
        behind_rad = plant.goal_rad[joint] - here_rad[joint]
        plant.position_rad[joint] = here_rad[joint]
        plant.velocity_rad_s[joint] = 0.0
        plant.load[joint] = STALLED * np.sign(behind_rad) if abs(behind_rad) > 0.1 else 0.0

    rig.every.append(blocked)
    rig.think = lambda t_s: _rows(rig, t_s, lambda rows: rows + 0.6)  # it was on its way through


def restart(rig: Rig) -> None:
    """A dip of the supply: the shoulder's RAM is as after switching on, and it is limp."""
    rig.chain.servos[1].power_on()


def all_restart(rig: Rig) -> None:
    """The whole arm's supply, off and on."""
    rig.chain.power_cycle()


def loose_horn(rig: Rig) -> None:
    """The servo turns, and the shoulder does not."""
    plant, joint = rig.plant, 1
    here_rad = float(plant.position_rad[joint])

    def still(t_s: float) -> None:
        plant.position_rad[joint], plant.velocity_rad_s[joint] = here_rad, 0.0

    rig.every.append(still)
    rig.think = lambda t_s: _rows(rig, t_s, lambda rows: rows + 0.6)


# --- the policy, and the cameras behind it -----------------------------------------------------


def _rows(rig: Rig, t_s: float, how: Callable[[FloatArray], FloatArray]) -> ActionChunk:
    chunk = rig.swing(t_s)
    return chunk._replace(target_rad=how(chunk.target_rad))


def policy(rig: Rig, how: Callable[[Rig, float], ActionChunk | None]) -> None:
    """From now on it sends this."""
    rig.think = partial(how, rig)


def policy_for(rig: Rig, lasts_s: float, how: Callable[[Rig, float], ActionChunk | None]) -> None:
    policy(rig, how)
    rig.at(rig.t_s + lasts_s, lambda: setattr(rig, "think", rig.swing))


def nothing(rig: Rig, t_s: float) -> None:
    return None


def rows(how: Callable[[FloatArray], FloatArray]) -> Callable[[Rig, float], ActionChunk]:
    return lambda rig, t_s: _rows(rig, t_s, how)


def one_is(value: float) -> Callable[[Rig, float], ActionChunk]:
    def how(target_rad: FloatArray) -> FloatArray:
        bad: FloatArray = target_rad.copy()
        bad[5, 2] = value
        return bad

    return rows(how)


def other(
    later_s: float = 0.0, epoch: int | None = None, dt_s: float | None = None
) -> Callable[[Rig, float], ActionChunk]:
    """A chunk with other words on the envelope."""

    def how(rig: Rig, t_s: float) -> ActionChunk:
        chunk = rig.swing(t_s)
        return chunk._replace(
            t0_s=chunk.t0_s + later_s,
            epoch=chunk.epoch if epoch is None else epoch,
            dt_s=chunk.dt_s if dt_s is None else dt_s,
        )

    return how


def reordered(rig: Rig, t_s: float) -> ActionChunk:
    """Every second one is older than the one before it."""
    return other(later_s=-0.15 if round(t_s / rig.replan_s) % 2 else 0.0)(rig, t_s)


def into_the_table(rig: Rig, t_s: float) -> ActionChunk:
    """Shoulder forward, elbow out, fingers down."""
    return _rows(rig, t_s, lambda rows: np.tile([0.0, 1.2, 0.2, 0.2, 0.0, 0.5], (len(rows), 1)))


def shaking(rig: Rig, t_s: float) -> ActionChunk:
    off_rad = 0.5 if round(t_s / rig.replan_s) % 2 else -0.5
    return _rows(rig, t_s, lambda rows: rows + off_rad)


def flood(rig: Rig) -> None:
    rig.replan_s = 0.0


def torn(rig: Rig) -> None:
    """The policy dies in the middle of writing a chunk: the mailbox stays half written."""
    policy(rig, nothing)
    box = rig.chunks
    assert box is not None
    sequence = int(box._head[0]) + 1
    middle = box._slot_at(sequence % SLOTS) + box.dtype.itemsize // 2
    box._memory[middle : middle + 64] = bytes(64)
    box._head[0] = sequence  # as if the last line of Mailbox.put had come before the others


# --- the host ---------------------------------------------------------------------------------


def paused(rig: Rig, lasts_s: float) -> None:
    """Control gets no time: another process on its core, or SIGSTOP and SIGCONT."""
    taken = rig.orders.take

    def slow() -> list[Order]:
        rig.orders.take = taken  # type: ignore[method-assign]
        rig.clock.advance(lasts_s)
        return taken()

    rig.orders.take = slow  # type: ignore[method-assign]


def hog(rig: Rig) -> None:
    """Every tick begins up to 30 ms late."""
    taken = rig.orders.take

    def slow() -> list[Order]:
        rig.clock.advance(rig.rng.uniform(0.0, 0.03))
        return taken()

    rig.orders.take = slow  # type: ignore[method-assign]


def clock_set(rig: Rig, by_s: float) -> None:
    """Somebody sets the date, and sets it right again: what the loop goes by must not be that clock."""
    date = time.time
    time.time = lambda: date() + by_s
    rig.at(rig.t_s + 1.0, lambda: setattr(time, "time", date))


def order(rig: Rig, verb: Verb, times: int = 1) -> None:
    for _ in range(times):
        rig.orders.give(Order(verb))


def wire(name: str, expected: str, begin: Callable[[Rig], object]) -> Fault:
    return Fault(name, "wire", begin, expected)


def servo(name: str, expected: str, begin: Callable[[Rig], object]) -> Fault:
    return Fault(name, "servo", begin, expected)


def mind(name: str, expected: str, how: Callable[[Rig, float], ActionChunk | None]) -> Fault:
    return Fault(name, "policy", partial(policy, how=how), expected)


def sight(name: str, expected: str, begin: Callable[[Rig], object]) -> Fault:
    return Fault(name, "camera", begin, expected)


def host(name: str, expected: str, begin: Callable[[Rig], object]) -> Fault:
    return Fault(name, "host", begin, expected)


FAULTS: tuple[Fault, ...] = (
    wire("one reply is lost", "went on", partial(drop, count=1, servo_id=ONE)),
    wire("every reply of a tick is lost", "went on", partial(drop, count=7, servo_id=ALL)),
    wire("no replies for 60 ms", "went on", partial(unplugged, lasts_s=0.06)),
    wire("no replies for 0.5 s", "went on", partial(unplugged, lasts_s=0.5)),
    wire("one servo silent for 0.5 s", "went on", partial(drop, count=25, servo_id=ONE)),
    wire("one servo silent for good", "let go", partial(drop, count=10_000, servo_id=ONE)),
    wire("the bus cable comes out", "let go", partial(unplugged, lasts_s=60.0)),
    wire("the data line is shorted for 0.1 s", "went on", partial(shorted, lasts_s=0.1)),
    wire("the data line is shorted for good", "let go", partial(shorted, lasts_s=60.0)),
    wire("the USB adapter comes out", "let go", adapter_gone),
    wire("one garbled reply", "went on", lambda rig: rig.tamper.garble(1, ONE)),
    wire("half a second of garbled replies", "went on", lambda rig: rig.tamper.garble(150)),
    wire("truncated replies", "went on", lambda rig: rig.tamper.cut(20)),
    wire("replies 4 ms late", "went on", lambda rig: rig.tamper.delay(0.004, 30, ONE)),
    wire("replies 15 ms late, after their time", "went on", lambda rig: rig.tamper.delay(0.015, 30, ONE)),
    wire("noise, one byte in 10,000", "went on", partial(bend, lasts_s=10.0, how=partial(noisy, 1e-4))),
    wire("noise, one byte in 1,000", "went on", partial(bend, lasts_s=10.0, how=partial(noisy, 1e-3))),
    wire("noise, one byte in 100", "went on", partial(bend, lasts_s=10.0, how=partial(noisy, 1e-2))),
    wire("stray bytes before every reply", "went on", partial(bend, lasts_s=10.0, how=stray)),
    wire("stray packet headers", "went on", partial(bend, lasts_s=0.5, how=headers)),
    wire("an adapter that hears itself", "went on", partial(bend, lasts_s=10.0, how=echo)),
    wire("replies of a servo that is not ours", "went on", partial(bend, lasts_s=0.5, how=wrong_id)),
    wire("replies of another length", "went on", partial(bend, lasts_s=0.5, how=short)),
    wire("every reply twice", "went on", partial(bend, lasts_s=10.0, how=doubled)),
    wire("two servos with one id", "let go", partial(bend, lasts_s=10.0, how=two_servos_one_id)),
    wire("a bus that babbles", "went on", partial(bend, lasts_s=0.3, how=babble)),
    servo("60 degC", "went on", partial(heat, temperature_c=60.0)),
    servo("68 degC", "parked", partial(heat, temperature_c=68.0)),
    servo("85 degC", "let go", partial(heat, temperature_c=85.0)),
    servo("supply at 7 V for 40 ms", "went on", partial(supply, volts=7.0, lasts_s=0.04)),
    servo("supply at 7 V for 0.5 s", "held", partial(supply, volts=7.0, lasts_s=0.5)),
    servo("supply at 16 V", "held", partial(supply, volts=16.0, lasts_s=60.0)),
    servo("stalled against an obstacle", "held", obstacle),
    servo("one servo restarts", "held", restart),
    servo("all servos restart", "held", all_restart),
    servo("encoder says 90 degrees more, once", "went on",
          partial(bend, lasts_s=0.02, how=partial(position_off, 1024))),
    servo("encoder says 90 degrees less, for good", "let go",
          partial(bend, lasts_s=60.0, how=partial(position_off, -1024))),
    servo("a horn comes loose", "held", loose_horn),
    mind("dies", "parked", nothing),
    Fault("is silent for 0.7 s", "policy", partial(policy_for, lasts_s=0.7, how=nothing), "went on"),
    mind("sends NaN", "parked", one_is(math.nan)),
    mind("sends infinity", "parked", one_is(math.inf)),
    mind("sends a pose beyond the range", "parked", one_is(9.0)),
    mind("jumps by 0.7 rad", "went on", rows(lambda target_rad: target_rad + 0.7)),
    mind("drives the gripper into the table", "went on", into_the_table),
    mind("shakes by a radian, five times a second", "went on", shaking),
    mind("sends chunks that are a second old", "parked", other(later_s=-1.0)),
    mind("has another clock: chunks from the future", "parked", other(later_s=60.0)),
    mind("sends chunks out of order", "went on", reordered),
    mind("serves an older command", "parked", other(epoch=0)),
    mind("sends rows without a pace", "parked", other(dt_s=0.0)),
    mind("sends no rows", "parked", rows(lambda target_rad: target_rad[:0])),
    Fault("floods its mailbox", "policy", flood, "went on"),
    Fault("dies in the middle of writing", "policy", torn, "parked"),
    sight("all cameras freeze", "parked", partial(policy, how=nothing)),
    sight("frames 0.3 s late", "went on", partial(policy, how=other(later_s=-0.3))),
    host("control stopped for 0.1 s", "went on", partial(paused, lasts_s=0.1)),
    host("control stopped for 1 s", "went on", partial(paused, lasts_s=1.0)),
    host("control stopped for 3 s", "parked", partial(paused, lasts_s=3.0)),
    host("another program on control's core", "went on", hog),
    host("the date is set back by an hour", "went on", partial(clock_set, by_s=-3600.0)),
    host("STOP", "held", partial(order, verb=Verb.STOP)),
    host("STOP a thousand times", "held", partial(order, verb=Verb.STOP, times=1000)),
    host("QUIT in the middle of a move", "parked", partial(order, verb=Verb.QUIT)),
)  # fmt: skip

assert FAULT_S > 1.0, "a fault meets an arm that moves"
