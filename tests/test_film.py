"""A film shows what was recorded, at its time; what is not there is left out, what is broken is said."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_wam import film
from edge_wam.errors import EdgeWamError
from edge_wam.film import chart, imagination, look, recording, writer
from edge_wam.film.page import FRONT, HEIGHT_PX, TILE_GAP_PX, TILE_PX, TILES, WIDTH_PX, WRIST, Page
from edge_wam.types import JOINTS

pytest.importorskip("PIL")
pytest.importorskip("matplotlib")

T0_S = 5000.0  # the monotonic clock does not begin at zero
PERIOD_S = 0.1
AHEAD_S = (0.2, 0.4)
COMMAND = "pick up the red cube"


def colour_of(number: int) -> tuple[int, int, int]:
    """Every frame has a colour of its own."""
    return 30 + 20 * number, 120, 230 - 20 * number


def tell(folder: Path, **changes: Any) -> None:
    story = {
        "command": COMMAND,
        "heard": [{"t_s": T0_S + 0.1, "text": COMMAND, "command": COMMAND}],
        "events": [{"t_s": T0_S + 0.1, "text": f"following: {COMMAND}"}],
        "outcome": "done after 3.2 s",
        "success": True,
        "done_s": None,
        "figures": {"exposure_to_servo_p50_ms": 71.3, "misses": 0, "infer_p99_ms": math.nan},
        "joints": list(JOINTS),
    }
    (folder / "run.json").write_text(json.dumps({**story, **changes}))


def record(folder: Path, frames: int = 9, **changes: Any) -> Path:
    """A recording of plain frames, whose imagination is right; `changes` replace arrays, None leaves out."""
    folder.mkdir(exist_ok=True)
    t_s = T0_S + PERIOD_S * np.arange(frames)
    colours = np.array([colour_of(n) for n in range(frames)], np.uint8)
    imagined = np.zeros((frames, 2, len(AHEAD_S), 6, 6, 3), np.uint8)
    for n in range(frames):
        for future, ahead_s in enumerate(AHEAD_S):
            imagined[n, :, future] = colour_of(min(n + round(ahead_s / PERIOD_S), frames - 1))
    sight = {
        "frame_t_s": t_s,
        "front": np.broadcast_to(colours[:, None, None], (frames, 30, 53, 3)),
        "wrist": np.broadcast_to(colours[:, None, None, ::-1], (frames, 24, 24, 3)),
        "imagined_t0_s": t_s,
        "imagined": imagined,
        "ahead_s": np.array(AHEAD_S),
        "chunk_t0_s": t_s,
        "chunk_ready_s": t_s + 0.05,
    }
    imagined[:, 1] = imagined[:, 1, ..., ::-1]
    ticks_s = T0_S + 0.02 * np.arange(5 * frames)
    angles = np.sin(ticks_s[:, None] + np.arange(6))
    ticks = {"t_s": ticks_s, "sent_rad": angles, "measured_rad": angles * 0.95, "wish_rad": angles * math.nan}
    for name, arrays in (("sight", sight), ("ticks", ticks)):
        arrays.update({key: value for key, value in changes.items() if key in arrays})
        np.savez(folder / f"{name}.npz", **{key: value for key, value in arrays.items() if value is not None})
    tell(folder)
    return folder


def page_of(folder: Path, t_s: float) -> np.ndarray:
    return np.asarray(Page(recording.read(folder)).draw(t_s))


def colour_at(page: np.ndarray, x: int, y: int, size: int = 20) -> list[int]:
    return np.rint(page[y : y + size, x : x + size].astype(float).mean((0, 1))).astype(int).tolist()


FRONT_SPOT = (FRONT.x + 400, FRONT.y + 200)
WRIST_SPOT = (WRIST.x + 100, WRIST.y + 100)
IMAGINED_SPOT = (TILES.x + 90, TILES.y + 90)
REAL_SPOT = (TILES.x + TILE_PX + TILE_GAP_PX + 90, TILES.y + 90)
WRIST_ROW = TILE_PX + TILE_GAP_PX


# --- the page -----------------------------------------------------------------------------------


def test_the_cameras_show_the_newest_frame_of_the_moment(tmp_path):
    page = page_of(record(tmp_path), T0_S + 0.34)
    assert colour_at(page, *FRONT_SPOT) == list(colour_of(3))
    assert colour_at(page, *WRIST_SPOT) == list(colour_of(3))[::-1]


def test_a_prediction_is_shown_when_its_time_has_come_beside_the_frame_of_that_time(tmp_path):
    folder = record(tmp_path)
    wrong = np.zeros((9, 2, 2, 6, 6, 3), np.uint8)
    wrong[1, 0, 1], wrong[1, 1, 1] = (250, 10, 20), (20, 10, 250)  # made at 0.1 s, about 0.5 s
    page = page_of(record(folder, imagined=wrong), T0_S + 0.56)
    assert colour_at(page, *IMAGINED_SPOT) == [250, 10, 20]
    assert colour_at(page, *REAL_SPOT) == list(colour_of(5))
    x, y = IMAGINED_SPOT
    assert colour_at(page, x, y + WRIST_ROW) == [20, 10, 250]
    x, y = REAL_SPOT
    assert colour_at(page, x, y + WRIST_ROW) == list(colour_of(5))[::-1]


def test_a_prediction_whose_moment_the_camera_missed_gives_way_to_the_one_before(tmp_path):
    t_s = T0_S + PERIOD_S * np.array([0, 1, 2, 3, 4, 5, 9, 10, 11])  # nothing from 0.6 to 0.8 s
    wrong = np.zeros((9, 2, 2, 6, 6, 3), np.uint8)
    wrong[1, 0, 1] = 250, 10, 20  # about 0.5 s
    folder = record(tmp_path, frame_t_s=t_s, imagined=wrong, imagined_t0_s=t_s)
    page = page_of(folder, T0_S + 0.85)
    assert colour_at(page, *IMAGINED_SPOT) == [250, 10, 20]
    assert colour_at(page, *REAL_SPOT) == list(colour_of(5))


def test_no_prediction_is_shown_before_its_time(tmp_path):
    page = page_of(record(tmp_path), T0_S + 0.39)
    assert colour_at(page, *IMAGINED_SPOT) == colour_at(page, *REAL_SPOT) == list(look.PANEL)


def test_words_are_not_shown_before_they_were_said_nor_the_outcome_before_the_end(tmp_path):
    story = recording.read(record(tmp_path))
    unheard = story._replace(
        heard=(story.heard[0]._replace(text="open the hand"),), outcome="no", success=False
    )
    before, after = T0_S + 0.05, T0_S + 0.15
    pages = [Page(story), Page(unheard)]
    assert np.array_equal(*(np.asarray(page.draw(before)) for page in pages))
    assert not np.array_equal(*(np.asarray(page.draw(after)) for page in pages))
    untold = [Page(story), Page(story._replace(outcome="no", success=False))]
    assert np.array_equal(*(np.asarray(page.draw(after)) for page in untold))
    assert not np.array_equal(*(np.asarray(page.draw(after, ended=True)) for page in untold))


def test_words_that_no_typeface_can_write_appear_as_the_command_they_mean(tmp_path):
    story = recording.read(record(tmp_path))
    odd = story._replace(heard=(story.heard[0]._replace(text="\U0010fffd\U0010fffd"),))
    assert np.array_equal(*(np.asarray(Page(s).draw(T0_S + 0.5)) for s in (story, odd)))


def test_the_cursor_moves_from_the_first_frame_to_the_last(tmp_path):
    drawn = chart.draw(recording.read(record(tmp_path)), 848, 172)
    for panel in drawn.panels:
        assert drawn.cursor_px(panel, T0_S) == panel.left
        assert abs(drawn.cursor_px(panel, T0_S + 0.4) - (panel.left + panel.right) / 2) <= 0.5
        assert drawn.cursor_px(panel, T0_S + 99) == panel.right
    assert len(drawn.panels) == len(JOINTS)
    assert drawn.image.shape == (172, 848, 3)


def test_figures_are_said_as_a_person_says_them():
    assert look.figure_words("exposure_to_servo_p50_ms", 71.3) == "exposure to servo 71 ms p50"
    assert look.figure_words("late_p99_ms", 0.914) == "late 0.91 ms p99"
    assert look.figure_words("misses", 3.0) == "misses 3"
    assert look.figures_in_order((("b", 1.0), ("misses", 0.0), ("c", math.nan))) == ["misses 0", "b 1"]


# --- how good the imagination was ---------------------------------------------------------------


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, shape, np.uint8)


def test_a_perfect_imagination_has_no_error(tmp_path):
    error = film.imagination_error(record(tmp_path))
    assert [c.camera for c in error.cameras] == ["front", "wrist"]
    assert error.together.imagined == 0
    assert error.together.unchanged > 0.1
    assert error.together.moving == 1


def test_imagining_the_present_is_exactly_as_good_as_nothing_changes(tmp_path):
    front = noise(9, 30, 53, 3)
    present = np.stack([imagination.shrunk(image, 6) for image in front])
    imagined = np.broadcast_to(present[:, None, None], (9, 2, 2, 6, 6, 3))
    wrist = noise(9, 24, 24, 3)
    error = film.imagination_error(record(tmp_path, front=front, wrist=wrist, imagined=imagined))
    assert error.cameras[0].ratio == 1
    assert error.cameras[1].ratio != 1  # the wrist's imagination was the front's


def test_only_the_square_the_model_sees_is_judged(tmp_path):
    """30 x 53: the centred 24 x 24."""
    front = np.repeat(np.array([colour_of(n) for n in range(9)], np.uint8)[:, None, None], 53, 2).repeat(
        30, 1
    )
    front[:, :3], front[:, 27:], front[:, :, :14], front[:, :, 38:] = (
        noise(*s) for s in border_shapes(front)
    )
    assert film.imagination_error(record(tmp_path, front=front)).together.imagined == 0
    front[:, 3] = 0
    assert film.imagination_error(record(tmp_path, front=front)).together.imagined > 0


def border_shapes(front: np.ndarray) -> list[tuple[int, ...]]:
    return [front[:, :3].shape, front[:, 27:].shape, front[:, :, :14].shape, front[:, :, 38:].shape]


def test_what_did_not_move_is_not_judged(tmp_path):
    still = np.full((9, 30, 53, 3), 90, np.uint8)
    still[5:, :, :26] += 5  # less than what counts as moving
    error = film.imagination_error(record(tmp_path, front=still, wrist=None))
    assert [c.camera for c in error.cameras] == ["front"]
    assert math.isnan(error.together.ratio)
    assert error.together.moving == 0


def test_a_prediction_whose_moment_was_not_recorded_is_not_judged(tmp_path):
    error = film.imagination_error(record(tmp_path))
    assert error.cameras[0].pairs == 7 + 5  # of 9 frames, 7 have one 0.2 s later and 5 one 0.4 s later


def test_a_run_without_imagination_says_so(tmp_path):
    error = film.imagination_error(record(tmp_path, imagined=None, imagined_t0_s=None, ahead_s=None))
    assert error.cameras == ()
    assert str(error) == "nothing was imagined"


# --- the film -----------------------------------------------------------------------------------


def test_the_film_is_h264_at_the_pace_of_the_recording(tmp_path):
    av = pytest.importorskip("av")
    path = film.make(record(tmp_path), tmp_path / "deep" / "demo.mp4", progress=False)
    assert path == tmp_path / "deep" / "demo.mp4"
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        assert stream.codec_context.name in ("h264", "libopenh264")
        assert (stream.width, stream.height, stream.average_rate) == (WIDTH_PX, HEIGHT_PX, film.FPS)
        assert float(stream.duration * stream.time_base) == pytest.approx(
            0.8 + film.HOLD_S, abs=1.5 / film.FPS
        )
    shown = colour_at(frames[8], *FRONT_SPOT)  # 8 / 15 s: frame 5, and its colours as they were
    assert np.abs(np.array(shown) - colour_of(5)).max() <= 4
    assert np.abs(np.array(colour_at(frames[-1], *FRONT_SPOT)) - colour_of(8)).max() <= 4


def test_without_an_h264_encoder_the_film_is_mpeg4(tmp_path):
    av = pytest.importorskip("av")
    pictures = [np.full((64, 96, 3), 40 * n, np.uint8) for n in range(5)]
    path = writer.write(tmp_path / "a.mp4", pictures, 15, encoders=("no_such_encoder", "mpeg4"))
    with av.open(str(path)) as file:
        assert file.streams.video[0].codec_context.name == "mpeg4"
        assert len(list(file.decode(video=0))) == 5


def test_without_pyav_the_film_is_a_gif_of_the_same_pace(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setitem(sys.modules, "av", None)  # import of it fails
    path = film.make(record(tmp_path), tmp_path / "demo.mp4", progress=False)
    assert path == tmp_path / "demo.gif"
    with Image.open(path) as gif:
        total_ms = 0
        for number in range(gif.n_frames):
            gif.seek(number)
            total_ms += gif.info["duration"]
        assert gif.n_frames > 5
    assert total_ms / 1000 == pytest.approx(0.8 + film.HOLD_S, abs=2.5 / film.FPS)


def test_a_film_that_breaks_off_leaves_the_old_one_and_no_scraps(tmp_path):
    old = tmp_path / "a.mp4"
    old.write_bytes(b"the old one")

    def broken():
        yield from [np.zeros((64, 96, 3), np.uint8)] * 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writer.write(old, broken(), 15, encoders=("mpeg4",))  # writes at once, unlike H.264
    assert old.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize(
    "missing",
    [
        {"imagined": None, "imagined_t0_s": None, "ahead_s": None},
        {"wrist": None},
        {"t_s": None, "sent_rad": None, "measured_rad": None},
        {"chunk_t0_s": None, "chunk_ready_s": None},
        {"front": noise(9, 71, 40, 3), "wrist": noise(9, 30, 50, 3)},
        {"imagined": np.zeros((9, 1, 2, 5, 5, 3), np.uint8)},
    ],
    ids=["imagination", "wrist", "ticks", "chunks", "other sizes", "one camera imagined"],
)
def test_what_is_not_there_is_left_out(tmp_path, missing):
    folder = record(tmp_path, **missing)
    page = page_of(folder, T0_S + 0.6)
    assert page.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert film.poster(folder, tmp_path / "poster.png").stat().st_size > 10_000


def test_one_frame_makes_a_film(tmp_path):
    folder = record(tmp_path, frames=1)
    (folder / "ticks.npz").unlink()
    tell(folder, heard=[], events=[], figures={})
    assert film.make(folder, tmp_path / "demo.mp4", progress=False).stat().st_size > 1000
    assert film.imagination_error(folder).together.pairs == 0


def test_the_poster_is_the_moment_it_was_done_or_else_the_end(tmp_path):
    from PIL import Image

    folder = record(tmp_path)
    for told, frame in (({"done_s": T0_S + 0.45}, 4), ({"done_s": None, "success": False}, 8)):
        tell(folder, **told)
        with Image.open(film.poster(folder, tmp_path / "poster.png")) as picture:
            assert colour_at(np.asarray(picture), *FRONT_SPOT) == list(colour_of(frame))


# --- what is broken is said ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frame_t_s": np.zeros(0), "front": np.zeros((0, 30, 53, 3), np.uint8)}, "at least one frame"),
        ({"front": None}, "at least one frame"),
        ({"front": noise(8, 30, 53, 3)}, r"front: expected shape \(9, any, any, 3\), found \(8, 30, 53, 3\)"),
        ({"wrist": noise(9, 24, 24)}, "wrist: expected shape"),
        ({"front": np.zeros((9, 30, 53, 3))}, "front: expected uint8, found float64"),
        ({"imagined": noise(9, 2, 1, 6, 6, 3)}, "imagined: expected shape"),
        ({"imagined": noise(9, 2, 2, 6, 5, 3)}, "imagined: expected square frames"),
        ({"imagined_t0_s": np.arange(9)[::-1]}, "imagined_t0_s: expected times in order"),
        ({"frame_t_s": np.full(9, math.nan)}, "frame_t_s: expected times in order"),
        ({"sent_rad": np.zeros((45, 5))}, "sent_rad: expected shape"),
        ({"chunk_ready_s": np.zeros(3)}, "chunk_ready_s: expected shape"),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused_in_one_line(tmp_path, changes, words):
    folder = record(tmp_path, **changes)
    with pytest.raises(EdgeWamError, match=words) as refused:
        film.poster(folder, tmp_path / "poster.png")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "poster.png").exists()


def test_a_folder_that_is_no_whole_recording_is_refused(tmp_path):
    with pytest.raises(film.RecordingError, match="found no file"):
        film.make(tmp_path / "nowhere", tmp_path / "demo.mp4")
    folder = record(tmp_path)
    whole = (folder / "sight.npz").read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"noise"):
        (folder / "sight.npz").write_bytes(broken)
        with pytest.raises(film.RecordingError, match="expected arrays"):
            film.make(folder, tmp_path / "demo.mp4")


def test_a_pickle_in_a_recording_is_not_opened(tmp_path):
    folder = record(tmp_path, front=np.array([{"a": 1}] * 9, dtype=object))
    with pytest.raises(film.RecordingError, match="allow_pickle"):
        film.imagination_error(folder)


def test_a_story_that_is_not_whole_is_refused(tmp_path):
    folder = record(tmp_path)
    for text, words in (("{", "expected JSON"), ("[]", "run.json"), ('{"command": "x"}', "joints")):
        (folder / "run.json").write_text(text)
        with pytest.raises(film.RecordingError, match=words):
            film.imagination_error(folder)
    (folder / "run.json").unlink()
    with pytest.raises(film.RecordingError, match="found no file"):
        film.imagination_error(folder)
