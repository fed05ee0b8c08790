"""The gate: what it lets through, and everything that it must not."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from edge_wam.think import gate

GOOD = gate.Verdict(0.99999, 0.01, True, True, "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cosine": 0.998}, "cosine with the true chunk 0.99800"),
        ({"cosine": float("nan")}, "cosine"),
        ({"degrees": 5.0}, "a joint is 5.00 degrees off"),
        ({"degrees": float("nan")}, "a joint is nan degrees off"),
        ({"repeats": False}, "two different chunks"),
        ({"listens": False}, "does not look at its inputs"),
    ],
)
def test_the_gate_can_fail(change, said):
    assert all(GOOD.failure(precision) == "" for precision in gate.ALLOWED)
    assert said in GOOD._replace(**change).failure("bf16")


class Deaf:
    """An engine that always says the same."""

    def __init__(self, engine):
        self._engine, self.manifest, self.settings = engine, engine.manifest, engine.settings
        self.answered = None  # it is asked anew

    def context(self, *observation):
        return self._engine.context(*observation)

    def act(self, context, noise, steps, committed=None):
        return self._engine.act(context, np.zeros_like(noise), steps, None)


def test_an_engine_that_does_not_listen_is_found_out(engine, model_folder):
    verdict = gate.examine(Deaf(engine), model_folder / "golden.safetensors")
    assert not verdict.listens
    assert verdict.failure("int8")
    assert not gate.examine(engine, model_folder / "golden.safetensors").failure("fp32")


# --- what is alike --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chunks(model_folder):
    """The golden answers, undecided rows only, (n, J) each; and which of them stay where they are."""
    golden = load_file(model_folder / "golden.safetensors")
    found = [
        rows[np.isnan(committed[:, 0])]
        for rows, committed in zip(golden["rows"], golden["committed"], strict=True)
    ]
    return found, [float(np.sqrt(np.mean(rows**2))) < gate.STILL for rows in found]


def plain(ours, theirs):
    return float(ours.ravel() @ theirs.ravel() / np.linalg.norm(ours) / np.linalg.norm(theirs))


def test_a_chunk_that_stays_is_not_judged_by_the_direction_of_its_rounding(chunks):
    """What INT8 adds, 0.006 standard deviations in the mean, to a chunk that moves by half a degree."""
    found, still = chunks
    assert sum(still) == 1
    rng = np.random.default_rng(0)
    (rows,) = (rows for rows, stays in zip(found, still, strict=True) if stays)
    for _ in range(100):
        rounded = rows + 0.0075 * rng.standard_normal(rows.shape).astype(np.float32)
        assert plain(rounded, rows) < 0.99
        assert gate.alike(rounded, rows) > 0.995


@pytest.mark.parametrize(
    "spoil", [lambda x: 4 * x, lambda x: x + 0.05, lambda x: x[::-1] + 0.1, lambda x: -3 * x]
)
def test_a_chunk_that_should_stay_and_moves_is_found_out(chunks, spoil):
    (rows,) = (rows for rows, stays in zip(*chunks, strict=True) if stays)
    assert gate.alike(spoil(rows), rows) < 0.99


def test_chunks_that_move_are_compared_as_ever(chunks):
    rng = np.random.default_rng(1)
    for rows in (rows for rows, stays in zip(*chunks, strict=True) if not stays):
        assert gate.alike(rows, rows) == pytest.approx(1)
        for part in (0.1, 0.3, 1.0):
            noise = rng.standard_normal(rows.shape).astype(np.float32)
            other = rows + part * np.linalg.norm(rows) / np.linalg.norm(noise) * noise
            assert 1 - gate.alike(other, rows) == pytest.approx(1 - plain(other, rows), rel=0.12)


@pytest.mark.parametrize("worst", [np.nan, np.inf])
@pytest.mark.parametrize("where", [0, -1])
def test_what_is_not_a_number_passes_no_gate(engine, model_folder, where, worst):
    class Broken(Deaf):
        asked = 0

        def act(self, context, noise, steps, committed=None):
            actions = self._engine.act(context, noise, steps, committed)
            Broken.asked += 1
            rows = actions.rows.copy()
            if Broken.asked == (1 if where == 0 else 6):
                rows[-1, 2] = worst
            return actions._replace(rows=rows)

    assert gate.examine(Broken(engine), model_folder / "golden.safetensors").failure("int8")


# --- asked once -----------------------------------------------------------------------------


def test_what_was_answered_when_loading_is_not_asked_again_unless_it_is_another_question(
    engine, model_folder, tmp_path
):
    golden = model_folder / "golden.safetensors"
    count = {"n": 0}

    class Counting(Deaf):
        def act(self, context, noise, steps, committed=None):
            count["n"] += 1
            return self._engine.act(context, noise, steps, committed)

    counting = Counting(engine)
    fresh = gate.examine(counting, golden)
    assert count["n"] == 8
    engine.verify(golden)  # others may have asked it other things since it was loaded
    counting.answered, count["n"] = engine.answered, 0
    assert gate.examine(counting, golden) == fresh
    assert count["n"] == 2
    for name in ("images", "tokens", "state", "noise", "committed"):
        asked = load_file(golden)
        asked[name][-1] += np.asarray(1, asked[name].dtype)  # noise is zero, most of what is decided NaN
        asked[name] = asked[name][::-1].copy()
        save_file(asked, tmp_path / f"{name}.safetensors")
        count["n"] = 0
        gate.examine(counting, tmp_path / f"{name}.safetensors")
        assert count["n"] == 8, name
