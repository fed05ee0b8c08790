"""What people are told never holds anybody up: not on a terminal that hangs, not on a full disk."""

from __future__ import annotations

import os
import re
import sys
import threading

from edge_wam import teller
from edge_wam.teller import Teller


class Hangs:
    """A stream that nobody reads."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.go.wait(30.0)
        return len(text)

    def flush(self) -> None:
        pass


def test_lines_come_in_order_with_their_time(capsys):
    with Teller() as tell:
        tell("parking")
        tell("parked")
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"^\[ +\d+\.\d\d s\] ", "", line) for line in lines] == ["parking", "parked"]


def test_a_stream_that_hangs_holds_up_nobody_and_keeps_no_more_than_so_many_lines(monkeypatch):
    stream = Hangs()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(teller, "_CLOSE_S", 0.05)
    with Teller() as tell:
        for number in range(10 * teller._WAITING):
            tell(str(number))
        assert tell._lines.qsize() <= teller._WAITING
    assert tell._thread.is_alive()
    stream.go.set()


def test_a_full_disk_loses_the_line_and_nothing_else(monkeypatch):
    said: list[str] = []

    class Full:
        def write(self, text: str) -> int:
            if "lost" in text:
                raise OSError(28, os.strerror(28))
            said.append(text)
            return len(text)

        def flush(self) -> None:
            pass

    monkeypatch.setattr(sys, "stdout", Full())
    with Teller() as tell:
        tell("lost")
        tell("kept")
    assert "kept" in "".join(said)
