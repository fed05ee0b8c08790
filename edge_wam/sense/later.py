"""Utterances: what takes its time, on a thread, beside ears that must not wait for it; and their rests."""

from __future__ import annotations

import math
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

About = TypeVar("About")
Found = TypeVar("Found")
_WAITING = 2  # utterances: more is talk
_Given = tuple[Future[Any], tuple[Any, ...]] | None  # None: the end


class Rests:
    """After a pause the rest of a sentence looks like a sentence: "don't ... pick up the red cube". So what
    begins within gap_s after one that was none is none. Seconds, all in one time."""

    def __init__(self, gap_s: float) -> None:
        self._gap_s, self._ends_s = gap_s, deque[float](maxlen=8)

    def after(self, end_s: float) -> None:
        """A sentence that was none has ended."""
        self._ends_s.append(end_s)

    def has(self, begin_s: float) -> bool:
        """Whether what began then is the rest of one."""
        return any(end_s <= begin_s < end_s + self._gap_s for end_s in self._ends_s)


class Later(Generic[About, Found]):
    """Utterances that are being understood, one after another; each with what there is to remember about it.

    in_time_of_sound: for sound that is played faster than it was spoken: wait for each, and tell what was
    found as much later, in the time of the sound, as it took. beside_s: seconds of CPU that it has taken so.
    """

    def __init__(self, work: Callable[..., Found], at_once: bool = False) -> None:
        """work: keeps alive what it holds, so it may not hold whoever has this. at_once: wait for each."""
        self._at_once = at_once
        self._given: queue.SimpleQueue[_Given] = queue.SimpleQueue()
        # A daemon: no executor's thread, for which the process would wait at its end.
        threading.Thread(target=_work_off, args=(self._given, work), name="utterances", daemon=True).start()
        weakref.finalize(self, self._given.put, None)
        self._waiting: deque[tuple[About, Future[Found], float]] = deque()
        self.in_time_of_sound, self.beside_s = False, 0.0

    def put(self, about: About, now_s: float, *given: Any, not_before_s: float = -math.inf) -> bool:
        """Begin with it: work(*given). False, and nothing, if too many wait. now_s: the sound's time;
        not_before_s: and when it may be told, in that."""
        if len(self._waiting) >= _WAITING:
            return False
        began_s = time.process_time()
        found: Future[Found] = Future()
        self._given.put((found, given))
        due_s = not_before_s
        if self._at_once or self.in_time_of_sound:
            found.exception()  # waits for it
        if self.in_time_of_sound:
            took_s = time.process_time() - began_s
            self.beside_s += took_s
            due_s = max(due_s, now_s + took_s)
        self._waiting.append((about, found, due_s))
        return True

    def done(self, now_s: float) -> list[tuple[About, Found]]:
        """What is there by now, in the order in which it was put; raises what `work` raised."""
        found = []
        while self._waiting and now_s >= self._waiting[0][2] and self._waiting[0][1].done():
            about, future, _ = self._waiting.popleft()
            found.append((about, future.result()))
        return found

    def last(self) -> About | None:
        """About the one that was put last, if it has not been told yet."""
        return self._waiting[-1][0] if self._waiting else None

    def take_back(self) -> None:
        """The one that was put last is not wanted any more."""
        self._waiting.pop()[1].cancel()

    def clear(self) -> None:
        """Nothing of what waits is wanted any more."""
        for _, future, _ in self._waiting:
            future.cancel()
        self._waiting.clear()


def _work_off(given: queue.SimpleQueue[_Given], work: Callable[..., Any]) -> None:
    while (one := given.get()) is not None:
        future, arguments = one
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(work(*arguments))
        except BaseException as error:  # whoever asks for the result has to know
            future.set_exception(error)
