"""One thought at a time between real mailboxes; the policy is a fake at its seam."""

from __future__ import annotations

import numpy as np
import pytest

from edge_wam.act.plan import Plan
from edge_wam.clock import ManualClock
from edge_wam.mailbox import Mailbox, private_name
from edge_wam.messages import CHUNK, STATE, StateWriter, read_chunk
from edge_wam.think.worker import Recorder, Worker, think_until
from edge_wam.types import Frame

DT_S = 1 / 30
START_S = 1000.0
COMMAND = "pick up the red cube"


class FakePolicy:
    """Answers with its number of calls, after `work_s`; keeps what it was shown."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.work_s = clock, 0.03
        self.seen, self.committed = [], []
        self.meanwhile = lambda: None
        self.imagined_at_s = []
        self.progress = 0.25, 0.5

    def infer(self, observation, committed_rad):
        self.seen.append(observation)
        self.committed.append(committed_rad)
        self.clock.advance(self.work_s)
        self.meanwhile()
        return np.full((16, 6), len(self.seen) / 10) + np.arange(16)[:, None] * 0.01

    def imagine(self):
        self.imagined_at_s.append(self.clock.now_s())
        return np.full((2, 2, 48, 48, 3), len(self.seen) % 256, np.uint8)


class Bench:
    """Control's end of the state mailbox, a worker at the other, and a clock between them."""

    def __init__(self, states: Mailbox, delay_s=None) -> None:
        self.clock = ManualClock(START_S)
        self.policy = FakePolicy(self.clock)
        self.writer = StateWriter(states)
        self.worker = Worker(self.policy, DT_S, 6, 0.2, states, self.clock.now_s, delay_s)

    def control(self, epoch=1, running=True, seconds=0.5):
        """`seconds` of a control loop up to now: joints move at 1 rad/s, targets 0.1 rad ahead."""
        self.writer.say(epoch=epoch, command=COMMAND if running else "", running=running)
        for t_s in np.arange(self.clock.now_s() - seconds, self.clock.now_s() + 1e-9, 0.02):
            at = np.full(6, t_s - START_S)
            self.writer.put(float(t_s), at, at + 0.1)

    def frames(self, t_s=None, apart_s=0.0):
        t_s = self.clock.now_s() if t_s is None else t_s
        image = np.zeros((4, 4, 3), np.uint8)
        return Frame("front", image, t_s, 1), Frame("wrist", image, t_s + apart_s, 1)


@pytest.fixture
def states():
    with Mailbox.create(private_name("test.worker.state"), STATE) as mailbox:
        yield mailbox


@pytest.fixture
def bench(states):
    return Bench(states)


def test_nothing_is_thought_before_control_has_spoken(bench):
    assert not bench.worker.wants(START_S)
    assert bench.worker.think(bench.frames()) is None


def test_nothing_is_thought_while_no_command_holds(bench):
    bench.control(running=False)
    assert not bench.worker.wants(START_S)
    assert bench.worker.think(bench.frames()) is None
    assert bench.policy.seen == []


def test_a_frame_is_worth_a_thought_every_replan_period(bench):
    bench.control()
    assert bench.worker.wants(START_S)
    bench.worker.think(bench.frames(START_S))
    wanted = [
        round(after_s, 3) for after_s in np.arange(0, 0.4, 1 / 30) if bench.worker.wants(START_S + after_s)
    ]
    assert wanted[0] == pytest.approx(0.2)  # six frames of 30 Hz, in spite of rounding
    assert len(wanted) == 6


def test_a_new_command_is_thought_about_at_once(bench):
    bench.control(epoch=1)
    bench.worker.think(bench.frames())
    assert not bench.worker.wants(START_S + 0.033)
    bench.control(epoch=2)
    assert bench.worker.wants(START_S + 0.033)


def test_a_chunk_counts_from_the_exposure_of_its_oldest_frame(bench):
    bench.control()
    thought = bench.worker.think(bench.frames(START_S - 0.05, apart_s=-0.02))
    assert thought.chunk.t0_s == pytest.approx(START_S - 0.07)
    assert thought.frame_age_s == pytest.approx(0.07)
    assert thought.chunk.dt_s == DT_S


def test_the_policy_is_shown_the_arm_as_it_was_at_the_exposure(bench):
    bench.control()
    frames = bench.frames(START_S - 0.055)  # between two ticks
    bench.worker.think(frames)
    (seen,) = bench.policy.seen
    assert seen.t_s == pytest.approx(START_S - 0.055)
    assert np.allclose(seen.position_rad, -0.055)
    assert np.allclose(seen.sent_rad, -0.06 + 0.1)  # the last target sent before it, not an interpolated one
    assert seen.command == COMMAND
    assert seen.frames == frames


def test_a_chunk_says_when_it_was_ready_and_what_it_took(bench):
    bench.control()
    bench.policy.work_s = 0.045
    chunk = bench.worker.think(bench.frames(START_S - 0.02)).chunk
    assert chunk.ready_s == pytest.approx(START_S + 0.045)
    assert chunk.infer_s == pytest.approx(0.045)


def test_what_the_arm_does_meanwhile_is_committed(bench):
    bench.control()
    first = bench.worker.think(bench.frames(START_S)).chunk
    bench.worker.think(bench.frames(START_S + 0.2))
    assert len(bench.policy.committed[0]) == 0
    assert np.allclose(bench.policy.committed[1], first.target_rad[6 : 6 + len(bench.policy.committed[1])])
    assert len(bench.policy.committed[1]) == 4  # 80 ms at first guess: three rows, and one


def test_nothing_is_committed_of_another_command(bench):
    bench.control(epoch=1)
    bench.worker.think(bench.frames(START_S))
    bench.control(epoch=2)
    thought = bench.worker.think(bench.frames(START_S + 0.1))
    assert thought.chunk.epoch == 2
    assert len(bench.policy.committed[1]) == 0


@pytest.mark.parametrize(("delay_s", "rows"), [(None, 6), (0.06, 3)])
def test_a_slow_engine_commits_more_rows_unless_the_delay_is_given(states, delay_s, rows):
    bench = Bench(states, delay_s)
    bench.policy.work_s = 0.15
    for _ in range(3):
        bench.control()
        bench.worker.think(bench.frames())
        bench.clock.advance(0.05)
    assert len(bench.policy.committed[-1]) == rows


def test_a_chunk_thought_for_the_old_command_bears_its_epoch_and_moves_nothing(bench):
    """The command changes while the engine computes."""
    bench.control(epoch=1)
    bench.policy.meanwhile = lambda: bench.control(epoch=2)
    chunk = bench.worker.think(bench.frames()).chunk
    assert chunk.epoch == 1
    plan = Plan(np.full(6, -3.0), np.full(6, 3.0))
    plan.begin(2, bench.clock.now_s())
    assert not plan.accept(chunk, bench.clock.now_s())
    assert plan.counts.other_epoch == 1
    assert bench.worker.wants(chunk.t0_s + 1 / 30)  # and the new one is thought about at the next frame


class Life:
    """Wanted for as long as the clock stands before `end_s`."""

    def __init__(self, clock, end_s):
        self.clock, self.end_s = clock, end_s

    def ready(self):
        pass

    def wait(self, timeout_s=0.0):
        del timeout_s
        return self.clock.now_s() >= self.end_s


class Cameras:
    """A frame a camera every 1/30 s; `blind` frames are lost."""

    def __init__(self, bench, blind=()):
        self.bench, self.blind, self.count = bench, set(blind), 0

    def newest(self, after_s, timeout_s):
        del timeout_s
        now_s = self.bench.clock.now_s()
        t_s = START_S + np.ceil((now_s - START_S) * 30 + 0.01) / 30
        self.bench.clock.sleep_until(t_s)
        self.count += 1
        assert t_s > after_s
        self.bench.control(seconds=0.0)
        return None if self.count in self.blind else self.bench.frames(t_s)


@pytest.fixture
def chunks():
    with Mailbox.create(private_name("test.worker.chunk"), CHUNK) as mailbox:
        yield mailbox


def test_the_loop_thinks_on_time_and_imagines_in_between(bench, chunks, tmp_path):
    recorder = Recorder(tmp_path / "run", ahead_s=(0.27, 0.53))
    cameras = Cameras(bench, blind=(5, 6))
    think_until(Life(bench.clock, START_S + 3.0), bench.worker, bench.policy, cameras, chunks, [recorder])
    times_s = np.array([seen.t_s for seen in bench.policy.seen])
    assert 13 <= len(times_s) <= 15  # five a second
    assert np.diff(times_s).max() < 0.3
    newest = read_chunk(chunks.get().record).chunk
    assert newest.t0_s == times_s[-1]
    assert newest.target_rad.shape == (16, 6)
    assert 8 <= len(bench.policy.imagined_at_s) <= 12  # four a second at most, one a chunk
    recorder.write()
    with np.load(tmp_path / "run" / "sight.npz") as sight:
        assert sight["chunk_t0_s"].tolist() == times_s.tolist()
        assert set(sight["imagined_t0_s"]) <= set(times_s)
        assert sight["imagined"].shape == (len(bench.policy.imagined_at_s), 2, 2, 48, 48, 3)
        assert np.diff(sight["frame_t_s"]).min() > 1 / 15 - 0.011
        assert len(sight["front"]) == len(sight["wrist"]) == len(sight["frame_t_s"]) > 30


def test_without_a_recorder_nothing_is_imagined(bench, chunks):
    think_until(Life(bench.clock, START_S + 1.0), bench.worker, bench.policy, Cameras(bench), chunks)
    assert bench.policy.imagined_at_s == []
    assert chunks.get() is not None


def test_a_blind_policy_says_nothing(bench, chunks):
    think_until(
        Life(bench.clock, START_S + 1.0), bench.worker, bench.policy, Cameras(bench, range(999)), chunks
    )
    assert chunks.get() is None


def test_a_recording_keeps_the_last_seconds_only_and_writes_nothing_it_has_not_seen(bench, tmp_path):
    recorder = Recorder(tmp_path / "run", (0.3, 0.5), keep_s=2.0)
    recorder.write()
    assert not (tmp_path / "run").exists()
    recorder.see(bench.frames(START_S - 1))
    recorder.write()
    with np.load(tmp_path / "run" / "sight.npz") as sight:
        assert sight["imagined"].shape == (0, 2, 2, 48, 48, 3)
    bench.control()
    for index in range(300):
        t_s = START_S + index / 30
        recorder.see(bench.frames(t_s))
        recorder.think(*bench.worker.think(bench.frames(t_s)))
        recorder.imagine(t_s, bench.policy.imagine())
    recorder.write()
    with np.load(tmp_path / "run" / "sight.npz") as sight:
        for times_s in (sight["frame_t_s"], sight["imagined_t0_s"], sight["chunk_t0_s"]):
            assert 1.8 < times_s[-1] - times_s[0] < 2.1
