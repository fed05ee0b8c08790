"""The control loop's view of a policy in another process: two mailboxes, newest wins, no waiting."""

from __future__ import annotations

from edge_wam.mailbox import Mailbox
from edge_wam.messages import StateWriter, read_chunk
from edge_wam.pilot import Task
from edge_wam.types import ActionChunk, FloatArray, Joints


class RemoteThinker:
    """A Thinker (loop.py) on a STATE and a CHUNK mailbox (messages.py)."""

    def __init__(self, state_box: Mailbox, chunk_box: Mailbox) -> None:
        self._state, self._chunks = StateWriter(state_box), chunk_box
        self._task: Task | None = None

    def offer(self, seen: Joints, sent_rad: FloatArray, task: Task) -> None:
        """Publish where the arm is, what was sent right after, and what to work on."""
        if task is not self._task:
            self._state.say(epoch=task.epoch, command=task.command, running=task.running)
            self._task = task
        self._state.put(seen.t_s, seen.position_rad, sent_rad)

    def take(self) -> ActionChunk | None:
        """The newest chunk, once."""
        letter = self._chunks.take()
        return None if letter is None else read_chunk(letter.record).chunk
