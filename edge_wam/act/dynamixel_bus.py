"""The bus of Dynamixel X servos: one fast read of an indirect block and one SYNC WRITE of goals a tick.

What a tick wants to know is spread over the control table, so `prepare` lets 17 bytes of each servo's
indirect data show it. A servo that restarts forgets those addresses and shows zeros: nobody believes a supply
of 0 V, and the arm maps them again.

A fast read is one status packet of all servos with a running CRC, so one bad byte costs every joint behind
it, too. A tick in which that happened is followed by ticks with plain reads, where it costs one.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import numpy as np

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.bus import ATTEMPTS, DEADLINE_S, Block, IntArray, Now, Port, ServoBus
from edge_wam.act.codec import Answer
from edge_wam.act.dynamixel_table import BLOCK_BYTES, MODELS, Model, Register
from edge_wam.errors import BusError

PLAIN_TICKS = 50  # whole plain reads before a fast one is tried again
NEAR_COUNTS, NEAR_VOLTAGE = 40, 5  # between a register and its image, read a millisecond later
_ADDRESSES = struct.pack(f"<{BLOCK_BYTES}H", *table.BLOCK_ADDRESSES)


class DynamixelBus(ServoBus[Register]):
    """As ServoBus. Speed is in 0.229 rev/min; load and current are both the register at 126."""

    def __init__(
        self, port: Port, ids: Sequence[int], clock: Now | None = None, deadline_s: float = DEADLINE_S
    ) -> None:
        super().__init__(dynamixel, port, ids, clock, deadline_s)
        count = len(self._ids)
        self.models: tuple[Model, ...] = ()  # in bus order, once prepared
        self._bases: tuple[int, ...] = ()
        self._plain_left: float = 0
        self._last = [table.Present(0, 0, 0, 0, 0, 0, 0, 0, 0)] * count
        self._error = [0] * count

    @property
    def fast(self) -> bool:
        """Whether the next block is asked for by a fast read."""
        return self._plain_left == 0

    def prepare(self) -> None:
        """Let every servo's indirect data show the block, and find out where they are. BusError if one does
        not. Registers of the RAM are written, none that moves anything."""
        models, bases = [], []
        for servo_id in self._ids:
            number = self.read(servo_id, table.MODEL)
            if number not in MODELS:
                known = ", ".join(f"{model.name} ({number})" for number, model in MODELS.items())
                raise BusError(f"servo {servo_id} on {self.name} is of model {number}, not one of: {known}")
            models.append(MODELS[number])
            bases.append(self._block_base(servo_id))
        self.models, self._bases = tuple(models), tuple(bases)
        self._plain_left = 0
        for _ in range(ATTEMPTS):
            if len(self._read_all()) == len(self._ids):
                return
            self._settle()
        self._plain_left = math.inf  # an older firmware: it does not know the instruction

    def show_block(self, servo_id: int) -> None:
        """Map the block's registers onto the servo's indirect data; never acknowledged."""
        self.poke(servo_id, table.INDIRECT_ADDRESS, _ADDRESSES)

    def _block_base(self, servo_id: int) -> int:
        """Where the servo's indirect data begin: there, what the registers themselves say is seen."""
        for _ in range(ATTEMPTS):
            self.show_block(servo_id)
            for base in table.INDIRECT_DATA:
                question = dynamixel.read(servo_id, base, BLOCK_BYTES)
                reply = self._ask(question, (servo_id,), BLOCK_BYTES, optional=True).get(servo_id)
                if reply is None:
                    self._settle()
                    continue
                shown = table.present(reply.parameters)
                position = self.read(servo_id, table.PRESENT_POSITION)
                voltage = self.read(servo_id, table.PRESENT_VOLTAGE)
                if abs(shown.position - position) <= NEAR_COUNTS and (
                    voltage > 0 and abs(shown.voltage - voltage) <= NEAR_VOLTAGE
                ):
                    return base
        raise BusError(
            f"servo {servo_id} on {self.name} does not show its registers in its indirect data "
            f"(looked at {' and '.join(map(str, table.INDIRECT_DATA))}); its firmware is unknown here"
        )

    def read_block(self) -> Block:
        asked_s = self._clock.now_s()
        was_fast, replies = self.fast, self._read_all()
        took_s = self._clock.now_s() - asked_s
        whole = len(replies) == len(self._ids)
        if was_fast and not whole:
            self._plain_left = PLAIN_TICKS
        elif not was_fast and whole:
            self._plain_left -= 1
        shows = [False] * len(self._ids)
        lost = [False] * len(self._ids)
        for servo_id, reply in replies.items():
            index, seen = self._index[servo_id], table.present(reply.parameters)
            lost[index] = seen.voltage == 0  # restarted: what it shows are no registers
            shows[index] = not lost[index]
            self._error[index] = reply.code & dynamixel.ALERT
            if shows[index]:
                self._last[index] = seen
                self._error[index] |= seen.hardware_error
        values = np.array(self._last, dtype=np.int64)  # (J, 9), columns as in Present
        fresh = np.array(shows)
        return Block(
            asked_s + min(took_s, self._wire_s(was_fast)) / 2,  # as FeetechBus has it
            values[:, 6],
            values[:, 5],
            values[:, 4],
            values[:, 7],
            values[:, 8],
            values[:, 4],
            np.array(self._error, dtype=np.uint8),
            values[:, 3] != 0,
            fresh,
            np.array(lost) | (fresh & (values[:, 0] == 0)),
            fresh & (values[:, 2] < 0),
            took_s,
        )

    def write_goals(self, counts: Sequence[int] | IntArray) -> None:
        self.write_all(table.GOAL_POSITION, [int(count) for count in counts])

    def _read_all(self) -> dict[int, Answer]:
        """The block of every servo, by one packet: all at one address, or (mixed models) each at its own."""
        if not self._bases:
            raise BusError(f"the servos on {self.name} were not asked who they are: connect() comes first")
        request = self._request(self.fast)
        if not self.fast:
            return self._ask(request, self._ids, BLOCK_BYTES)
        reader = dynamixel.JoinedReader(BLOCK_BYTES, len(self._ids))
        head_bytes, each_bytes = dynamixel.JOINED_HEAD_BYTES, dynamixel.JOINED_EACH_BYTES + BLOCK_BYTES
        return self._collect(request, self._ids, BLOCK_BYTES, reader, head_bytes, each_bytes)

    def _request(self, fast: bool) -> bytes:
        if len(set(self._bases)) == 1:
            return dynamixel.sync_read(self._bases[0], BLOCK_BYTES, self._ids, fast=fast)
        items = [(i, base, BLOCK_BYTES) for i, base in zip(self._ids, self._bases, strict=True)]
        return dynamixel.bulk_read(items, fast=fast)

    def _wire_s(self, fast: bool) -> float:
        """How long the exchange of a block is on the wire."""
        head, each = (
            (dynamixel.JOINED_HEAD_BYTES, dynamixel.JOINED_EACH_BYTES)
            if fast
            else (0, dynamixel.STATUS_BYTES)
        )
        wire_bytes = len(self._request(fast)) + head + len(self._ids) * (each + BLOCK_BYTES)
        return wire_bytes * self._byte_s
