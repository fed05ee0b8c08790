"""Golden bytes from ROBOTIS' e-manual, inverse pairs, stuffing, and what garbage does to the readers."""

from __future__ import annotations

import random

import pytest

from edge_wam.act import dynamixel
from edge_wam.act import dynamixel_table as table
from edge_wam.act.dynamixel import JoinedReader, Packet, PacketReader, Status, StatusReader


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


# --- golden: the e-manual's own examples (protocol 2.0), one per instruction ----------------------

MANUAL = [
    ("ping servo 1", dynamixel.ping(1), "FF FF FD 00 01 03 00 01 19 4E"),
    ("ping everybody", dynamixel.ping(0xFE), "FF FF FD 00 FE 03 00 01 31 42"),
    (
        "its answer: model 1030, firmware 38",
        dynamixel.status(1, 0, hexed("06 04 26")),
        "FF FF FD 00 01 07 00 55 00 06 04 26 65 5D",
    ),
    ("read the position", dynamixel.read(1, 132, 4), "FF FF FD 00 01 07 00 02 84 00 04 00 1D 15"),
    (
        "its answer: 166",
        dynamixel.status(1, 0, hexed("A6 00 00 00")),
        "FF FF FD 00 01 08 00 55 00 A6 00 00 00 8C C0",
    ),
    (
        "write goal position 512",
        dynamixel.write(1, 116, hexed("00 02 00 00")),
        "FF FF FD 00 01 09 00 03 74 00 00 02 00 00 CA 89",
    ),
    ("reboot", dynamixel.reboot(1), "FF FF FD 00 01 03 00 08 2F 4E"),
    ("a healthy answer without data", dynamixel.status(1, 0), "FF FF FD 00 01 04 00 55 00 A1 0C"),
    (
        "sync read the positions of two",
        dynamixel.sync_read(132, 4, (1, 2)),
        "FF FF FD 00 FE 09 00 82 84 00 04 00 01 02 CE FA",
    ),
    (
        "fast sync read the positions of three",
        dynamixel.sync_read(132, 4, (3, 7, 4), fast=True),
        "FF FF FD 00 FE 0A 00 8A 84 00 04 00 03 07 04 20 F2",
    ),
    (
        "sync write goal positions 150 and 170",
        dynamixel.sync_write(116, [(1, hexed("96 00 00 00")), (2, hexed("AA 00 00 00"))]),
        "FF FF FD 00 FE 11 00 83 74 00 04 00 01 96 00 00 00 02 AA 00 00 00 82 87",
    ),
    (
        "bulk read the voltage of one and the temperature of another",
        dynamixel.bulk_read([(1, 144, 2), (2, 146, 1)]),
        "FF FF FD 00 FE 0D 00 92 01 90 00 02 00 02 92 00 01 00 1A 05",
    ),
]
# "fast sync read" above, answered by ids 3, 7, 4 with 166, 2079, 1023
THREE = [
    Status(3, 0, hexed("A6 00 00 00")),
    Status(7, 0, hexed("1F 08 00 00")),
    Status(4, 0, hexed("FF 03 00 00")),
]
JOINED = [
    "FF FF FD 00 FE 19 00 55  00 03 A6 00 00 00 84 08",
    "00 07 1F 08 00 00 16 CA",
    "00 04 FF 03 00 00 D1 9E",
]


@pytest.mark.parametrize(
    ("packet", "golden"), [case[1:] for case in MANUAL], ids=[case[0] for case in MANUAL]
)
def test_packets_are_the_manuals_bytes(packet, golden):
    assert packet == hexed(golden)


def test_a_joined_status_is_the_manuals_piece_by_piece():
    assert dynamixel.joined(THREE, 25) == [hexed(piece) for piece in JOINED]


def test_a_fast_bulk_read_differs_from_a_plain_one_in_the_instruction_and_the_crc():
    plain, fast = (dynamixel.bulk_read([(1, 144, 2)], fast=fast) for fast in (False, True))
    assert (plain[7], fast[7]) == (0x92, 0x9A)
    assert [i for i, (a, b) in enumerate(zip(plain, fast, strict=True)) if a != b] == [7, 13, 14]


def test_sync_write_refuses_pieces_of_different_length():
    with pytest.raises(ValueError, match="one length"):
        dynamixel.sync_write(116, [(1, b"\0\0"), (2, b"\0")])


def test_a_packet_longer_than_any_servo_takes_is_refused():
    dynamixel.write(1, 0, bytes(dynamixel.LONGEST_PARAMETERS - 2))
    with pytest.raises(ValueError, match="parameters"):
        dynamixel.write(1, 0, bytes(dynamixel.LONGEST_PARAMETERS - 1))


# --- stuffing -----------------------------------------------------------------------------------


def test_a_header_in_the_data_is_stuffed_and_counted():
    packet = dynamixel.write(1, 116, hexed("FF FF FD 00"))
    assert packet[5:7] == hexed("0A 00")  # one more than in the manual's write
    assert packet[10:15] == hexed("FF FF FD FD 00")
    assert packet.count(dynamixel.HEADER) == 1
    assert PacketReader().feed(packet) == [Packet(1, 3, hexed("74 00 FF FF FD 00"))]


@pytest.mark.parametrize(
    "data", ["FFFFFD", "FFFFFDFD", "FFFFFFFD", "FFFFFDFFFFFD", "FFFFFDFDFDFD00", "FFFFFD" * 9]
)
def test_stuffing_comes_off_whatever_the_data_look_like(data):
    packet = Packet(2, 3, hexed(data))
    stream = dynamixel.encode(packet)
    for size in range(1, len(stream) + 1):  # also split within the stuffing
        reader = PacketReader(longest_parameters=len(packet.parameters))
        got = [p for i in range(0, len(stream), size) for p in reader.feed(stream[i : i + size])]
        assert got == [packet]
        assert (reader.garbage_bytes, reader.broken, reader.waiting) == (0, 0, 0)


def test_stuffing_is_what_the_sdk_makes_of_it():
    from dynamixel_sdk.protocol2_packet_handler import Protocol2PacketHandler

    handler, generator = Protocol2PacketHandler(), random.Random(5)
    for _ in range(200):
        data = bytes(generator.choice((0xFF, 0xFF, 0xFD, 0x00)) for _ in range(generator.randrange(1, 30)))
        ours = dynamixel.write(1, 116, data)
        length = len(data) + 5
        plain = [0xFF, 0xFF, 0xFD, 0, 1, length & 0xFF, length >> 8, 3, 116, 0, *data, 0, 0]
        theirs = handler.addStuffing(plain)
        assert bytes(theirs[:-2]) == ours[:-2]
        assert handler.updateCRC(0, list(ours), len(ours) - 2) == int.from_bytes(ours[-2:], "little")


# --- registers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value", "golden"),
    [
        (table.GOAL_POSITION, 512, "00 02 00 00"),
        (table.GOAL_POSITION, -1, "FF FF FF FF"),  # two's complement
        (table.HOMING_OFFSET, -1_044_479, "01 10 F0 FF"),
        (table.PRESENT_EFFORT, -10, "F6 FF"),
        (table.BUS_WATCHDOG, -1, "FF"),
        (table.BUS_WATCHDOG, 127, "7F"),
        (table.GOAL_PWM, -885, "8B FC"),
        (table.PRESENT_VOLTAGE, 120, "78 00"),
    ],
)
def test_registers_pack_to_known_bytes_and_back(register, value, golden):
    assert dynamixel.pack(register, value) == hexed(golden)
    assert dynamixel.unpack(register, hexed(golden)) == value


def test_every_register_survives_the_round_trip_at_and_around_its_bounds():
    for register in table.REGISTERS:
        values = {register.low, register.low + 1, 0, 1, register.high - 1, register.high, register.default}
        for value in {value for value in values if register.low <= value <= register.high}:
            assert dynamixel.unpack(register, dynamixel.pack(register, value)) == value, register.name


def test_a_value_that_does_not_fit_is_refused_rather_than_wrapped():
    for register in table.REGISTERS:
        for value in (register.low - 1, register.high + 1):
            with pytest.raises(ValueError, match=register.name):
                dynamixel.pack(register, value)
    with pytest.raises(ValueError, match="goal_position has 4 bytes, got 2"):
        dynamixel.unpack(table.GOAL_POSITION, b"\0\0")


def test_registers_do_not_overlap_and_stand_in_order():
    for before, after in zip(table.REGISTERS, table.REGISTERS[1:], strict=False):
        assert before.end <= after.address, after.name


@pytest.mark.parametrize("model", ["xl330_m077", "xl330_m288", "xl430_w250"])
def test_register_addresses_agree_with_robotis_tables(model):
    from pathlib import Path

    import dynamixel_easy_sdk

    text = (Path(dynamixel_easy_sdk.__file__).parent / "control_table" / f"{model}.model").read_text()
    lines = [line.split("\t") for line in text.partition("[control table]")[2].splitlines()]
    theirs = {int(line[0]): (int(line[1]), line[2]) for line in lines if line[0].isdigit()}
    for register in table.REGISTERS:
        if register.name in ("current_limit", "goal_current") and model == "xl430_w250":
            continue
        assert theirs[register.address][0] == register.size, register.name
    assert theirs[table.INDIRECT_ADDRESS][0] == 2
    models = Path(dynamixel_easy_sdk.__file__).parent / "control_table" / "dynamixel.model"
    number = next(k for k, m in table.MODELS.items() if m.name.lower().replace("-", "_") == model)
    assert f"{number}\t{model}.model" in models.read_text()


def test_the_block_decodes_every_field_and_fits_the_smallest_indirect_room():
    data = hexed(
        "01"  # torque on
        "20"  # overload
        "FF"  # watchdog tripped
        "01"  # moving
        "F6 FF"  # -10
        "D4 FE FF FF"  # -300
        "18 05 00 00"  # 1304
        "78 00"  # 12.0 V
        "29"  # 41 degC
    )
    assert len(data) == table.BLOCK_BYTES == len(table.BLOCK_ADDRESSES) == 17
    assert table.present(data) == (1, 0x20, -1, 1, -10, -300, 1304, 120, 41)
    assert table.BLOCK_ADDRESSES[:3] == (64, 70, 98)
    assert table.BLOCK_ADDRESSES[-7:] == (132, 133, 134, 135, 144, 145, 146)
    rooms = [(base - table.INDIRECT_ADDRESS) // 2 for base in table.INDIRECT_DATA]
    assert min(rooms) == 20 >= table.BLOCK_BYTES


def test_error_text_names_every_bit_and_the_raw_byte():
    assert dynamixel.error_text(0) == "healthy"
    assert dynamixel.error_text(0x20) == "overload (0x20)"
    assert dynamixel.error_text(0x84) == "overheated and alert (0x84)"
    assert dynamixel.error_text(0x11) == "voltage and electrical shock (0x11)"
    assert dynamixel.error_text(0x40) == "unknown (0x40)"


# --- the readers --------------------------------------------------------------------------------

ONE = Packet(1, 0x55, hexed("00 18 05 00 00"))
TWO = Packet(2, 0x55, b"\xa0")
ODD = Packet(3, 0x55, b"\x00\xff\xff\xfd\x00\xff\xff\xff")  # data that looks like headers


def wire(*packets: Packet) -> bytes:
    return b"".join(dynamixel.encode(packet) for packet in packets)


def test_decode_is_the_inverse_of_encode_for_any_packet():
    generator = random.Random(7)
    for _ in range(500):
        length = generator.randrange(40)
        data = bytes(generator.choice((0xFF, 0xFD, generator.randrange(256))) for _ in range(length))
        packet = Packet(generator.randrange(253), generator.randrange(256), data)
        reader = PacketReader()
        assert reader.feed(dynamixel.encode(packet)) == [packet]
        assert (reader.garbage_bytes, reader.broken, reader.waiting) == (0, 0, 0)


def test_packets_may_come_in_pieces_of_any_size():
    stream = wire(ONE, TWO, ODD)
    for size in range(1, len(stream) + 1):
        reader = PacketReader()
        got = [p for i in range(0, len(stream), size) for p in reader.feed(stream[i : i + size])]
        assert got == [ONE, TWO, ODD]


@pytest.mark.parametrize(
    "noise",
    ["00", "FF", "FF FF", "FF FF FD", "FF FF FF", "FF FF FD 00", "FF FF FD 00 FD", "FF FF FD 00 01 02 00"],
)
def test_noise_before_a_packet_costs_only_itself(noise):
    reader = PacketReader(longest_parameters=8)
    stream = hexed(noise) + wire(ONE, ODD)
    assert reader.feed(stream) + reader.finish() == [ONE, ODD]
    assert reader.garbage_bytes == len(hexed(noise))


def test_any_flipped_bit_loses_that_packet_and_no_other():
    before, after = Packet(2, 0x55, b"\x00\x01\x02\x03\x04"), Packet(3, 0x55, b"\x00\xff\xff\xff\xff")
    clean = wire(ONE)
    for position in range(len(clean)):
        for bit in range(8):
            bent = bytearray(clean)
            bent[position] ^= 1 << bit
            reader = PacketReader(longest_parameters=5)
            got = reader.feed(wire(before) + bytes(bent) + wire(after)) + reader.finish()
            assert got == [before, after], (position, bit)


def test_any_lost_byte_loses_that_packet_and_no_other():
    clean = wire(ONE)
    for position in range(len(clean)):
        reader = PacketReader()
        cut = clean[:position] + clean[position + 1 :]
        assert reader.feed(wire(TWO) + cut + wire(ODD)) + reader.finish() == [TWO, ODD], position


def test_a_false_header_announcing_too_much_is_skipped_at_once():
    reader = PacketReader(longest_parameters=15)
    assert reader.feed(hexed("FF FF FD 00 05 F0 00 55") + wire(ONE)) == [ONE]


def test_a_header_with_an_id_that_no_servo_has_is_skipped_at_once():
    for servo_id in ("FD", "FF"):
        assert PacketReader().feed(hexed(f"FF FF FD 00 {servo_id} 40 00 55") + wire(ONE)) == [ONE]


def test_a_false_header_within_bounds_is_looked_behind_when_the_wire_is_quiet():
    reader = PacketReader()
    assert reader.feed(hexed("FF FF FD 00 05 40 00 55") + wire(ONE, TWO)) == []
    assert reader.waiting > 0
    assert reader.finish() == [ONE, TWO]
    assert reader.waiting == 0


def test_broken_crcs_are_counted():
    reader = PacketReader()
    assert reader.feed(wire(ONE)[:-1] + b"\x00") + reader.finish() == []
    assert reader.broken == 1
    assert reader.garbage_bytes == len(wire(ONE))


def test_an_echo_of_the_question_is_no_answer():
    """A READ has four bytes of parameters, and so has the answer about a position."""
    echo, answer = dynamixel.read(1, 132, 4), dynamixel.status(1, 0x80, hexed("A6 00 00 00"))
    assert StatusReader(4).feed(echo + answer) == [Status(1, 0x80, hexed("A6 00 00 00"))]


# --- joined answers -----------------------------------------------------------------------------

STREAM = b"".join(map(hexed, JOINED))


def test_joined_answers_may_come_in_pieces_of_any_size():
    for size in range(1, len(STREAM) + 1):
        reader = JoinedReader(4, 3)
        got = [a for i in range(0, len(STREAM), size) for a in reader.feed(STREAM[i : i + size])]
        assert got == THREE
        assert (reader.garbage_bytes, reader.broken, reader.waiting) == (0, 0, 0)


def test_blocks_before_the_first_broken_one_are_good_and_none_behind_it():
    for position in range(len(STREAM)):
        bent = bytearray(STREAM)
        bent[position] ^= 0x10
        reader = JoinedReader(4, 3)
        got = reader.feed(bytes(bent)) + reader.finish()
        whole = 0 if position < 16 else (position - 8) // 8
        assert got == THREE[:whole], position
        assert reader.garbage_bytes == len(STREAM) - (8 + 8 * whole if position >= 8 else 0)


def test_a_joined_answer_that_ends_early_gives_what_there_was():
    reader = JoinedReader(4, 3)
    assert reader.feed(STREAM[:-3]) == THREE[:2]
    assert reader.waiting == 5
    assert reader.finish() == []
    assert (reader.waiting, reader.garbage_bytes) == (0, 5)


@pytest.mark.parametrize("noise", ["00", "FF FF FD", "FF FF FD 00 FE 19 00", "FF FF FD 00 FE 18 00 55"])
def test_noise_before_a_joined_answer_costs_only_itself(noise):
    reader = JoinedReader(4, 3)
    assert reader.feed(hexed(noise) + STREAM) == THREE
    assert reader.garbage_bytes == len(hexed(noise))


def test_data_that_look_like_a_header_are_not_stuffed_in_a_joined_answer():
    """The SDK takes no stuffing off there; a position of -1 and a speed of -3 are FF FF FF FF FD FF FF FF."""
    answers = [Status(1, 0, b"\xff\xff\xfd\x00"), Status(2, 0x80, b"\xff\xff\xfd\xfd")]
    stream = b"".join(dynamixel.joined(answers, 17))
    assert stream[10:14] == b"\xff\xff\xfd\x00"
    assert JoinedReader(4, 2).feed(stream) == answers


@pytest.mark.parametrize(
    ("register", "why"),
    [
        (table.HOMING_OFFSET, "is its torque on"),
        (table.GOAL_POSITION, "has its bus watchdog tripped"),
        (table.TORQUE_ENABLE, "has it shut down (hardware_error)"),
        (table.LED, ""),
    ],
)
def test_what_may_be_the_reason_is_said_where_it_is_known(register, why):
    said = dynamixel.why_not_kept(register)
    assert why in said
    assert bool(said) == bool(why)
