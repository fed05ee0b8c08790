"""A person at a terminal: said to, asked, and shown a table that changes."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from edge_wam.errors import EdgeWamError

SAMPLE_S = 0.02
_SHOW_S = 0.1


class Table(NamedTuple):
    """Rows of words under a heading each."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [
            "  ".join(
                word.ljust(width) if index == 0 else word.rjust(width)
                for index, (word, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (self.columns, *self.rows)
        ]
        return "\n".join(lines)


class Terminal(Protocol):
    """The person."""

    def say(self, text: str) -> None: ...

    def ask(self, question: str) -> str:
        """A line of text, stripped."""

    def watch(self, question: str, sample: Callable[[], Table]) -> None:
        """Call sample about every SAMPLE_S and show what it gives, until ENTER."""


class Console:
    """A person at this process's own terminal."""

    def say(self, text: str) -> None:
        print(text, flush=True)

    def ask(self, question: str) -> str:
        try:
            return input(f"{question} ").strip()
        except EOFError:
            raise _nobody() from None

    def watch(self, question: str, sample: Callable[[], Table]) -> None:
        self.say(question)
        live = _live()
        with live:
            shown_s = 0.0
            while not select.select([sys.stdin], [], [], SAMPLE_S)[0]:
                table = sample()
                if time.monotonic() - shown_s > _SHOW_S and sys.stdout.isatty():
                    shown_s = time.monotonic()
                    live.update(_drawn(table), refresh=True)
            heard = sys.stdin.readline()
        if not heard:
            raise _nobody()
        self.say(str(sample()))


def sure(terminal: Terminal, question: str) -> bool:
    """Whether the answer is yes, in so many words."""
    return terminal.ask(f"{question} [y/N]").lower() in ("y", "yes")


def _nobody() -> EdgeWamError:
    return EdgeWamError("nobody answers: standard input is closed; try: run it in a terminal")


def _live() -> Any:
    try:
        from rich.live import Live
    except ImportError as error:
        raise EdgeWamError(
            f"rich cannot be imported ({error}); try: pip install 'edge-wam[calibrate]'"
        ) from error
    # What stays on the screen is said afterwards, in plain words.
    return Live(auto_refresh=False, transient=True)


def _drawn(table: Table) -> Any:
    from rich.table import Table as Drawn

    drawn = Drawn()
    for index, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if index == 0 else "right")
    for row in table.rows:
        drawn.add_row(*row, style="green" if row[-1] == "ok" else None)
    return drawn
