"""`edge-wam evaluate`: one score for every stage. Policies compared on the same episodes, faster than real
time, on all cores and, under torchrun, on several machines.

    edge-wam evaluate --policy teacher@10=models/teacher@10 --policy student@1=models/student@1 \\
        --episodes 200 --seed 7 --out runs/score --plot score.png --strip strip.png

Every policy runs in its own engine as on the robot, and is told the trial's phrase word for word. With
--out each result is kept as it comes, so what was interrupted goes on. The last line is JSON.

More machines: the same command under `torchrun ... -m edge_wam evaluate ...` on each, with an --out that
all of them share. Each does its part of the trials; the first waits for the others and shows the score.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam import __version__
from edge_wam import manifest as manifests
from edge_wam.errors import EdgeWamError
from edge_wam.sim import score
from edge_wam.sim.entrants import Entrant, chosen, key_of, noise_of, understood
from edge_wam.sim.fast import DELAY_S, FastRobot, Outcome
from edge_wam.sim.openloop import Pupil, action_mrad
from edge_wam.sim.score import Moment, Result
from edge_wam.sim.tasks import SUITE, Trial, command
from edge_wam.think.engine import Engine
from edge_wam.think.policy import WamPolicy

IMAGINE_EVERY = 5  # thoughts: once a second
ACTION_EVERY = 4  # trials: it shares no factor with the five verbs, so all of them come up
PICTURED = 10  # trials of which a picture is kept for the strip
POLL_S, PATIENCE_S = 1.0, 900.0  # waiting for other machines; for so long without any new result


class Job(NamedTuple):
    """What a worker process needs. quick: success alone, no imagining and no action error; out is the folder
    for pictures."""

    calibration: str
    entrants: tuple[Entrant, ...]
    delay_s: float
    quick: bool
    out: str


class Wanted(NamedTuple):
    """The command line. episodes are counted after --task and --group ('' for all) have chosen."""

    calibration: Path
    entrants: tuple[Entrant, ...]
    episodes: int = 50
    seed: int = 0
    workers: int = 0
    task: str = ""
    group: str = ""
    delay_s: float = DELAY_S
    quick: bool = False
    only_json: bool = False
    out: Path | None = None
    plot: Path | None = None
    strip: Path | None = None


class Share(NamedTuple):
    """Which of several machines (or processes) this is. torchrun says so in the environment."""

    rank: int
    world: int
    local_world: int


ALONE = Share(0, 1, 1)


def share_of(environment: dict[str, str]) -> Share:
    """This process's share of the work; everything, where nobody says otherwise."""
    names = (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_WORLD_SIZE", 1))
    return Share(*(int(environment.get(name, default)) for name, default in names))


# --- in a worker process --------------------------------------------------------------------


class _Bench:
    """A robot and the policies that take turns on it; an engine is loaded when its turn first comes."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._pupils: dict[int, Pupil] = {}
        self._robot: FastRobot | None = None

    def pupil(self, index: int) -> Pupil:
        if index not in self._pupils:
            one = self.job.entrants[index]
            folder = Path(one.folder)
            manifest = manifests.load(folder)
            policy = WamPolicy(manifest, Engine(folder, manifest, threads=1), one.steps, one.noise_std)
            self._pupils[index] = Pupil(manifest, policy)
        return self._pupils[index]

    def robot(self, pupil: Pupil) -> FastRobot:
        if self._robot is None:
            calibration = Path(self.job.calibration)
            self._robot = FastRobot(calibration, pupil.manifest, pupil.policy, self.job.delay_s)
        self._robot.change(pupil.manifest, pupil.policy)
        return self._robot


class _Task(NamedTuple):
    """A trial and the numbers of the policies that are still to try it."""

    trial: Trial
    policies: tuple[int, ...]
    with_actions: bool
    with_picture: bool


_bench: _Bench | None = None


def _begin(job: Job) -> None:
    global _bench
    os.environ.setdefault("MUJOCO_GL", "egl")
    _bench = _Bench(job)


def _try(task: _Task) -> list[Result]:
    """One trial by all policies in turn: their latencies meet the same neighbours."""
    assert _bench is not None
    job, kept = _bench.job, []
    pupils = [_bench.pupil(index) for index in task.policies]
    errors: list[float | None] = [None] * len(pupils)
    if task.with_actions:
        errors = action_mrad(_bench.robot(pupils[0]), task.trial, pupils)
    for index, pupil, error in zip(task.policies, pupils, errors, strict=True):
        outcome = _bench.robot(pupil).episode(task.trial, imagine_every=0 if job.quick else IMAGINE_EVERY)
        key = key_of(job.entrants[index], pupil.manifest, job.delay_s, job.quick)
        kept.append(_kept(key, outcome, error))
        if task.with_picture and outcome.glimpse is not None:
            path = picture(Path(job.out), key, task.trial.seed)
            beside = path.with_suffix(f".{os.getpid()}.npz")
            np.savez(beside, **outcome.glimpse._asdict(), ahead_s=outcome.imagined[-1].ahead_s)
            beside.rename(path)
    return kept


def _kept(key: str, outcome: Outcome, action: float | None) -> Result:
    trial, verdict = outcome.trial, outcome.verdict
    return Result(
        key,
        *trial,
        command(trial.command_id).verb,
        verdict.success,
        verdict.wrong_object,
        round(outcome.seconds, 3),
        None if np.isnan(outcome.closest_m) else round(outcome.closest_m, 5),
        tuple(round(ms, 3) for ms in outcome.infer_ms),
        outcome.imagined,
        None if action is None else round(action, 3),
        len(outcome.history.t_s),
        int((outcome.history.limited.sum(axis=1) > 0).sum()),
    )


def picture(out: Path, key: str, seed: int) -> Path:
    """Where the frames of a trial's best moment are kept."""
    return out / f"glimpse-{hashlib.sha256(key.encode()).hexdigest()[:16]}-{seed}.npz"


# --- the run --------------------------------------------------------------------------------


def read_results(out: Path) -> list[Result]:
    """Everything kept in a folder, by whichever machine; a line that was cut short is as if not there."""
    lines = [text for path in sorted(out.glob("results-*.jsonl")) for text in path.read_text().splitlines()]
    return [result for text in lines if (result := score.parse(text)) is not None]


def wanted_results(
    kept: Iterable[Result], keys: Sequence[str], asked: Sequence[Trial]
) -> dict[tuple[str, int], Result]:
    """Those of `kept` that answer what is asked now, by key and seed: the same trial, word for word."""
    by_seed = {trial.seed: trial for trial in asked}
    found = {}
    for result in kept:
        trial = Trial(result.seed, result.command_id, result.phrase, result.group)
        if result.key in keys and by_seed.get(result.seed) == trial:
            found[result.key, result.seed] = result
    return found


def tasks_left(
    asked: Sequence[Trial],
    keys: Sequence[str],
    done: Iterable[tuple[str, int]],
    share: Share,
    quick: bool,
) -> list[_Task]:
    """This machine's share of the trials, less what is done. The share does not depend on what is done:
    machines that start at different times still leave nothing out."""
    there, left = set(done), []
    for number, trial in enumerate(asked):
        if number % share.world != share.rank:
            continue
        policies = tuple(i for i, key in enumerate(keys) if (key, trial.seed) not in there)
        if policies:
            with_actions = not quick and number % ACTION_EVERY == 0
            left.append(_Task(trial, policies, with_actions, not quick and number < PICTURED))
    return left


def run(job: Job, left: Sequence[_Task], workers: int, progress: bool) -> Iterator[Result]:
    """Carry out tasks on `workers` processes; results as they come. EdgeWamError if a process dies."""
    from tqdm import tqdm

    bar = tqdm(total=sum(len(task.policies) for task in left), unit="episode", disable=not progress)
    spawn, won = multiprocessing.get_context("spawn"), 0
    with ProcessPoolExecutor(min(workers, len(left)), spawn, _begin, (job,)) as pool, bar:
        try:
            for future in as_completed([pool.submit(_try, task) for task in left]):
                results = future.result()
                bar.update(len(results))
                won += sum(result.success for result in results)
                bar.set_postfix_str(f"succeeded {won}/{bar.n}")
                yield from results
        except BrokenProcessPool as error:
            raise EdgeWamError(
                "a process of the evaluation died; was there too little memory? try: --workers 1, and --out "
                "to go on from what is kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def evaluate(
    job: Job, asked: Sequence[Trial], workers: int = 0, share: Share = ALONE, progress: bool = True
) -> dict[str, list[Result]]:
    """Every entrant's results, in the order of `asked`; what job.out holds already is not run again.

    With more than one machine the first waits for the others' results; the others return their own.
    """
    out = Path(job.out)
    out.mkdir(parents=True, exist_ok=True)
    keys = [key_of(one, manifests.load(Path(one.folder)), job.delay_s, job.quick) for one in job.entrants]
    done = wanted_results(read_results(out), keys, asked)
    left = tasks_left(asked, keys, done, share, job.quick)
    if left:
        cores = max(1, (os.cpu_count() or 1) // share.local_world)
        with (out / f"results-{share.rank}.jsonl").open("a") as file:
            if file.tell():
                file.write("\n")  # ends a line that an interruption cut short
            for result in run(job, left, workers or cores, progress):
                file.write(score.line(result) + "\n")
                file.flush()
    if share.rank:
        done = wanted_results(read_results(out), keys, asked)
    else:
        done = _wait(out, keys, asked, PATIENCE_S)
    return {
        one.label: [done[key, trial.seed] for trial in asked if (key, trial.seed) in done]
        for one, key in zip(job.entrants, keys, strict=True)
    }


def _wait(
    out: Path, keys: Sequence[str], asked: Sequence[Trial], patience_s: float
) -> dict[tuple[str, int], Result]:
    """All results, once every machine has written its share. EdgeWamError after patience_s without a new
    one."""
    most, heard_s = -1, time.monotonic()
    while True:
        done = wanted_results(read_results(out), keys, asked)
        missing = len(keys) * len(asked) - len(done)
        if not missing:
            return done
        if len(done) > most:
            most, heard_s = len(done), time.monotonic()
        if time.monotonic() - heard_s > patience_s:
            raise EdgeWamError(
                f"{out}: {missing} of {len(keys) * len(asked)} episodes are missing and none has come for "
                f"{patience_s:.0f} s; did a machine stop, or write elsewhere? try: the same command again "
                f"(what is there is kept)"
            )
        time.sleep(POLL_S)


def summary(wanted: Wanted, left_out: int, results: dict[str, list[Result]]) -> dict[str, Any]:
    """Everything, for the JSON line: the conditions, then each policy's figures."""
    policies = {}
    for one in wanted.entrants:
        manifest = manifests.load(Path(one.folder))
        about = {
            "model": manifest.name,
            "precision": manifest.precision,
            "steps": one.steps or manifest.steps,
            "noise_std": noise_of(one, manifest),
            "files": dict(manifest.files),
        }
        policies[one.label] = about | score.figures(results[one.label])
    return {
        "suite": SUITE,
        "version": __version__,
        "seed": wanted.seed,
        "episodes": wanted.episodes,
        "left_out": left_out,
        "task": wanted.task,
        "group": wanted.group,
        "delay_ms": round(1e3 * wanted.delay_s),
        "policies": policies,
    }


def moments(out: Path, job: Job, asked: Sequence[Trial], most: int = 12) -> tuple[list[Moment], float]:
    """Pictures of the first trials, policy by policy, `most` in all; and how far ahead they looked."""
    found, ahead_s = [], 0.0
    for one in job.entrants:
        key = key_of(one, manifests.load(Path(one.folder)), job.delay_s, job.quick)
        paths = [(t, picture(out, key, t.seed)) for t in asked[:PICTURED]]
        for trial, path in [item for item in paths if item[1].is_file()][: max(2, most // len(job.entrants))]:
            with np.load(path, allow_pickle=False) as file:
                frames = [file[name] for name in ("present", "imagined", "real")]
                ahead_s = float(file["ahead_s"])
            found.append(Moment(one.label, trial.phrase, *frames))
    return found, ahead_s


def main(wanted: Wanted) -> int:
    """The command. Returns the exit code."""
    share = share_of(dict(os.environ))
    if share.world > 1 and wanted.out is None:
        raise EdgeWamError(
            f"{share.world} processes evaluate together, but --out names no folder they share; "
            f"try: --out runs/score"
        )
    told = [manifests.load(Path(one.folder)) for one in wanted.entrants]
    every = chosen(wanted.seed, wanted.episodes, wanted.task, wanted.group)
    asked = understood(every, told)
    if not asked:
        raise EdgeWamError(
            f"none of the {len(every)} episodes has a command and words that every model knows; try: "
            f"another --task (models know: {', '.join(sorted({c.id for m in told for c in m.commands}))})"
        )
    with tempfile.TemporaryDirectory() as passing:
        out = wanted.out or Path(passing)
        job = Job(str(wanted.calibration), wanted.entrants, wanted.delay_s, wanted.quick, str(out))
        results = evaluate(job, asked, wanted.workers, share, progress=not wanted.only_json)
        if share.rank:
            return 0
        figures = summary(wanted, len(every) - len(asked), results)
        _show(wanted, figures)
        if wanted.plot is not None:
            score.plot(figures["policies"], wanted.plot)
        if wanted.strip is not None:
            score.strip(*moments(out, job, asked), wanted.strip)
        if wanted.out is not None:
            (out / "score.json").write_text(json.dumps(figures) + "\n")
    print(json.dumps(figures))
    return 0


def _show(wanted: Wanted, figures: dict[str, Any]) -> None:
    if wanted.only_json:
        return
    if figures["left_out"]:
        print(
            f"left out: {figures['left_out']} of {wanted.episodes} episodes, whose command or words "
            f"not every model knows"
        )
    print(score.table(figures["policies"]))
