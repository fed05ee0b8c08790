"""The bus of Feetech STS3215 servos: one SYNC READ of 56..70 and one SYNC WRITE of goals a tick.

A second question fits behind the goals: nobody answers a SYNC WRITE, so the answer comes while the loop
sleeps, and is picked up before the next tick's question. It costs wire, but nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.act import feetech
from edge_wam.act.bus import DEADLINE_S, Block, IntArray, Now, Port, ServoBus
from edge_wam.act.feetech import Register
from edge_wam.act.feetech_blocks import Blocks, Goals
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
        self._blocks, self._goals = Blocks(self._ids), Goals(self._ids)
        # How long the exchange is on the wire.
        self._block_wire_s = (len(self._block_request) + self._blocks.size) * self._byte_s
        self._last = np.zeros((len(feetech.Present._fields), count), np.int64)
        self._error = np.zeros(count, np.uint8)
        self._all, self._never = np.ones(count, bool), np.zeros(count, bool)
        self._asked: tuple[int, int] | None = None  # whom, how many bytes
        self.told = None

    def read_block(self) -> Block:
        quiet = self._pick_up()
        asked_s = self._clock.now_s()
        self._send(self._block_request, quiet=quiet)
        started_s = self._clock.now_s()
        heard = self._hear(self._blocks.size)
        if (found := self._blocks.decode(heard)) is not None:
            (self._last, self._error), fresh = found, self._all
            self._answered = [count + 1 for count in self._answered]
        else:
            fresh = self._careful(heard, started_s)
        took_s = self._clock.now_s() - asked_s
        values = self._last
        return Block(
            # When the servos looked, not when we read: the middle of the exchange, and no later for
            # having waited on one that stayed silent.
            asked_s + min(took_s, self._block_wire_s) / 2,
            values[0],
            values[1],
            values[2],
            values[3],
            values[4],
            values[7],
            self._error,
            values[6] != 0,
            fresh,
            self._never,
            self._never,
            took_s,
        )

    def _careful(self, heard: bytes, started_s: float) -> NDArray[np.bool_]:
        """Find what there is among what was heard, and go on hearing; who answered, (J,)."""
        length = feetech.BLOCK_BYTES
        reader, each_bytes = feetech.status_reader(length), feetech.STATUS_BYTES + length
        replies = self._gather(self._ids, length, reader, 0, each_bytes, started_s, heard=heard)
        self._last, self._error = self._last.copy(), self._error.copy()  # blocks of former ticks show them
        for servo_id, reply in replies.items():
            index, block = self._index[servo_id], feetech.present(reply.parameters)
            self._last[:, index] = block
            self._error[index] = reply.code | block.status
        return np.array([servo_id in replies for servo_id in self._ids])

    def write_goals(self, counts: Sequence[int] | IntArray, ask: tuple[int, int, int] | None = None) -> None:
        """ask: a servo's id, an address and a length; see `told` after the next block."""
        request = self._goals.encode([int(count) for count in counts])
        if ask is None:
            self._send(request)
            return
        servo_id, address, length = ask
        # What came too late for the block is found by _pick_up.
        self._send(request + feetech.read(servo_id, address, length), quiet=True)
        self._sent += 1
        self._asked = servo_id, length

    def _pick_up(self) -> bool:
        """Take the answer to the second question, if one was asked, and all that came before it. An answer
        that is not here by now is missing."""
        self.told, asked, self._asked = None, self._asked, None
        if asked is None:
            return False
        servo_id, length = asked
        heard = self._hear()
        if (
            heard[:4] == bytes((0xFF, 0xFF, servo_id, length + 2))
            and len(heard) == feetech.STATUS_BYTES + length
            and sum(heard[2:]) & 0xFF == 0xFF  # the checksum is the inverted sum
        ):
            self.told = Told(servo_id, heard[5:-1])
            self._answered[self._index[servo_id]] += 1
            return True
        reader = feetech.status_reader()
        for packet in reader.feed(heard):
            if packet.servo_id == servo_id and len(packet.parameters) == length and self.told is None:
                self.told = Told(servo_id, bytes(packet.parameters))
            elif packet.servo_id in self._index and len(packet.parameters) in (length, feetech.BLOCK_BYTES):
                self._late[self._index[packet.servo_id]] += 1  # not our own request, which some adapters hear
        reader.finish()
        self._count_garbage(reader)
        count = self._missing if self.told is None else self._answered
        count[self._index[servo_id]] += 1
        return True

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
