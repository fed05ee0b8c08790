"""The simulated servo bus: servos on one wire, moving a plant; here STS3215, register for register.

Nothing of ours is replaced by this: it answers bytes with bytes, and clients nobody here wrote talk to
it. What is modelled: the whole memory table (act/feetech.py); EEPROM lock and power cycles; the return
delay and the response level; homing offset and single-turn wrap; position, speed and step mode; speed,
acceleration, torque limits (handed to the plant, which runs the profile); supply sag, winding heat,
load and current; the alarms that follow from them and what they do to the torque.

What is not: the PID gains and dead zones (the plant has its own), PWM mode (such a servo goes limp),
damping (2 in torque enable acts as off), reversed phase bits.

Where sources disagree about the firmware, the version that catches more mistakes of ours is chosen:
  - EEPROM writes while LOCK is 1 are dropped (Feetech's table: they work, but only until power-off);
  - a goal written to a limp servo switches its torque on (measured on an STS3215 by feetech-cli's authors).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_wam.act import feetech
from edge_wam.act.arm import Calibration
from edge_wam.act.feetech import Instruction, Packet, PacketReader
from edge_wam.act.stream import PacketStream
from edge_wam.sim.servo import RETURN_DELAY_UNIT_S, Servo
from edge_wam.types import FloatArray

SUPPLY_V = 12.0
SUPPLY_OHM = 0.25  # brick, cable and the daisy chain's thin wires
MENDED_C = 40.0
PROTECT_EVERY_S = 0.02  # once a tick of the usual loop; heat and alarms move slowly


class Plant(Protocol):
    """What the servos move. Arrays (J,), calibrated radians; sim/world.py's World is one.

    time_s, position_rad, velocity_rad_s and load (signed fraction of the stall torque) are read after
    each physics step; goal_rad, torque_on, speed_limit_rad_s, accel_limit_rad_s2 (inf: none) and
    torque_limit (0..1) are written in place. joint_low_rad and joint_high_rad are the mechanical stops.
    """

    goal_rad: FloatArray
    torque_on: NDArray[np.bool_]
    speed_limit_rad_s: FloatArray
    accel_limit_rad_s2: FloatArray
    torque_limit: FloatArray
    joint_low_rad: FloatArray
    joint_high_rad: FloatArray

    @property
    def time_s(self) -> float: ...
    @property
    def position_rad(self) -> FloatArray: ...
    @property
    def velocity_rad_s(self) -> FloatArray: ...
    @property
    def load(self) -> FloatArray: ...
    def step(self, count: int = 1) -> None: ...


class Reply(NamedTuple):
    """A status packet and how long its servo waits before sending it."""

    servo_id: int
    after_s: float
    data: bytes


class Driven(Protocol):
    """A servo, as its chain sees it (sim/servo.py, sim/dynamixel_servo.py)."""

    current_a: float
    temperature_c: float
    turning: bool

    @property
    def servo_id(self) -> int: ...
    @property
    def baud_bps(self) -> int: ...
    def power_on(self, position_rad: float | None = None) -> None: ...
    def turn(self, dt_s: float) -> None: ...
    def protect(self, dt_s: float, load: float, supply_v: float) -> None: ...
    def refresh(self, position_rad: float, velocity_rad_s: float, load: float, now_s: float) -> None: ...


class Addressed(Protocol):
    """A packet, as far as the families' agree."""

    @property
    def servo_id(self) -> int: ...


ServoT = TypeVar("ServoT", bound=Driven)
PacketT = TypeVar("PacketT", bound=Addressed)


class Chain(Generic[ServoT, PacketT]):
    """The servos of one arm on one wire. `replies` may be called from another thread than `update`.

    The plant's thread calls `update()` after each physics step. The measured values are copied there;
    registers are brought up to date only when somebody asks.
    """

    def __init__(
        self, plant: Plant, servos: Sequence[ServoT], supply_v: float, reader: PacketStream[PacketT]
    ) -> None:
        self._reader = reader
        self.supply_v = supply_v
        self.servos = tuple(servos)
        self._plant = plant
        self._lock = threading.RLock()
        self._time_s = plant.time_s
        self._protected_s = plant.time_s
        self._measure()
        self.power_cycle()

    # --- the plant's side -----------------------------------------------------------------------

    def update(self) -> None:
        """Take over what the plant measures now. Call after each physics step.

        Time running backwards is a world that was reset: the servos have been without power too.
        """
        with self._lock:
            now_s = self._plant.time_s
            self._measure()
            if now_s < self._time_s:
                self._time_s = self._protected_s = now_s
                self.power_cycle()
                return
            dt_s, self._time_s = now_s - self._time_s, now_s
            for servo in self.servos:
                if servo.turning:
                    servo.turn(dt_s)
            if now_s - self._protected_s >= PROTECT_EVERY_S:
                self._protect(now_s - self._protected_s)
                self._protected_s = now_s

    def power_cycle(self) -> None:
        """Off and on: EEPROM stays, RAM does not; torque off, every servo still where it is."""
        with self._lock:
            for servo, position_rad in zip(self.servos, self._position_rad.tolist(), strict=True):
                servo.power_on(position_rad)
            self._stale = True

    def mend(self) -> None:
        """Nothing is wrong with them any more, and they have cooled; what they do goes on."""
        with self._lock:
            for servo in self.servos:
                servo.temperature_c = min(servo.temperature_c, MENDED_C)

    def _measure(self) -> None:
        """Copy the plant's state, so that an answer never mixes two steps."""
        self._position_rad = self._plant.position_rad.copy()
        self._velocity_rad_s = self._plant.velocity_rad_s.copy()
        self._load = self._plant.load.copy()
        self._stale = True

    def _protect(self, dt_s: float) -> None:
        supply_v = self.supply_v - SUPPLY_OHM * sum(servo.current_a for servo in self.servos)
        for servo, load in zip(self.servos, self._load.tolist(), strict=True):
            servo.protect(dt_s, load, supply_v)

    def _refresh(self) -> None:
        """Bring the present-value registers up to the plant's last step."""
        if self._stale:
            self._stale = False
            rows = zip(
                self.servos,
                self._position_rad.tolist(),
                self._velocity_rad_s.tolist(),
                self._load.tolist(),
                strict=True,
            )
            for servo, position_rad, velocity_rad_s, load in rows:
                servo.refresh(position_rad, velocity_rad_s, load, self._time_s)

    # --- the wire's side ------------------------------------------------------------------------

    def handle(self, data: bytes) -> bytes:
        """Bytes in, bytes out, time left aside."""
        return b"".join(reply.data for reply in self.replies(data))

    def replies(self, data: bytes, baud_bps: int | None = None) -> list[Reply]:
        """What the servos answer to `data` (any piece of a stream), in order.

        baud_bps is the line's speed: a servo set to another one hears nothing. None: all hear.
        """
        with self._lock:
            return [reply for packet in self._reader.feed(data) for reply in self._heard(packet, baud_bps)]

    def idle(self) -> list[Reply]:
        """The wire has gone quiet: a packet that has begun will not come to its end."""
        with self._lock:
            return [reply for packet in self._reader.finish() for reply in self._heard(packet, None)]

    def _heard(self, packet: PacketT, baud_bps: int | None) -> list[Reply]:
        self._awake()
        hearing = {
            servo.servo_id: servo for servo in self.servos if baud_bps is None or servo.baud_bps == baud_bps
        }
        self._refresh()
        return self._answer(packet, hearing)

    def _answer(self, packet: PacketT, hearing: dict[int, ServoT]) -> list[Reply]:
        """Let those that hear (by id) carry out the packet; what they say to it."""
        raise NotImplementedError

    def _one(self, servo: ServoT, packet: PacketT) -> Reply | None:
        """Let one servo carry out one instruction; its answer, if this one is answered."""
        raise NotImplementedError

    def _one_or_all(self, packet: PacketT, hearing: dict[int, ServoT], ping: bool) -> list[Reply]:
        """Let the servo it is for obey, or all: nobody answers then, but to a PING, in turn."""
        if packet.servo_id == feetech.BROADCAST_ID:  # both families'
            answers = [self._one(servo, packet) for _, servo in sorted(hearing.items())]
            return [reply for reply in answers if reply is not None and ping]
        addressed = hearing.get(packet.servo_id)
        answer = None if addressed is None else self._one(addressed, packet)
        return [] if answer is None else [answer]

    def _awake(self) -> None:
        """Before an answer: the world may have been reset and asked before its first step."""
        if self._plant.time_s < self._time_s:
            self.update()


class ServoChain(Chain[Servo, Packet]):
    """STS3215 servos."""

    def __init__(self, plant: Plant, calibration: Calibration, *, supply_v: float = SUPPLY_V) -> None:
        servos = [Servo(plant, index, calibration) for index in range(len(calibration.joints))]
        super().__init__(plant, servos, supply_v, PacketReader())

    def _answer(self, packet: Packet, hearing: dict[int, Servo]) -> list[Reply]:
        if packet.code == Instruction.SYNC_READ:
            return self._sync_read(packet, hearing)
        if packet.code == Instruction.SYNC_WRITE:
            self._sync_write(packet, hearing)
            return []
        return self._one_or_all(packet, hearing, packet.code == Instruction.PING)

    def _sync_read(self, packet: Packet, hearing: dict[int, Servo]) -> list[Reply]:
        parameters = packet.parameters
        if packet.servo_id != feetech.BROADCAST_ID or len(parameters) < 3:
            return []
        wanted = Packet(0, Instruction.READ, parameters[:2])
        answers = [self._one(hearing[servo_id], wanted) for servo_id in parameters[2:] if servo_id in hearing]
        return [reply for reply in answers if reply is not None]

    def _sync_write(self, packet: Packet, hearing: dict[int, Servo]) -> None:
        parameters = packet.parameters
        if packet.servo_id != feetech.BROADCAST_ID or len(parameters) < 2:
            return
        address, length = parameters[0], parameters[1]
        if (len(parameters) - 2) % (length + 1):
            return  # its pieces do not fit: no servo can tell which is its own
        for start in range(2, len(parameters), length + 1):
            if (servo := hearing.get(parameters[start])) is not None:
                servo.write(address, parameters[start + 1 : start + 1 + length], self._time_s)

    def _one(self, servo: Servo, packet: Packet) -> Reply | None:
        parameters = packet.parameters
        servo_id, data = servo.servo_id, b""
        after_s = servo.get(feetech.RETURN_DELAY) * RETURN_DELAY_UNIT_S
        answered = packet.servo_id != feetech.BROADCAST_ID and servo.get(feetech.RESPONSE_LEVEL) > 0
        match packet.code:
            case Instruction.PING:
                answered = True
            case Instruction.READ if len(parameters) == 2 and parameters[1] <= feetech.LONGEST_PARAMETERS:
                answered = packet.servo_id != feetech.BROADCAST_ID
                data = servo.read(parameters[0], parameters[1])
            case Instruction.WRITE if len(parameters) >= 2:
                servo.write(parameters[0], parameters[1:], self._time_s)
            case Instruction.REG_WRITE if len(parameters) >= 2:
                servo.keep(parameters[0], parameters[1:])
            case Instruction.ACTION:
                servo.action(self._time_s)
            case Instruction.FACTORY_RESET:
                servo.factory_reset()
            case Instruction.CLEAR_TURNS:
                pass  # single-turn: there are none to forget
            case Instruction.CALIBRATE if len(parameters) in (0, 2):
                servo.recentre(int.from_bytes(parameters, "little") if parameters else 2048)
            case Instruction.REBOOT:
                servo.power_on()
                answered = False
            case _:
                return None
        # A write may have changed what the present-value registers say (offset, torque, goal).
        self._stale = self._stale or packet.code not in (Instruction.PING, Instruction.READ)
        if not answered:
            return None
        return Reply(servo_id, after_s, feetech.status(servo_id, servo.get(feetech.STATUS), data))
