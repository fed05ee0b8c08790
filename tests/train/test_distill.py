"""The student: it learns where the teacher's steps lead, keeps what it knows, and goes on after a stop."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edge_wam.errors import EdgeWamError
from edge_wam.train import distill, flow
from edge_wam.train.dataset import Episodes, make_features
from edge_wam.train.model import CONFIGS, WorldActionModel
from edge_wam.train.teacher import trained

pytestmark = pytest.mark.slow  # they train

STEPS = 4


@pytest.fixture(scope="module")
def data(drawn_data):
    return Episodes.load(drawn_data)


@pytest.fixture(scope="module")
def batch(data):
    features = make_features(data.normalisation())
    rng = np.random.default_rng(5)
    return data.batch(data.draw(6, rng, data.held_out), features, rng, video=True)


def copy_of(model):
    other = WorldActionModel(CONFIGS["debug"])
    other.load_state_dict(model.state_dict())
    return other.eval()


def seen(model, batch):
    return model.context(batch.images, batch.tokens, batch.state)


def test_an_end_point_is_where_ten_steps_lead_and_what_was_decided_stays(model, batch):
    context = seen(model, batch)
    rows, noise = batch.rows.repeat_interleave(2, 0), torch.randn(12, 16, 6)
    keep = (torch.arange(16)[None] < torch.tensor([0, 5] * 6)[:, None]).float()
    ends = distill.end_points(model, context, noise, rows, keep)
    assert torch.equal(ends[1::2, :5], rows[1::2, :5])
    alone = {name: value[:, :, 2:3] if name == "kv" else value[2:3] for name, value in context.items()}
    ten, _ = flow.sample_actions(model, alone, noise[4:5], 10)
    one, _ = flow.sample_actions(model, alone, noise[4:5], 1)
    assert torch.allclose(ends[4:5], ten, atol=1e-4)
    assert not torch.allclose(one, ten, atol=0.05)


class Perfect:
    """Its velocity leads straight to `ends` from wherever it is asked; of decided rows it says nonsense."""

    def __init__(self, ends, keep):
        self.ends, self.keep, self.asked = ends, keep, []

    def act(self, kv, hint, rows, committed, level):
        ends = self.ends if len(rows) == len(self.ends) else self.ends[:: len(self.ends) // len(rows)]
        self.asked.append((rows, level))
        return (rows - ends) / level[:, None, None] + 7 * committed[..., None], None


def test_a_student_that_arrives_costs_nothing_and_one_that_does_not_does():
    ends, noise = torch.randn(6, 16, 6), torch.randn(6, 16, 6)
    keep = torch.zeros(6, 16)
    keep[2, :4] = 1
    context = {"kv": torch.zeros(2, 2, 3, 1, 1, 1), "hint": torch.zeros(3, 1)}
    student = Perfect(ends, keep)
    losses = distill.end_point_losses(student, context, noise, ends, keep)
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(
        {"end": 0, "second": 0}, abs=1e-9
    )
    (first, level), (halfway, half) = student.asked
    assert (level == 1).all()
    assert (half == 0.5).all()
    assert torch.equal(first[2, :4], ends[2, :4])  # what is decided is given clean
    assert torch.equal(first[2, 4:], noise[2, 4:])
    assert torch.allclose(halfway[1, 4:], (noise[2, 4:] + ends[2, 4:]) / 2, atol=1e-6)
    assert torch.equal(halfway[1, :4], ends[2, :4])
    student.ends = ends + 0.5
    worse = distill.end_point_losses(student, context, noise, ends, keep)
    assert worse["end"] == pytest.approx(0.45, abs=1e-5)  # |error| - beta / 2
    assert worse["second"] == pytest.approx(0.45, abs=1e-5)


def test_decided_rows_cost_nothing():
    ours, theirs = torch.zeros(1, 4, 2), torch.ones(1, 4, 2)
    assert distill.distance(ours, theirs, torch.tensor([[1.0, 1, 1, 1]])) == 0
    ours[0, 3] = 1
    assert distill.distance(ours, theirs, torch.tensor([[1.0, 1, 1, 0]])) == 0


def test_the_teacher_sees_with_the_students_eyes_and_answers_as_ever(model, batch):
    student, teacher = copy_of(model), copy_of(model)
    with torch.no_grad():
        expected = seen(teacher, batch)
        student.row_in.weight.add_(1.0)  # anything but the eyes may differ
        distill.share_eyes(student, teacher)
        ours = seen(student, batch)
        looked = []
        teacher.stem.register_forward_hook(lambda *_: looked.append(1))
        theirs = seen(teacher, batch)
    assert not looked
    assert all(torch.equal(theirs[name], expected[name]) for name in expected)
    assert torch.equal(ours["key"], expected["key"])


def test_other_eyes_are_refused(model):
    student = copy_of(model)
    with torch.no_grad():
        student.stem.conv2.weight.add_(0.1)
    with pytest.raises(EdgeWamError, match=r"differ in their eyes \(stem.conv2.weight\)"):
        distill.share_eyes(student, copy_of(model))


def test_the_teacher_learns_nothing(model, batch):
    student, teacher = copy_of(model), copy_of(model).requires_grad_(False)
    losses = distill.student_step(student, teacher, batch, True, torch.Generator().manual_seed(0))
    assert set(losses) == {"end", "second", "action", "progress", "video"}
    sum(losses.values()).backward()
    assert all(p.grad is None for p in teacher.parameters())
    moved = {name for name, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"row_in.weight", "blocks.0.qkv.weight", "imagination.out.weight", "hint_out.weight"} <= moved


def test_a_student_learns_where_the_steps_lead(model, batch):
    """On other noise than it was trained with: the map, not the points."""
    teacher, student = copy_of(model).requires_grad_(False), copy_of(model)
    small = batch.part(0, 2)
    before = distill.compare(teacher, student, small)
    assert before["student1_to_end"] == pytest.approx(before["teacher1_to_end"])
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-3)
    context = {name: value.detach() for name, value in seen(teacher, small).items()}
    keep, generator = torch.zeros(16, 16), torch.Generator().manual_seed(1)
    for _ in range(60):
        noise = torch.randn(16, 16, 6, generator=generator)
        ends = distill.end_points(teacher, context, noise, noise, keep)
        losses = distill.end_point_losses(student, context, noise, ends, keep)
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
    after = {}
    noise = torch.randn(batch.rows[:2].shape, generator=torch.Generator().manual_seed(0))
    ends, _ = flow.sample_actions(teacher, context, noise, distill.TEACHER_STEPS)
    for steps in (1, 2):
        rows, _ = flow.sample_actions(student, context, noise, steps)
        after[steps] = float((rows - ends).abs().mean())
    assert after[1] < 0.6 * before["teacher1_to_end"]
    assert after[2] < 0.6 * before["teacher1_to_end"]


# --- a run -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(model, data, tmp_path_factory):
    """A teacher's files: weights and scales."""
    folder = tmp_path_factory.mktemp("teacher")
    save_file(model.state_dict(), folder / "average.safetensors")
    scales = data.normalisation()
    names = ("position_mean_rad", "position_std_rad", "action_std_rad")
    (folder / "normalisation.json").write_text(json.dumps({n: getattr(scales, n).tolist() for n in names}))
    return folder


def wishes(prepared, data, out, steps=STEPS):
    return argparse.Namespace(
        data=data,
        teacher=prepared / "average.safetensors",
        normalisation=prepared / "normalisation.json",
        out=out,
        config="debug",
        steps=steps,
        batch=8,
        lr=1e-3,
        seed=0,
        video_weight=0.5,
        committed_max=6,
    )


@pytest.fixture(scope="module", autouse=True)
def _a_short_look():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "LOOKED_AT", 24)
        yield


@pytest.fixture(scope="module")
def run(prepared, drawn_data, tmp_path_factory):
    student = distill.Student(wishes(prepared, drawn_data, tmp_path_factory.mktemp("student")))
    student.run()
    return student


def test_a_run_tells_how_far_teacher_and_student_are_from_the_end(run):
    found = json.loads((run.out / "log.jsonl").read_text().splitlines()[-1])
    assert found["step"] == STEPS
    for name in ("teacher1", "teacher2", "student1", "student2"):
        assert found[f"{name}_to_end"] > 0
        assert found[f"{name}_to_demonstration"] > 0
    assert found["teacher_imagined_end"] > 0
    assert (run.out / "imagined.png").is_file()


def test_the_eyes_stay_the_teachers(run, model):
    after, before = load_file(run.out / "average.safetensors"), model.state_dict()
    for name, value in before.items():
        assert torch.allclose(after[name], value, atol=1e-6) == (not trained(name, "joint")), name


def test_a_stopped_student_goes_on_where_it_was(prepared, drawn_data, tmp_path):
    whole = distill.Student(wishes(prepared, drawn_data, tmp_path / "whole", steps=2))
    whole.look = lambda: {"nothing": 0.0}
    whole.run()
    distill.Student(wishes(prepared, drawn_data, tmp_path / "parts", steps=2)).run(until=1)
    rest = distill.Student(wishes(prepared, drawn_data, tmp_path / "parts", steps=2))
    assert rest.step == 1
    rest.look = lambda: {"nothing": 0.0}
    rest.run()
    ours, theirs = (load_file(s.out / "weights.safetensors") for s in (rest, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
