"""Observations become tensors and tensors become chunks: the same way for training and for the robot."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge_wam.errors import ManifestError
from edge_wam.sim.scene import CROP_PX
from edge_wam.think.features import LAG_STD_RAD, shrink
from edge_wam.think.policy import features_of


@pytest.fixture
def features(manifest):
    return features_of(manifest)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def naive_shrink(image, crop_px, box_px):
    """The centred square, averaged box by box, halves rounded up."""
    top, left = (image.shape[0] - crop_px) // 2, (image.shape[1] - crop_px) // 2
    size = crop_px // box_px
    small = np.zeros((size, size, 3), np.uint8)
    for row, column in np.ndindex(size, size):
        y, x = top + row * box_px, left + column * box_px
        box = image[y : y + box_px, x : x + box_px].reshape(-1, 3)
        small[row, column] = np.floor(box.mean(0) + 0.5)
    return small


@pytest.mark.parametrize(
    ("shape", "crop_px", "box_px"),
    [((24, 42), 20, 2), ((15, 17), 15, 3), ((9, 9), 8, 1), ((32, 16), 16, 4), ((34, 40), 34, 17)],
)
def test_a_frame_is_shrunk_to_the_mean_of_whole_boxes_of_its_centre(rng, shape, crop_px, box_px):
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    small = shrink(image, crop_px, box_px)
    assert small.dtype == np.uint8
    assert np.array_equal(small, naive_shrink(image, crop_px, box_px))


def test_white_stays_white_and_many_frames_shrink_like_each(rng):
    for box_px in (1, 4, 15, 16, 17):  # from 17 on a white box is more than 16 bits hold
        white = np.full((2 * box_px, 2 * box_px, 3), 255, np.uint8)
        assert (shrink(white, 2 * box_px, box_px) == 255).all()
    images = rng.integers(0, 256, (2, 5, 16, 20, 3), dtype=np.uint8)
    assert np.array_equal(shrink(images, 12, 2)[1, 3], shrink(images[1, 3], 12, 2))


@pytest.mark.parametrize("camera", ["front", "wrist"])
def test_training_renders_what_the_robot_crops(world, camera):
    """Training renders the square alone; the robot crops the camera's frame."""
    world.reset(3)
    robot = shrink(world.render(camera), CROP_PX, 2).astype(int)
    training = shrink(world.render(f"{camera}_crop", CROP_PX, CROP_PX), CROP_PX, 2).astype(int)
    assert robot.std() > 10  # something is to be seen
    assert np.abs(robot - training).max() <= 1
    # The twin: one pixel beside it is another picture.
    beside = shrink(np.roll(world.render(camera), 1, axis=1), CROP_PX, 2).astype(int)
    assert np.abs(beside - training).max() > 20


def test_images_come_one_a_camera_in_the_order_of_the_manifest(features, rng):
    frames = [rng.integers(0, 256, (240, 424, 3), dtype=np.uint8) for _ in range(2)]
    images = features.images(frames)
    assert images.shape == (2, 96, 96, 3)
    assert images.dtype == np.uint8
    assert np.array_equal(images[1], shrink(frames[1], CROP_PX, 2))
    with pytest.raises(ValueError, match="zip"):
        features.images(frames[:1])


def test_targets_are_the_inverse_of_rows(features, rng):
    position_rad = rng.uniform(-1.5, 1.5, (4, 6))
    target_rad = position_rad[:, None] + rng.normal(size=(4, 16, 6)) * 0.5
    rows = features.rows(target_rad, position_rad)
    assert rows.shape == (4, 16, 6)
    assert rows.dtype == np.float32
    assert np.abs(features.targets(rows, position_rad) - target_rad).max() < 1e-6
    assert np.allclose(features.targets(rows[2], position_rad[2]), target_rad[2], atol=1e-6)  # a batch or not


def test_rows_are_the_inverse_of_targets(features, rng):
    rows = rng.normal(size=(16, 6)).astype(np.float32)
    position_rad = rng.uniform(-1.5, 1.5, 6)
    assert np.abs(features.rows(features.targets(rows, position_rad), position_rad) - rows).max() < 1e-5


def test_rows_are_relative_to_where_the_arm_is_in_standard_deviations_of_row_and_joint(features, manifest):
    position_rad = np.linspace(-1, 1, 6)
    std_rad = manifest.normalisation.action_std_rad
    assert np.allclose(features.rows(position_rad + 2 * std_rad, position_rad), 2)
    assert np.allclose(features.targets(np.zeros((16, 6), np.float32), position_rad), position_rad)


def test_the_state_is_where_the_arm_is_and_how_far_it_lags(features, manifest):
    norm = manifest.normalisation
    position_rad = norm.position_mean_rad + norm.position_std_rad
    state = features.state(position_rad, position_rad + LAG_STD_RAD * np.arange(6))
    assert state.dtype == np.float32
    assert np.allclose(state, [1] * 6 + [0, 1, 2, 3, 4, 5], atol=1e-5)
    lost = features.state(position_rad, position_rad + 100.0)
    assert (lost[6:] == 8).all()  # an arm held fast must not become a number the model has never seen
    assert features.state(np.zeros((7, 6)), np.zeros((7, 6))).shape == (7, 12)


def test_a_command_becomes_tokens_padded_with_zeros(features, manifest):
    tokens = features.tokens("pick up the red cube")
    assert tokens.dtype == np.int64
    assert [manifest.vocabulary[i] for i in tokens[:5]] == ["pick", "up", "the", "red", "cube"]
    assert not tokens[5:].any()
    assert len(tokens) == manifest.words
    commands = {tuple(features.tokens(command.tokens)) for command in manifest.commands}
    assert len(commands) == len(manifest.commands)


def test_an_unknown_word_is_refused_with_the_nearest_known_one(features):
    with pytest.raises(ManifestError, match=r"'purpel'.*did you mean 'purple'"):
        features.tokens("pick up the purpel cube")


def test_a_command_longer_than_the_model_takes_is_refused(features, manifest):
    with pytest.raises(ManifestError, match="13 words; the model takes 12"):
        features.tokens("pick up the red cube " + 8 * "cube ")
    short = dataclasses.replace(features, words=4)
    with pytest.raises(ManifestError, match="takes 4"):
        short.tokens(manifest.commands[0].tokens)
