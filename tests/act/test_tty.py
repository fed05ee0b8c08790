"""Real serial ports: opening them, waiting on them, the bus over a pty."""

import errno
import os
import select
import threading
import time
import tty

import pytest
from bus_rig import READY_RAD, arrived, rig

from edge_wam.act import feetech
from edge_wam.act.bus import open_port
from edge_wam.act.feetech_bus import FeetechBus
from edge_wam.errors import BusError
from edge_wam.sim.wire import PtyPort


def test_a_port_that_does_not_exist_is_one_line_with_the_ports_that_do(tmp_path):
    path = str(tmp_path / "ttyACM7")
    with pytest.raises(BusError) as caught:
        open_port(path)
    message = str(caught.value)
    assert path in message
    assert "no such file" in message
    assert "ports on this machine" in message
    assert "\n" not in message


def test_a_file_that_is_no_port_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(BusError, match=r"notes\.txt cannot be opened"):
        open_port(str(path))


def test_two_programs_cannot_share_the_port():
    r = rig()
    with PtyPort(r.chain, wire_time=False) as wire:
        first = open_port(wire.path)
        with pytest.raises(BusError, match="another program is using it"):
            open_port(wire.path)
        first.close()
        open_port(wire.path).close()


def test_a_port_that_takes_nothing_neither_blocks_nor_raises():
    """pyserial's own write raised a timeout for requests that had gone out, when we were preempted."""
    master, slave = os.openpty()
    tty.setraw(slave)
    port = open_port(os.ttyname(slave))
    taken = [port.write(b"\x00" * 4096) for _ in range(100)]
    assert taken[-1] == 0
    bus = FeetechBus(port, (1, 2, 3))
    assert not bus.read_block().fresh.any()
    assert bus.counts.missing == (1, 1, 1)
    port.close()
    os.close(master)
    os.close(slave)


def test_unplugging_while_running_is_a_bus_error():
    r = rig()

    class Gone:
        timeout = 0.008
        port = "/dev/ttyACM0"

        def take(self):
            return b""

        def write(self, data):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(BusError, match="/dev/ttyACM0 failed while sending"):
        FeetechBus(Gone(), r.calibration.ids).read_block()
    r.port.close()
    with pytest.raises(BusError, match="unplugged"):
        r.bus.read_block()


def test_the_same_client_over_a_pty_with_pyserial():
    r = rig()
    with PtyPort(r.chain) as wire:
        port = open_port(wire.path)
        bus = FeetechBus(port, r.calibration.ids, deadline_s=1.0)  # a busy test machine is slow
        assert [bus.ping(servo_id) for servo_id in bus.ids] == [0] * 6
        block = bus.read_block()
        assert block.fresh.all()
        assert block.position.tolist() == r.calibration.to_counts(READY_RAD).tolist()
        wire.faults.garble(servo_id=2)
        wire.faults.noise(b"\xff\xff\x05", servo_id=3)
        assert bus.read_block().fresh.tolist() == [True, False, True, True, True, True]
        wire.faults.delay(1.1, servo_id=6)
        assert not bus.read_block().fresh[5]
        arrived(port, feetech.STATUS_BYTES + feetech.BLOCK_BYTES)
        assert bus.read_block().fresh.all()
        assert bus.counts.late == (0, 0, 0, 0, 0, 1)
        bus.close()


def test_a_reader_is_woken_once_an_answer_and_gets_what_there_is_at_its_deadline():
    master, slave = os.openpty()
    port = open_port(os.ttyname(slave))
    port.timeout = 5.0
    woken, selecting = [], select.select

    def counted(*args):
        found = selecting(*args)
        woken.append(port.in_waiting)
        return found

    def dribble():
        for _ in range(6):
            os.write(master, bytes(21))
            time.sleep(0.02)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_wam.act.tty.select.select", counted)
        feeder = threading.Thread(target=dribble)
        feeder.start()
        assert port.read(126) == bytes(126)
        feeder.join()
        assert len(woken) == 1  # when all of it was there
        os.write(master, bytes(7))
        arrived(port, 7)
        port.timeout = 0.01
        assert port.read(1) == bytes(1)  # what is there already takes no waiting
        assert len(woken) == 1
        assert port.read(21) == bytes(6)
        port.timeout = 5.0
        os.write(master, bytes(300))
        arrived(port, 300)
        assert port.read(300) == bytes(300)  # more than VMIN can say
    os.close(master)
    with pytest.raises(OSError, match=r"hung up|Input/output"):
        port.read(1)
    port.close()
    with pytest.raises(OSError, match="not open"):
        port.read(1)
    os.close(slave)


def test_nothing_reaches_the_servos_of_an_unplugged_pty():
    r = rig()
    with PtyPort(r.chain, wire_time=False) as wire:
        bus = FeetechBus(open_port(wire.path), r.calibration.ids, deadline_s=0.1)
        wire.faults.unplugged = True
        with pytest.raises(BusError, match="no reply from servo 1"):
            bus.write(1, feetech.ACCELERATION, 99)
        assert r.chain.servos[0].get(feetech.ACCELERATION) == 0
        bus.close()


def test_a_half_sent_request_does_not_swallow_the_next_one_on_a_pty():
    r = rig()
    with PtyPort(r.chain, wire_time=False) as wire:
        port = open_port(wire.path)
        port.write(bytes.fromhex("FF FF 01 40 03"))
        assert not select.select([port.fileno()], [], [], 0.3)[0]  # the servo gives it up after 20 ms
        assert FeetechBus(port, (1,), deadline_s=1.0).ping(1) == 0
        port.close()
