"""The bus of Feetech STS3215 servos: one SYNC READ of 56..70 and one SYNC WRITE of goals a tick.

A second question fits behind the goals: nobody answers a SYNC WRITE, so the answer comes while the loop
sleeps, and is picked up before the next tick's question. It costs wire, but nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_wam.act import feetech
from edge_wam.act.bus import DEADLINE_S, Block, IntArray, Now, Port, ServoBus
from edge_wam.act.feetech import Register
from edge_wam.errors import BusError


class Told(NamedTuple):
    """The answer to a second question: raw memory of a servo, from the address that was asked for."""

    servo_id: int
    data: bytes


class FeetechBus(ServoBus[Register]):
    """As ServoBus. Speed is in counts/s, load in 0.1 %, current in 6.5 mA."""

    told: Told | None  # what came for the second question, since the last block

    def __init__(
        self, port: Port, ids: Sequence[int], clock: Now | None = None, deadline_s: float = DEADLINE_S
    ) -> None:
        super().__init__(feetech, port, ids, clock, deadline_s)
        count = len(self._ids)
        self._block_request = feetech.sync_read(feetech.BLOCK_ADDRESS, feetech.BLOCK_BYTES, self._ids)
        # How long the exchange is on the wire.
        wire_bytes = len(self._block_request) + count * (feetech.STATUS_BYTES + feetech.BLOCK_BYTES)
        self._block_wire_s = wire_bytes * self._byte_s
        self._last = [feetech.Present(0, 0, 0, 0, 0, 0, 0, 0)] * count
        self._error = [0] * count
        self._never = np.zeros(count, bool)
        self._asked: tuple[int, int] | None = None  # whom, how many bytes
        self.told = None

    def read_block(self) -> Block:
        self._pick_up()
        asked_s = self._clock.now_s()
        replies = self._ask(self._block_request, self._ids, feetech.BLOCK_BYTES)
        took_s = self._clock.now_s() - asked_s
        for servo_id, reply in replies.items():
            index = self._index[servo_id]
            block = feetech.present(reply.parameters)
            self._last[index] = block
            self._error[index] = reply.code | block.status
        values = np.array(self._last, dtype=np.int64)  # (J, 8), columns as in Present
        return Block(
            # When the servos looked, not when we read: the middle of the exchange, and no later for
            # having waited on one that stayed silent.
            asked_s + min(took_s, self._block_wire_s) / 2,
            values[:, 0],
            values[:, 1],
            values[:, 2],
            values[:, 3],
            values[:, 4],
            values[:, 7],
            np.array(self._error, dtype=np.uint8),
            values[:, 6] != 0,
            np.array([servo_id in replies for servo_id in self._ids]),
            self._never,
            self._never,
        )

    def write_goals(self, counts: Sequence[int] | IntArray, ask: tuple[int, int, int] | None = None) -> None:
        """ask: a servo's id, an address and a length; see `told` after the next block."""
        pairs = zip(self._ids, counts, strict=True)
        items = [(servo_id, feetech.pack(feetech.GOAL_POSITION, int(count))) for servo_id, count in pairs]
        request = feetech.sync_write(feetech.GOAL_POSITION.address, items)
        if ask is None:
            self._send(request)
            return
        servo_id, address, length = ask
        self._send(request + feetech.read(servo_id, address, length))
        self._sent += 1
        self._asked = servo_id, length

    def _pick_up(self) -> None:
        """Take the answer to the second question. One that is not here by now is missing."""
        self.told, asked, self._asked = None, self._asked, None
        if asked is None:
            return
        servo_id, length = asked
        reader = feetech.status_reader()
        for packet in reader.feed(self._waiting()):
            if packet.servo_id == servo_id and len(packet.parameters) == length and self.told is None:
                self.told = Told(servo_id, bytes(packet.parameters))
            elif packet.servo_id in self._index and len(packet.parameters) in (length, feetech.BLOCK_BYTES):
                self._late[self._index[packet.servo_id]] += 1  # not our own request, which some adapters hear
        reader.finish()
        self._count_garbage(reader)
        count = self._missing if self.told is None else self._answered
        count[self._index[servo_id]] += 1

    def rename(self, servo_id: int, new_id: int) -> None:
        """Give the servo another id, for good. BusError if that id answers already, or does not afterwards.

        Its EEPROM must be unlocked (LOCK = 0).
        """
        if self.ping(new_id) is not None:
            raise BusError(f"id {new_id} is taken on {self.name}; try: connect one servo at a time")
        self._ask(
            feetech.write(servo_id, feetech.ID.address, feetech.pack(feetech.ID, new_id)),
            (servo_id, new_id),
            0,
            optional=True,
        )
        if self.ping(new_id) is None:
            raise self._silent(new_id, f"its new id (it was {servo_id})")
