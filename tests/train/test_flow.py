"""Losses and samplers against predictors whose answers are known."""

from __future__ import annotations

import pytest
import torch

from edge_wam.train import flow
from edge_wam.train.dataset import Batch
from edge_wam.train.model import small

B, K, J = 32, 16, 6
ROWS = torch.randn(B, K, J, generator=torch.Generator().manual_seed(8))
CONTEXT = {"kv": torch.zeros(1, 2, B, 1, 1, 1), "hint": torch.zeros(B, 1), "fine": None, "coarse": None}


class Oracle:
    """Knows the rows and the future; `off` is added to all that it says."""

    def __init__(self, rows=None, future=None, off=0.0):
        self.rows, self.future, self.off = rows, future, off
        self.shown, self.levels, self.kept = [], [], []

    def act(self, kv, hint, rows, committed, level):
        del kv, hint
        self.shown.append(rows)
        self.levels.append(level)
        self.kept.append(committed)
        clean = self.rows.repeat_interleave(len(rows) // len(self.rows), 0)
        # x_s = (1 - s) x + s e, so e - x = (x_s - x) / s.
        velocity = (rows - clean) / level.clamp(min=1e-6)[:, None, None] + self.off
        return velocity, level[None, None, :, None, None, None].expand(1, 2, -1, 1, 1, 1)

    def dream(self, kv, act_kv, fine, coarse, images, noisy, level):
        del kv, act_kv, fine, coarse, images
        self.shown.append(noisy)
        self.levels.append(level)
        return self.future + self.off


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def make_batch(count=6):
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 256, (count, 2, 96, 96, 3), generator=generator, dtype=torch.uint8)
    future = small(images)[:, :, None] + torch.zeros(1, 1, 2, 1, 1, 1)
    future[:, :, :, :, 10:20, 10:20] += 1.0  # something came
    nothing = torch.empty(0)
    return Batch(images, nothing, nothing, nothing, nothing, future, torch.ones(count, dtype=torch.bool))


# --- actions --------------------------------------------------------------------------------


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("draws", [1, 3])
def test_a_perfect_predictor_has_no_loss_and_one_that_is_off_by_a_half_a_quarter(generator, clean, draws):
    loss, _ = flow.action_loss(Oracle(ROWS), CONTEXT, ROWS, draws, generator, clean)
    assert float(loss) < 1e-6
    loss, _ = flow.action_loss(Oracle(ROWS, off=0.5), CONTEXT, ROWS, draws, generator, clean)
    assert float(loss) == pytest.approx(0.25, rel=1e-4)  # a mean over what counts, whatever is committed


def test_committed_rows_are_shown_clean_and_never_counted(generator):
    oracle = Oracle(ROWS)
    flow.action_loss(oracle, CONTEXT, ROWS, 2, generator, clean=False)
    shown, kept = oracle.shown[0], oracle.kept[0] > 0
    truth = ROWS.repeat_interleave(2, 0)
    assert kept.any()
    assert torch.equal(shown[kept], truth[kept])
    assert (shown[~kept] - truth[~kept]).abs().mean() > 0.1

    class Wrong(Oracle):
        def act(self, kv, hint, rows, committed, level):
            velocity, act_kv = super().act(kv, hint, rows, committed, level)
            return velocity + 100 * committed[..., None], act_kv

    loss, _ = flow.action_loss(Wrong(ROWS), CONTEXT, ROWS, 2, generator, clean=False)
    assert float(loss) < 1e-6


def test_the_video_stream_is_given_the_last_draw_mostly_noiseless(generator):
    oracle = Oracle(ROWS)
    _, kv = flow.action_loss(oracle, CONTEXT, ROWS, 3, generator, clean=True)
    level = oracle.levels[0].reshape(B, 3)
    assert torch.equal(kv[0, 0, :, 0, 0, 0], level[:, 2])
    assert 0.3 < (level[:, 2] == 0).float().mean() < 0.9
    assert (level[:, :2] > 0).all()
    flow.action_loss(oracle, CONTEXT, ROWS, 3, generator, clean=False)
    assert (oracle.levels[1] > 0).all()


def test_half_of_the_chunks_begin_with_one_to_six_decided_rows(generator):
    mask = flow.committed_mask(20_000, K, generator)
    length = mask.sum(1)
    assert torch.equal(mask, (torch.arange(K) < length[:, None]).float())  # a beginning, without gaps
    share = torch.bincount(length.long(), minlength=K) / len(mask)
    assert float(share[0]) == pytest.approx(0.5, abs=0.02)
    assert torch.allclose(share[1:7], torch.full((6,), 1 / 12), atol=0.01)
    assert not share[7:].any()


@pytest.mark.parametrize("most", [0, 2])
def test_the_longest_decided_beginning_is_a_setting(generator, most):
    oracle = Oracle(ROWS)
    assert int(flow.committed_mask(1000, K, generator, most).sum(1).max()) == most
    flow.action_loss(oracle, CONTEXT, ROWS, 8, generator, clean=False, committed_max=most)
    assert int(oracle.kept[0].sum(1).max()) == most


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_straight_flow_is_followed_to_its_end_in_any_number_of_steps(steps):
    noise = torch.randn(B, K, J, generator=torch.Generator().manual_seed(5))
    rows, _ = flow.sample_actions(Oracle(ROWS), CONTEXT, noise, steps)
    assert torch.allclose(rows, ROWS, atol=1e-4)


def test_a_constant_velocity_moves_all_but_the_committed_rows_by_itself():
    class Constant(Oracle):
        def act(self, kv, hint, rows, committed, level):
            _, act_kv = super().act(kv, hint, rows, committed, level)
            return torch.full_like(rows, 0.7), act_kv

    noise = torch.randn(B, K, J, generator=torch.Generator().manual_seed(5))
    committed = torch.full((B, K, J), torch.nan)
    committed[:, :3] = 0.1
    rows, _ = flow.sample_actions(Constant(ROWS), CONTEXT, noise, 4, committed)
    assert torch.allclose(rows[:, 3:], noise[:, 3:] - 0.7, atol=1e-5)
    assert (rows[:, :3] == 0.1).all()


def test_levels_fall_from_noise_to_clean_and_what_is_kept_is_the_finished_chunk():
    oracle = Oracle(ROWS)
    rows, kv = flow.sample_actions(oracle, CONTEXT, torch.zeros(B, K, J), 4)
    assert [float(level[0]) for level in oracle.levels] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert torch.equal(oracle.shown[-1], rows)
    assert not kv.any()


# --- the future -----------------------------------------------------------------------------


def test_the_future_is_mostly_seen_as_nearly_pure_noise(generator):
    level = flow.video_level(50_000, generator)
    assert float(level.min()) >= 0
    assert float(level.max()) <= 1
    for at in (0.3, 0.6, 0.9, 0.97):
        expected = 0.7 * at**7 + 0.3 * at  # Beta(7, 1) and uniform
        assert float((level < at).float().mean()) == pytest.approx(expected, abs=0.01)


def test_a_perfect_imagination_has_no_loss(generator):
    batch = make_batch()
    assert float(flow.video_loss(Oracle(future=batch.future), CONTEXT, None, batch, generator)) == 0
    assert (
        float(flow.video_loss(Oracle(future=batch.future, off=0.5), CONTEXT, None, batch, generator)) > 0.05
    )


def test_the_imagination_is_shown_the_change_and_not_the_frame():
    batch, oracle = make_batch(48), Oracle()
    oracle.future = batch.future
    flow.video_loss(oracle, CONTEXT, None, batch, torch.Generator().manual_seed(1))
    level, noisy = oracle.levels[0], oracle.shown[0]
    quiet = int(level.argmin())
    assert float(level[quiet]) < 0.2
    change = batch.future[quiet] - small(batch.images)[quiet, :, None]
    assert (noisy[quiet] - (1 - level[quiet]) * change).abs().mean() < level[quiet]
    assert (noisy[quiet] - (1 - level[quiet]) * batch.future[quiet]).abs().mean() > 0.4


def test_what_cannot_be_imagined_is_not_counted(generator):
    """After a shove that no action told of, nobody could have known."""
    batch = make_batch()
    wrong = batch.future.clone()
    wrong[2:] += 5
    oracle = Oracle(future=wrong)
    imaginable = torch.tensor([True, True, False, False, False, False])
    known = batch._replace(imaginable=imaginable)
    assert float(flow.video_loss(oracle, CONTEXT, None, known, generator)) == 0
    none = batch._replace(imaginable=torch.zeros(6, dtype=torch.bool))
    assert float(flow.video_loss(oracle, CONTEXT, None, none, generator)) == 0


def test_moving_pixels_count_more_than_still_ones():
    batch = make_batch()

    def loss_of(region):
        future = batch.future.clone()
        future[:, :, :, :, region, 10:20] += 0.5
        return float(
            flow.video_loss(Oracle(future=future), CONTEXT, None, batch, torch.Generator().manual_seed(1))
        )

    moving, still = loss_of(slice(10, 20)), loss_of(slice(30, 40))
    assert moving > 3 * still
    assert still > 0.01 * moving  # what does not move must not become murky


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_a_perfect_imagination_is_reached_in_any_number_of_steps(steps):
    batch = make_batch()
    noise = torch.randn(batch.future.shape, generator=torch.Generator().manual_seed(5))
    frames = flow.sample_video(Oracle(future=batch.future), CONTEXT, None, batch.images, noise, steps)
    assert torch.allclose(frames, batch.future, atol=1e-4)


def test_the_error_of_nothing_changes_is_the_measure():
    batch = make_batch()
    present = small(batch.images)[:, :, None].expand_as(batch.future)
    error, still = flow.imagination_error(present, batch)
    assert torch.allclose(error, still)
    assert torch.allclose(still, torch.ones(2), atol=1e-5)  # on the pixels that moved, by 1
    assert not flow.imagination_error(batch.future, batch)[0].any()


# --- both at once ---------------------------------------------------------------------------


class Pair(Oracle):
    """The joint mask's oracle."""

    def together(self, context, rows, committed, level, images, noisy, video_level):
        velocity, _ = self.act(None, None, rows, committed, level)
        self.levels.append(video_level)
        return velocity, self.future[: len(images)] + self.off


def test_of_the_joint_mask_a_perfect_predictor_has_no_loss(generator):
    batch = make_batch(8)._replace(rows=ROWS[:8])
    actions, video = flow.together_loss(Pair(ROWS[:8], batch.future), {}, batch, 4, generator)
    assert float(actions) < 1e-6
    assert float(video) == 0
    actions, video = flow.together_loss(Pair(ROWS[:8], batch.future, off=0.5), {}, batch, 4, generator)
    assert float(actions) == pytest.approx(0.25, rel=1e-4)
    assert float(video) > 0.05


def test_of_the_joint_mask_noise_levels_are_drawn_apart_and_pictures_may_be_none(generator):
    batch = make_batch(8)._replace(rows=ROWS[:8])
    oracle = Pair(ROWS[:8], batch.future)
    _, video = flow.together_loss(oracle, {}, batch, 0, generator)
    assert video is None
    assert not torch.allclose(*oracle.levels)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_of_the_joint_mask_both_ends_are_reached_in_any_number_of_steps(steps):
    batch, generator = make_batch(6), torch.Generator().manual_seed(5)
    noise = torch.randn(6, K, J, generator=generator)
    start = torch.randn(batch.future.shape, generator=generator)
    committed = torch.full((6, K, J), torch.nan)
    committed[0, :3] = ROWS[0, :3] + 1
    oracle = Pair(ROWS[:6], batch.future)
    rows, frames = flow.sample_together(oracle, {}, batch.images, noise, start, steps, committed)
    assert torch.allclose(frames, batch.future, atol=1e-4)
    assert torch.allclose(rows[1:], ROWS[1:6], atol=1e-4)
    assert torch.equal(rows[0, :3], committed[0, :3])
