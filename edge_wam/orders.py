"""What people want of the arm: orders, from the keyboard, a signal or the voice, to the control loop."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from edge_wam.messages import Heard, HeardReader
from edge_wam.types import Words

STOP = "STOP"  # what was heard where it means that


class Verb(enum.Enum):
    """DO a command; STOP where you are; PARK; QUIT is to park and then leave the loop."""

    DO = "do"
    STOP = "stop"
    PARK = "park"
    QUIT = "quit"


class Order(NamedTuple):
    """A verb, and for DO the command in the manifest's words."""

    verb: Verb
    command: str = ""


class OrderSource(Protocol):
    """Where the loop asks once a tick. Never waits."""

    def take(self) -> list[Order]: ...


class Orders:
    """A handful of orders; `give` is safe from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._waiting: deque[Order] = deque()

    def give(self, order: Order) -> None:
        self._waiting.append(order)

    def take(self) -> list[Order]:
        """Everything given since the last call, in order."""
        taken = []
        while self._waiting:
            taken.append(self._waiting.popleft())
        return taken


class VoiceOrders:
    """Orders that were given, and those that were heard.

    `command_of` turns final words into the manifest's command, or None where they mean nothing. A
    STOP is obeyed on a partial result and comes last, so that nothing heard with it starts the arm
    again. `heard` is told of every final result and what was made of it: a command, STOP or None; and of a
    STOP that was denied, which is not final. Once QUIT was given, nothing new is begun: a word said to an arm
    that parks for good does not keep it here.
    """

    def __init__(
        self,
        reader: HeardReader,
        command_of: Callable[[Words], str | None],
        given: Orders,
        heard: Callable[[Heard, str | None], None] | None = None,
    ) -> None:
        self._reader, self._command_of, self._given, self._heard = reader, command_of, given, heard
        self._leaving = False

    def take(self) -> list[Order]:
        orders = self._given.take()
        stop = False
        for news in self._reader.take():
            stop = stop or news.stop
            if news.stop and not news.words.final:
                continue
            command = self._command_of(news.words) if news.words.final and not news.stop else None
            if self._heard is not None:
                self._heard(news, STOP if news.stop else command)
            if command is not None:
                orders.append(Order(Verb.DO, command))
        self._leaving = self._leaving or any(order.verb is Verb.QUIT for order in orders)
        if self._leaving:
            orders = [order for order in orders if order.verb is not Verb.DO]
        return [*orders, Order(Verb.STOP)] if stop else orders
