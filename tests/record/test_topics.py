"""Messages there and back, and read by nothing but the schemas in the file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_rig import COMMAND, PLAN, picture

from edge_wam.messages import CHUNK
from edge_wam.record import topics
from edge_wam.record.topics import LOST, RECORDS, Stamp, pack, unpack
from edge_wam.telemetry import EVENT, TICK


@pytest.mark.parametrize("topic", RECORDS)
def test_a_record_comes_back_bit_for_bit(topic):
    rng = np.random.default_rng(0)
    dtype = RECORDS[topic]
    for _ in range(20):
        record = np.zeros((), dtype)
        for name in dtype.names:
            field = dtype[name]
            if field.base.kind == "S":
                record[name] = "grün".encode()
            elif field.base.kind == "b":
                record[name] = rng.random(field.shape) > 0.5
            elif field.base.kind == "f":
                record[name] = rng.normal(size=field.shape) * 10.0 ** rng.integers(-9, 9)
            else:
                info = np.iinfo(field.base)
                record[name] = rng.integers(info.min, info.max, field.shape, dtype=field.base, endpoint=True)
        back, t_s = unpack(topic, pack(topic, record, 123.456789012345))
        assert (back.tobytes(), t_s) == (record.tobytes(), 123.456789012345)


def test_what_is_not_a_number_stays_so():
    record = np.zeros((), TICK)
    record["wish_rad"], record["entered_s"] = np.nan, -np.inf
    back, _ = unpack(topics.TICKS, pack(topics.TICKS, record, 0.0))
    assert np.isnan(back["wish_rad"]).all()
    assert back["entered_s"] == -np.inf


def test_golden_bytes():
    """LOST as protobuf: field 1 double, field 2 string, field 3 varint (protobuf.dev, encoding)."""
    record = np.zeros((), LOST)
    record["what"], record["count"] = b"/tick", 300
    assert pack(topics.LOSSES, record, 1.5) == (
        b"\x09\x00\x00\x00\x00\x00\x00\xf8\x3f"  # t_s
        b"\x12\x05/tick"  # what
        b"\x18\xac\x02"  # count
    )


def test_pictures_are_lossless_as_png_and_near_as_jpeg():
    shown = picture("front", 3)
    assert (topics.pixels_of(topics.image("front", shown, 0, "png")) == shown).all()
    jpeg = topics.image("front", shown, 0, "jpeg")
    assert np.abs(topics.pixels_of(jpeg).astype(int) - shown).max() <= 8
    assert len(jpeg) < shown.nbytes / 10


@given(st.floats(0, 1e7))
def test_the_walls_time_and_back(t_s):
    stamp = Stamp(1_700_000_000_123_456_789)
    assert stamp.monotonic_s(stamp.wall_ns(t_s)) == pytest.approx(t_s, abs=1e-8)


def test_a_message_of_another_shape_is_refused(monkeypatch):
    record = np.zeros((), CHUNK)
    data = pack(topics.CHUNKS, record, 0.0)
    shorter = np.dtype([(n, CHUNK[n]) if n != "target_rad" else (n, np.float64, (3, 6)) for n in CHUNK.names])
    monkeypatch.setitem(RECORDS, topics.CHUNKS, shorter)
    with pytest.raises(topics.EdgeWamError, match="not what this version expects"):
        unpack(topics.CHUNKS, data)


def test_a_stranger_reads_a_recording_by_its_schemas_alone(recorded):
    reader = pytest.importorskip("mcap.reader")
    protobuf = pytest.importorskip("mcap_protobuf.decoder")
    found: dict[str, list] = {}
    kinds: dict[str, str] = {}
    with recorded.open("rb") as file:
        for schema, channel, _, message in reader.make_reader(
            file, decoder_factories=[protobuf.DecoderFactory()]
        ).iter_decoded_messages():
            found.setdefault(channel.topic, []).append(message)
            kinds[channel.topic] = schema.name
    assert kinds == {
        "/tick": "edge_wam.Tick",
        "/chunk": "edge_wam.Chunk",
        "/event": "edge_wam.Event",
        "/log": "foxglove.Log",
        "/joints/measured": "foxglove.JointStates",
        "/joints/sent": "foxglove.JointStates",
        "/camera/front": "foxglove.CompressedImage",
        "/camera/wrist": "foxglove.CompressedImage",
    }
    assert found["/camera/front"][0].format == "png"
    assert found["/camera/front"][0].data[:4] == b"\x89PNG"
    assert any(COMMAND in log.message for log in found["/log"])
    tick, joints = found["/tick"][40], found["/joints/sent"][40]
    assert [joint.name for joint in joints.joints] == list(PLAN.joints)
    assert [joint.position for joint in joints.joints] == list(tick.sent_rad)
    assert EVENT.names is not None
