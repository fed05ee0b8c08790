"""The bus of Feetech STS3215 servos: one SYNC READ of 56..70 and one SYNC WRITE of goals a tick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_wam.act import feetech
from edge_wam.act.bus import DEADLINE_S, Block, IntArray, Now, Port, ServoBus
from edge_wam.act.feetech import Register
from edge_wam.errors import BusError


class FeetechBus(ServoBus[Register]):
    """As ServoBus. Speed is in counts/s, load in 0.1 %, current in 6.5 mA."""

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

    def read_block(self) -> Block:
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

    def write_goals(self, counts: Sequence[int] | IntArray) -> None:
        self.write_all(feetech.GOAL_POSITION, [int(count) for count in counts])

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
