"""Events as journald gets them: fields on a real socket, and what is done where there is none."""

from __future__ import annotations

import os
import socket

import pytest

from edge_wam.service.journal import Journal


@pytest.fixture
def journald(tmp_path):
    """journald's socket, a file in place of standard output, and what systemd says of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening, (tmp_path / "out").open("w") as out:
        listening.bind(str(tmp_path / "socket"))
        listening.setblocking(False)
        found = os.fstat(out.fileno())
        yield listening, tmp_path / "socket", out.fileno(), f"{found.st_dev}:{found.st_ino}"


def test_an_event_is_its_fields_a_line_each(journald):
    listening, path, stream, name = journald
    journal = Journal("left", {"JOURNAL_STREAM": name}, path, stream)
    assert journal.event("heard", 'heard: "stop"', {"HEARD": "stop", "MEANT": ""})
    assert listening.recv(4096) == (
        b'MESSAGE=heard: "stop"\n'
        b"PRIORITY=6\n"
        b"SYSLOG_IDENTIFIER=edge-wam\n"
        b"EVENT=heard\n"
        b"ROBOT=left\n"
        b"HEARD=stop\n"
    )


def test_a_fault_is_a_warning_and_no_line_break_begins_a_field(journald):
    listening, path, stream, name = journald
    Journal("main", {"JOURNAL_STREAM": name}, path, stream).event("fault", "a\nEVENT=done", {})
    sent = listening.recv(4096)
    assert sent.startswith(b"MESSAGE\n\x0c\0\0\0\0\0\0\0a\nEVENT=done\nPRIORITY=4\n")


def test_text_is_utf8_and_its_length_is_in_bytes(journald):
    listening, path, stream, name = journald
    Journal("main", {"JOURNAL_STREAM": name}, path, stream).event("note", "回\n家", {})
    assert listening.recv(4096).startswith(b"MESSAGE\n\x07\0\0\0\0\0\0\0" + "回\n家".encode() + b"\n")


@pytest.mark.parametrize("said", [{}, {"JOURNAL_STREAM": ""}, {"JOURNAL_STREAM": "8:15"}])
def test_where_the_output_does_not_go_to_the_journal_it_is_printed(journald, said):
    listening, path, stream, _ = journald
    assert not Journal("main", said, path, stream).event("done", "done", {})
    with pytest.raises(BlockingIOError):
        listening.recv(4096)


def test_closed_output_is_no_journal(journald):
    _, path, _, _ = journald
    assert not Journal("main", {"JOURNAL_STREAM": ""}, path, 9999).event("done", "done", {})


def test_a_journal_that_is_full_or_gone_costs_nothing(journald):
    listening, path, stream, name = journald
    journal = Journal("main", {"JOURNAL_STREAM": name}, path, stream)
    assert not all(journal.event("note", "x" * 1000, {}) for _ in range(5000))  # would block, if it could
    listening.close()
    assert not journal.event("note", "nobody there", {})
