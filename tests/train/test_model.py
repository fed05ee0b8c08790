"""Who may see whom, by construction: context itself, actions also the context, the imagined future all."""

from __future__ import annotations

import pytest
import torch

from edge_wam.think.features import FUTURES, IMAGINED_PX
from edge_wam.train import flow
from edge_wam.train.model import CONFIGS, Config, WorldActionModel, small, unit
from edge_wam.train.reader import Slots

K, J = 16, 6


class Inputs:
    """`batch` random observations and one noisy chunk and future each."""

    def __init__(self, batch=2, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.images = torch.randint(0, 256, (batch, 2, 96, 96, 3), generator=generator, dtype=torch.uint8)
        self.tokens = torch.randint(1, 36, (batch, 12), generator=generator)
        self.state = torch.randn(batch, 2 * J, generator=generator)
        self.rows = torch.randn(batch, K, J, generator=generator)
        self.keep = torch.zeros(batch, K)
        self.level = torch.rand(batch, generator=generator)
        self.noisy = torch.randn(batch, 2, FUTURES, 3, IMAGINED_PX, IMAGINED_PX, generator=generator)

    def see(self, model):
        return model.context(self.images, self.tokens, self.state)

    def act(self, model, context):
        return model.act(context["kv"], context["hint"], self.rows, self.keep, self.level)

    def dream(self, model, context, act_kv):
        return model.dream(
            context["kv"], act_kv, context["fine"], context["coarse"], self.images, self.noisy, self.level
        )


@pytest.fixture
def inputs():
    return Inputs()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_shapes(model, inputs):
    config = model.config
    context = inputs.see(model)
    velocity, act_kv = inputs.act(model, context)
    frames = inputs.dream(model, context, act_kv)
    assert velocity.shape == (2, K, J)
    assert context["key"].shape == (2, 6)
    assert context["place"].shape == (2, 4)
    assert context["progress"].shape == (2, 2)
    assert context["kv"].shape[:4] == (config.layers, 2, 2, config.heads)
    assert act_kv.shape == (config.layers, 2, 2, config.heads, K, config.head)
    assert frames.shape == (2, 2, FUTURES, 3, IMAGINED_PX, IMAGINED_PX)
    assert all(torch.isfinite(x).all() for x in (velocity, frames, *context.values()))


def test_actions_are_the_same_bit_for_bit_with_and_without_dreaming(model, inputs):
    context = inputs.see(model)
    noise = torch.randn(2, K, J, generator=torch.Generator().manual_seed(1))
    alone, act_kv = flow.sample_actions(model, context, noise, 3)
    flow.sample_video(model, context, act_kv, inputs.images, inputs.noisy, 2)
    beside, _ = flow.sample_actions(model, context, noise, 3)
    assert torch.equal(alone, beside)


def test_no_gradient_leads_from_the_imagined_future_to_actions_or_context(model, inputs):
    inputs.noisy.requires_grad_(True)
    inputs.rows.requires_grad_(True)
    context = inputs.see(model)
    velocity, act_kv = inputs.act(model, context)
    frames = inputs.dream(model, context, act_kv)
    assert not any(value.requires_grad for value in context.values())  # neither rows nor future reach it
    towards = {"allow_unused": True, "retain_graph": True}
    assert torch.autograd.grad(velocity.sum(), inputs.noisy, **towards)[0] is None
    assert torch.autograd.grad(frames.sum(), inputs.noisy, **towards)[0].abs().sum() > 0
    assert torch.autograd.grad(frames.sum(), inputs.rows, **towards)[0].abs().sum() > 0


def test_the_context_is_untouched_by_acting_and_dreaming(model, inputs):
    context = inputs.see(model)
    before = {name: value.clone() for name, value in context.items()}
    _, act_kv = inputs.act(model, context)
    inputs.dream(model, context, act_kv)
    assert same(context, before)
    inputs.rows += 1
    inputs.act(model, context)
    assert same(inputs.see(model), before)


def test_the_imagined_future_depends_on_the_actions(model, inputs):
    context = inputs.see(model)
    _, act_kv = inputs.act(model, context)
    one = inputs.dream(model, context, act_kv)
    inputs.rows = inputs.rows.flip(1)
    _, act_kv = inputs.act(model, context)
    assert (inputs.dream(model, context, act_kv) - one).abs().max() > 1e-4


@pytest.mark.parametrize("what", ["images", "tokens", "state"])
def test_actions_depend_on_all_that_is_observed(model, inputs, what):
    before, _ = inputs.act(model, inputs.see(model))
    setattr(inputs, what, getattr(Inputs(seed=9), what))
    after, _ = inputs.act(model, inputs.see(model))
    assert (after - before).abs().amax((1, 2)).min() > 1e-4


def test_padding_is_no_word(model, inputs):
    inputs.tokens[:, 5:] = 0
    padded = inputs.see(model)
    inputs.tokens = inputs.tokens[:, :5]
    assert torch.allclose(inputs.see(model)["hint"], padded["hint"], atol=1e-5)


def test_every_row_sees_every_other(model, inputs):
    """A chunk is one thought: what the last row is to be bears on the first."""
    inputs.rows.requires_grad_(True)
    velocity, _ = inputs.act(model, inputs.see(model))
    (slope,) = torch.autograd.grad(velocity[0, 0].sum(), inputs.rows)
    assert (slope[0].abs().sum(-1) > 0).all()
    assert not slope[1].any()  # but no other observation's


def test_one_observation_of_a_batch_does_not_bear_on_another(model, inputs):
    both, _ = inputs.act(model, inputs.see(model))
    inputs.images[1], inputs.state[1], inputs.rows[1] = 0, 3.0, 5.0
    alone, _ = inputs.act(model, inputs.see(model))
    assert torch.allclose(both[0], alone[0], atol=1e-5)
    assert not torch.allclose(both[1], alone[1], atol=1e-2)


def test_draws_side_by_side_equal_separate_calls(model, inputs):
    """N draws of noise share one context: draws of one observation lie next to each other."""
    generator, draws = torch.Generator().manual_seed(3), 3
    context = inputs.see(model)
    rows = torch.randn(2 * draws, K, J, generator=generator)
    level = torch.rand(2 * draws, generator=generator)
    keep = (torch.rand(2 * draws, K, generator=generator) < 0.3).float()
    together, kv = model.act(context["kv"], context["hint"], rows, keep, level)
    for index in range(2 * draws):
        at, of = slice(index, index + 1), slice(index // draws, index // draws + 1)
        alone, alone_kv = model.act(
            context["kv"][:, :, of], context["hint"][of], rows[at], keep[at], level[at]
        )
        assert torch.allclose(together[at], alone, atol=1e-5)
        assert torch.allclose(kv[:, :, at], alone_kv, atol=1e-5)


def test_committed_rows_come_back_unchanged_and_bear_on_the_others(model, inputs):
    context = inputs.see(model)
    generator = torch.Generator().manual_seed(4)
    noise = torch.randn(2, K, J, generator=generator)
    committed = torch.full((2, K, J), torch.nan)
    committed[0, :4] = torch.randn(4, J, generator=generator)
    rows, _ = flow.sample_actions(model, context, noise, 5, committed)
    free, _ = flow.sample_actions(model, context, noise, 5)
    assert torch.equal(rows[0, :4], committed[0, :4])
    assert (rows[0, 4:] - free[0, 4:]).abs().max() > 1e-4
    assert torch.allclose(rows[1], free[1], atol=1e-5)
    assert torch.isfinite(rows).all()


def test_a_row_is_told_whether_it_is_decided(model, inputs):
    context = inputs.see(model)
    before, _ = inputs.act(model, context)
    inputs.keep[:, 3] = 1
    after, _ = inputs.act(model, context)
    assert (after - before).abs().max() > 1e-4


def test_the_noise_level_reaches_both_streams(model, inputs):
    context = inputs.see(model)
    velocity, act_kv = inputs.act(model, context)
    frames = inputs.dream(model, context, act_kv)
    inputs.level = 1 - inputs.level
    assert (inputs.act(model, context)[0] - velocity).abs().max() > 1e-4
    assert (inputs.dream(model, context, act_kv) - frames).abs().max() > 1e-4


def test_images_in_unit_scale_are_those_in_bytes(model, inputs):
    ours = inputs.see(model)
    inputs.images = unit(inputs.images)
    assert same(inputs.see(model), ours)


def test_small_pictures_are_means_of_boxes_in_unit_scale():
    images = torch.randint(0, 256, (1, 2, 96, 96, 3), dtype=torch.uint8)
    box = images[0, 1, 2:4, 6:8].float().mean((0, 1))
    assert torch.allclose(small(images)[0, 1, :, 1, 3], (box - 127.5) / 64, atol=1e-5)


def test_acting_does_not_bend_what_the_heads_say():
    """What the heads say is advice: the loss of actions reaches the eyes, not the heads."""
    torch.manual_seed(0)
    model, inputs = WorldActionModel(CONFIGS["debug"]), Inputs()
    inputs.act(model, inputs.see(model))[0].sum().backward()
    heads = (*model.key.parameters(), *model.place.parameters())
    assert all(p.grad is None or not p.grad.any() for p in heads)
    assert any(p.grad is not None and p.grad.any() for p in model.stem.parameters())


# --- the joint mask, for comparison ---------------------------------------------------------


def test_in_the_joint_mask_actions_and_future_see_each_other(model, inputs):
    inputs.noisy.requires_grad_(True)
    inputs.rows.requires_grad_(True)
    context = inputs.see(model)
    velocity, frames = model.together(
        context, inputs.rows, inputs.keep, inputs.level, inputs.images, inputs.noisy, inputs.level
    )
    assert velocity.shape == (2, K, J)
    assert frames.shape == inputs.noisy.shape
    towards = {"retain_graph": True}
    assert torch.autograd.grad(velocity.sum(), inputs.noisy, **towards)[0].abs().sum() > 0
    assert torch.autograd.grad(frames.sum(), inputs.rows, **towards)[0].abs().sum() > 0


def test_in_the_joint_mask_each_stream_has_its_own_noise_level(model, inputs):
    context = inputs.see(model)

    def both(level, video_level):
        return model.together(
            context, inputs.rows, inputs.keep, level, inputs.images, inputs.noisy, video_level
        )

    one, other = inputs.level, 1 - inputs.level
    base = both(one, one)
    for changed in (both(other, one), both(one, other)):
        assert all((a - b).abs().max() > 1e-5 for a, b in zip(base, changed, strict=True))
    assert not torch.allclose(both(other, one)[0], both(one, other)[0])


def test_frames_are_made_of_as_many_observations_as_there_are_images(model, inputs):
    context = inputs.see(model)
    rest = (context, inputs.rows, inputs.keep, inputs.level)
    whole, frames = model.together(*rest, inputs.images, inputs.noisy, inputs.level)
    half, few = model.together(*rest, inputs.images[:1], inputs.noisy, inputs.level)
    assert torch.allclose(whole, half, atol=1e-6)
    assert torch.allclose(frames[:1], few, atol=1e-5)


# --- how a command composes -----------------------------------------------------------------


class Told(torch.nn.Module):
    """A reader that says what it is told: verb, cube and place of every observation."""

    def __init__(self, *slots):
        super().__init__()
        self.slots = slots

    def forward(self, tokens):
        sizes = zip(self.slots, (5, 5, 7), strict=True)
        return Slots(*(torch.eye(size)[slot].expand(len(tokens), -1) for slot, size in sizes))


@pytest.fixture
def tell(model, inputs, monkeypatch):
    def told(verb, cube, place):
        monkeypatch.setitem(model._modules, "reader", Told(verb, cube, place))
        return inputs.see(model)

    return told


def test_the_verb_does_not_reach_the_eyes(tell):
    pick, push = tell(0, 2, 0), tell(1, 2, 0)
    assert all(torch.equal(pick[name], push[name]) for name in ("key", "place", "fine", "coarse"))
    assert not torch.equal(pick["hint"], push["hint"])
    assert not torch.equal(pick["kv"], push["kv"])


def test_a_colour_reaches_nothing_but_the_eyes(tell, model, monkeypatch):
    """Blind eyes: then red and blue are the same command, and pick and push are still two."""
    points = model.look.forward
    monkeypatch.setattr(model.look, "forward", lambda coarse, question: points(coarse, question) * 0)
    red, blue = tell(0, 1, 3), tell(0, 3, 5)
    assert same(red, blue)
    assert not same(red, tell(1, 1, 3))


def test_cube_and_plate_are_looked_for_by_their_own_colours(tell):
    base, other_cube, other_plate = tell(2, 1, 3), tell(2, 2, 3), tell(2, 1, 4)
    assert not torch.equal(base["key"], other_cube["key"])
    assert torch.equal(base["place"], other_cube["place"])
    assert torch.equal(base["key"], other_plate["key"])
    assert not torch.equal(base["place"], other_plate["place"])


def test_left_and_right_are_known_to_the_hands_and_not_to_the_eyes(tell):
    left, right = tell(1, 1, 1), tell(1, 1, 2)
    assert torch.equal(left["place"], right["place"])
    assert not torch.equal(left["hint"], right["hint"])


def test_where_nothing_is_named_nothing_is_looked_at(tell, inputs, model):
    """Home: what the eyes might have answered does not reach the hands."""
    home = tell(4, 0, 0)
    inputs.images = 255 - inputs.images
    seen = model.see(inputs.images, torch.eye(5)[[0, 0]], torch.eye(7)[[0, 0]])
    assert not seen.cube.any()
    assert not seen.plate.any()
    assert torch.equal(tell(4, 0, 0)["hint"], home["hint"])
    assert not torch.equal(tell(4, 0, 0)["kv"], home["kv"])


def test_every_size_divides_into_heads():
    for config in (*CONFIGS.values(), Config()):
        assert config.heads * config.head == config.width
    assert sum(p.numel() for p in WorldActionModel(CONFIGS["nano"]).parameters()) < 5e6
