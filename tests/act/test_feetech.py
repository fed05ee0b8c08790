"""Golden bytes from Feetech's protocol manual, inverse pairs, and what garbage does to the reader."""

from __future__ import annotations

import random

import pytest

from edge_wam.act import feetech
from edge_wam.act.feetech import Packet, PacketReader


def hexed(text: str) -> bytes:
    return bytes.fromhex(text)


# --- golden: the manual's own examples (FT-SCS protocol, chapter 4), one per instruction ---------

MANUAL = [
    ("ping servo 1", feetech.ping(1), "FF FF 01 02 01 FB"),
    ("read its position", feetech.read(1, 0x38, 2), "FF FF 01 04 02 38 02 BE"),
    (
        "write position 2048, time 0, speed 1000",
        feetech.write(1, 0x2A, hexed("00 08 00 00 E8 03")),
        "FF FF 01 09 03 2A 00 08 00 00 E8 03 D5",
    ),
    ("action, to everybody", feetech.action(), "FF FF FE 02 05 FA"),
    (
        "sync write position 2048 and speed 1000 to four",
        feetech.sync_write(0x2A, [(i, hexed("00 08 00 00 E8 03")) for i in (1, 2, 3, 4)]),
        "FF FF FE 20 83 2A 06 01 00 08 00 00 E8 03 02 00 08 00 00 E8 03 "
        "03 00 08 00 00 E8 03 04 00 08 00 00 E8 03 58",
    ),
    ("a healthy answer without data", feetech.status(1, 0), "FF FF 01 02 00 FC"),
    ("the answer position 1304", feetech.status(1, 0, hexed("18 05")), "FF FF 01 04 00 18 05 DD"),
]


@pytest.mark.parametrize(
    ("packet", "golden"), [case[1:] for case in MANUAL], ids=[case[0] for case in MANUAL]
)
def test_packets_are_the_manuals_bytes(packet, golden):
    assert packet == hexed(golden)


def test_reg_write_differs_from_write_in_the_instruction_only():
    written = feetech.write(7, 42, b"\x10\x02")
    kept = feetech.reg_write(7, 42, b"\x10\x02")
    assert kept == hexed("FF FF 07 05 04 2A 10 02 B3")
    assert [i for i, (a, b) in enumerate(zip(written, kept, strict=True)) if a != b] == [4, 8]


def test_sync_read_names_address_length_and_ids_in_order():
    assert feetech.sync_read(56, 15, (1, 2, 3, 4, 5, 6)) == hexed(
        "FF FF"  # header
        "FE"  # broadcast
        "0A"  # length: six ids + 4
        "82"  # SYNC READ
        "38 0F"  # from 56, 15 bytes
        "01 02 03 04 05 06"
        "19"  # checksum
    )


def test_sync_write_refuses_pieces_of_different_length():
    with pytest.raises(ValueError, match="one length"):
        feetech.sync_write(42, [(1, b"\0\0"), (2, b"\0")])


def test_packet_longer_than_the_servos_buffer_is_refused():
    assert len(feetech.write(1, 0, bytes(feetech.LONGEST_PARAMETERS - 1))) == feetech.LONGEST_PACKET
    with pytest.raises(ValueError, match="parameters"):
        feetech.write(1, 0, bytes(feetech.LONGEST_PARAMETERS))


# --- registers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("register", "value", "golden"),
    [
        (feetech.GOAL_POSITION, 2048, "00 08"),
        (feetech.GOAL_POSITION, -1, "01 80"),  # sign-magnitude, not FF FF
        (feetech.GOAL_POSITION, 32767, "FF 7F"),
        (feetech.GOAL_POSITION, -32767, "FF FF"),
        (feetech.HOMING_OFFSET, 2047, "FF 07"),
        (feetech.HOMING_OFFSET, -2047, "FF 0F"),
        (feetech.HOMING_OFFSET, -12, "0C 08"),
        (feetech.PRESENT_LOAD, -1000, "E8 07"),
        (feetech.TORQUE_ENABLE, 128, "80"),
    ],
)
def test_registers_pack_to_known_bytes_and_back(register, value, golden):
    assert feetech.pack(register, value) == hexed(golden)
    assert feetech.unpack(register, hexed(golden)) == value


def test_every_register_survives_the_round_trip_at_and_around_its_bounds():
    for register in feetech.REGISTERS:
        values = {register.low, register.low + 1, 0, 1, register.high - 1, register.high, register.default}
        for value in values & set(range(register.low, register.high + 1)):
            assert feetech.unpack(register, feetech.pack(register, value)) == value, register.name


def test_a_value_that_does_not_fit_is_refused_rather_than_wrapped():
    for register in feetech.REGISTERS:
        for value in (register.low - 1, register.high + 1):
            with pytest.raises(ValueError, match=register.name):
                feetech.pack(register, value)


def test_minus_zero_is_zero():
    assert feetech.unpack(feetech.PRESENT_SPEED, b"\x00\x80") == 0


def test_registers_do_not_overlap_and_stand_in_order():
    for before, after in zip(feetech.REGISTERS, feetech.REGISTERS[1:], strict=False):
        assert before.end <= after.address, after.name


def test_register_addresses_agree_with_the_foreign_table():
    """feetech-cli's table was made by other people from other sources."""
    from feetech_cli.registers import BAUDRATE_TABLE, CONTROL_TABLE

    ours = {register.address: register for register in feetech.REGISTERS}
    for name, theirs in CONTROL_TABLE.items():
        register = ours[theirs.address]
        if name != "minimum_startup_force":  # Feetech: one byte, and the next is the integral's limit
            assert register.size == theirs.size, name
        assert register.sign_bit == theirs.sign_bit or name == "goal_time", name
        assert register.writable == theirs.writable, name
        assert register.eeprom == (theirs.area == "eeprom"), name
    assert tuple(BAUDRATE_TABLE.values()) == feetech.BAUDS_BPS


def test_block_decodes_every_field_with_its_own_sign_bit():
    data = hexed(
        "18 05"  # position 1304
        "2C 81"  # speed -300
        "F4 05"  # load -500 (bit 10)
        "78"  # 12.0 V
        "29"  # 41 degC
        "01"  # a REG WRITE waits: not ours
        "20"  # overload
        "01"  # moving
        "FF 7F"  # goal: not ours
        "0A 80"  # current -10
    )
    assert len(data) == feetech.BLOCK_BYTES == 15
    assert feetech.present(data) == (1304, -300, -500, 120, 41, 0x20, 1, -10)


def test_error_text_names_every_bit_and_the_raw_byte():
    assert feetech.error_text(0) == "healthy"
    assert feetech.error_text(0x20) == "overload (0x20)"
    assert feetech.error_text(0x05) == "voltage and overheated (0x05)"
    assert feetech.error_text(0x80) == "unknown (0x80)"


# --- the reader ---------------------------------------------------------------------------------

ONE = Packet(1, 0, hexed("18 05"))
TWO = Packet(2, 0x20, b"")
THREE = Packet(3, 0, b"\xff\xff\xff\x00\xff")  # data that looks like headers


def wire(*packets: Packet) -> bytes:
    return b"".join(feetech.encode(packet) for packet in packets)


def test_decode_is_the_inverse_of_encode_for_any_packet():
    generator = random.Random(7)
    for _ in range(500):
        packet = Packet(
            generator.randrange(254), generator.randrange(256), generator.randbytes(generator.randrange(40))
        )
        reader = PacketReader()
        assert reader.feed(feetech.encode(packet)) == [packet]
        assert (reader.garbage_bytes, reader.broken, reader.waiting) == (0, 0, 0)


def test_packets_may_come_in_pieces_of_any_size():
    stream = wire(ONE, TWO, THREE)
    for size in range(1, len(stream) + 1):
        reader = PacketReader()
        got = [p for i in range(0, len(stream), size) for p in reader.feed(stream[i : i + size])]
        assert got == [ONE, TWO, THREE]


@pytest.mark.parametrize("noise", ["00", "FF", "FF FF", "FF FF FF", "55 AA 00", "FF FF 01", "FF 00 FF"])
def test_noise_before_a_packet_costs_only_itself(noise):
    reader = PacketReader(longest_parameters=5)
    stream = hexed(noise) + wire(ONE, THREE)
    assert reader.feed(stream) + reader.finish() == [ONE, THREE]
    assert reader.garbage_bytes == len(hexed(noise))


def test_any_flipped_bit_loses_that_packet_and_no_other():
    """As in a sync read: all answers have one length, and the reader knows it."""
    before, after = Packet(2, 0, b"\x01\x02"), Packet(3, 0, b"\xff\xff")
    clean = wire(ONE)
    for position in range(len(clean)):
        for bit in range(8):
            bent = bytearray(clean)
            bent[position] ^= 1 << bit
            reader = PacketReader(longest_parameters=2)
            got = reader.feed(wire(before) + bytes(bent) + wire(after)) + reader.finish()
            assert got == [before, after], (position, bit)


def test_one_bit_of_length_is_what_the_checksum_cannot_see():
    """LEN + 1 takes the checksum in as data, and the next header's FF fits as the checksum: always.

    So whoever knows how long the answer must be has to say so (bus.py does).
    """
    bent = bytearray(wire(ONE))
    bent[3] += 1
    stream = bytes(bent) + wire(TWO)
    assert PacketReader().feed(stream)[0].parameters == ONE.parameters + wire(ONE)[-1:]
    reader = PacketReader(longest_parameters=2)
    assert reader.feed(stream) + reader.finish() == [TWO]


def test_any_lost_byte_loses_that_packet_and_no_other():
    clean = wire(ONE)
    for position in range(len(clean)):
        reader = PacketReader()
        cut = clean[:position] + clean[position + 1 :]
        got = reader.feed(wire(TWO) + cut + wire(THREE)) + reader.finish()
        assert got == [TWO, THREE], position


def test_a_doubled_packet_is_two_packets():
    assert PacketReader().feed(wire(ONE, ONE)) == [ONE, ONE]


def test_a_false_header_announcing_too_much_is_skipped_at_once():
    reader = PacketReader(longest_parameters=15)
    assert reader.feed(hexed("FF FF 05 F0 00") + wire(ONE)) == [ONE]


def test_a_false_header_within_bounds_is_looked_behind_when_the_wire_is_quiet():
    reader = PacketReader()
    assert reader.feed(hexed("FF FF 05 20 00") + wire(ONE, TWO)) == []
    assert reader.waiting > 0
    assert reader.finish() == [ONE, TWO]
    assert reader.waiting == 0


def test_broken_checksums_are_counted():
    reader = PacketReader()
    assert reader.feed(wire(ONE)[:-1] + b"\x00") + reader.finish() == []
    assert reader.broken == 1
    assert reader.garbage_bytes == 8


def test_random_noise_never_stops_the_reader():
    generator = random.Random(3)
    reader = PacketReader(longest_parameters=15)
    for _ in range(200):
        reader.feed(generator.randbytes(generator.randrange(60)))
    reader.finish()
    assert reader.feed(wire(ONE)) == [ONE]


def test_a_register_s_bytes_are_as_many_as_it_has():
    with pytest.raises(ValueError, match="goal_position has 2 bytes, got 3"):
        feetech.unpack(feetech.GOAL_POSITION, b"\0\0\0")
