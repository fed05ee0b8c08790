"""The bus of Feetech STS3215 servos: one SYNC READ of 56..70 and one SYNC WRITE of goals a tick.

A second question to all fits behind the goals: nobody answers a SYNC WRITE, so the answers come while the
loop sleeps, and are picked up before the next tick's question. They cost wire, but nobody waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_wam.act import feetech
from edge_wam.act.bus import DEADLINE_S, Block, IntArray, Now, Port, ServoBus
from edge_wam.act.feetech import Register
from edge_wam.act.feetech_blocks import Blocks, Goals
from edge_wam.errors import BusError


class FeetechBus(ServoBus[Register]):
    """As ServoBus. Speed is in counts/s, load in 0.1 %, current in 6.5 mA."""

    # What came for the second question, since the last block: raw memory by the servo's id.
    told: Mapping[int, bytes]

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
        self._asked = 0  # how many bytes of each, by the second question
        self._free_s = 0.0  # when its answers will have passed
        self.told = {}

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

    def write_goals(self, counts: Sequence[int] | IntArray, ask: tuple[int, int] | None = None) -> None:
        """ask: an address and a length, of every servo; see `told` after the next block."""
        request = self._goals.encode([int(count) for count in counts])
        if ask is None:
            self._send(request)
            return
        # What came too late for the block is found by _pick_up.
        if self._asked:
            self._pick_up()  # nobody has read a block since; the line's buffer would fill with answers
        request += feetech.sync_read(*ask, self._ids)
        self._send(request, quiet=True)
        self._sent += 1
        _, self._asked = ask
        wire_bytes = len(request) + len(self._ids) * (feetech.STATUS_BYTES + self._asked)
        self._free_s = self._clock.now_s() + wire_bytes * self._byte_s

    def _pick_up(self) -> bool:
        """Take the answers to the second question, if one was asked, and all that came before them. An answer
        that is not here by now is missing."""
        length, self._asked, self.told = self._asked, 0, {}
        if not length:
            return False
        heard = self._hear()
        lacking = len(self._ids) * (feetech.STATUS_BYTES + length) - len(heard)
        if lacking > 0 and self._clock.now_s() < self._free_s:
            heard += self._hear(lacking)  # a tick (or a release) that follows at once: they are still talking
        told = self._whole(heard, length)
        if told is None:
            told, reader = {}, feetech.status_reader()
            for packet in reader.feed(heard):
                index, size = self._index.get(packet.servo_id), len(packet.parameters)
                if index is not None and size == length and packet.servo_id not in told:
                    told[packet.servo_id] = bytes(packet.parameters)
                elif index is not None and size in (length, feetech.BLOCK_BYTES):
                    self._late[index] += 1  # not our own request, which some adapters hear
            reader.finish()
            self._count_garbage(reader)
        for servo_id, at in self._index.items():
            count = self._answered if servo_id in told else self._missing
            count[at] += 1
        self.told = told
        return True

    def _whole(self, heard: bytes, length: int) -> dict[int, bytes] | None:
        """All answers, if what was heard is those and nothing else: what nearly every tick is."""
        size, told = feetech.STATUS_BYTES + length, {}
        if len(heard) != size * len(self._ids):
            return None
        for at, servo_id in zip(range(0, len(heard), size), self._ids, strict=True):
            one = heard[at : at + size]
            # The checksum is the inverted sum of what is between the header and it.
            if one[:4] != bytes((0xFF, 0xFF, servo_id, length + 2)) or sum(one[2:]) & 0xFF != 0xFF:
                return None
            told[servo_id] = one[5:-1]
        return told

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
