"""Records in a pipe: there and back, in whatever portions a pipe gives them."""

import itertools
import os
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wam.sense.pieces import Decoder, Failed, Opened, Piece, encode, read_some, write_all

RECORDS = [
    Opened("Mikrofon für alle: USB (hw:1,0)", 44_100),
    Piece(np.linspace(-1.0, 1.0, 882, dtype=np.float32), 12345.678901, 3, 4),
    Piece(np.zeros(0, np.float32), -1.5, 0, 0),
    Failed("gone; was it unplugged?"),
    Opened("", 16_000),
]


def same(found, wanted):
    assert [type(one) for one in found] == [type(one) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        if isinstance(one, Piece):
            np.testing.assert_array_equal(one.samples, other.samples)
            assert one[1:] == other[1:]
        else:
            assert one == other


def test_an_opening_on_the_wire():
    assert encode(Opened("mic", 16_000)) == b"".join(
        [
            b"o",  # opened
            b"\x07\x00\x00\x00",  # seven bytes follow the header
            bytes(8),  # no time,
            bytes(8),  # no counts
            b"\x80\x3e\x00\x00",  # 16000 Hz
            b"mic",
        ]
    )


@given(cuts=st.lists(st.integers(0, 4000), max_size=12))
def test_records_come_back_whatever_the_portions(cuts):
    data = b"".join(encode(record) for record in RECORDS)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    decoder, found = Decoder(), []
    for begin, end in itertools.pairwise(edges):
        found += decoder.feed(data[begin:end])
    same(found, RECORDS)


def test_a_record_is_not_told_before_its_last_byte():
    decoder, data = Decoder(), encode(RECORDS[1])
    assert decoder.feed(data[:-1]) == []
    assert len(decoder.feed(data[-1:])) == 1


def test_more_than_a_pipe_holds_is_written_whole():
    ours, theirs = os.pipe()
    big = Piece(np.arange(100_000, dtype=np.float32), 1.0, 0, 0)
    writer = threading.Thread(target=write_all, args=(theirs, encode(big)))
    writer.start()
    decoder, found = Decoder(), []
    while not found:
        found = decoder.feed(read_some(ours))
    writer.join()
    same(found, [big])
    os.set_blocking(ours, False)
    assert read_some(ours) is None
    os.close(theirs)
    assert read_some(ours) == b""
    os.close(ours)


def test_writing_to_nobody_is_an_error():
    ours, theirs = os.pipe()
    os.close(ours)
    with pytest.raises(BrokenPipeError):
        write_all(theirs, b"x")
    os.close(theirs)
