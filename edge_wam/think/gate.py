"""The gate: does an engine compute what eager fp32 torch computed of the model it was made from?

Asked of every candidate when it is built, and of the chosen one at every start. The questions are the golden
batch of the *float* model, whatever the engine's own precision; its answers were made by eager torch at
export. A check that nothing could fail proves nothing, so the gate also asks for another noise, and wants
another answer.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EngineError
from edge_wam.think.engine import Engine


class Allowed(NamedTuple):
    """The least cosine of a chunk with the true one, and the most that a joint's target may be off."""

    cosine: float
    degrees: float


# What 16 bits and int8 cost was measured (LOG.md); a wrong mask or a swapped camera costs far more.
ALLOWED = {
    "fp32": Allowed(0.9999, 0.25),
    "bf16": Allowed(0.999, 2.0),
    "fp16": Allowed(0.999, 2.0),
    "int8": Allowed(0.99, 4.0),
}


STILL = 0.1  # standard deviations of a row, root mean square: chunks that move have 5 to 12 times that


class Verdict(NamedTuple):
    """The worst over the golden batch; repeats: the same noise gave the same bits; listens: another noise
    gave other rows; answer: a sha256 of all rows, to compare a saved engine with the one that was saved."""

    cosine: float
    degrees: float
    repeats: bool
    listens: bool
    answer: str

    def failure(self, precision: str) -> str:
        """What is wrong, with both values; '' if nothing is."""
        allowed = ALLOWED[precision]
        if not self.cosine >= allowed.cosine:
            return f"cosine with the true chunk {self.cosine:.5f}, at least {allowed.cosine} is allowed"
        if not self.degrees <= allowed.degrees:
            return f"a joint is {self.degrees:.2f} degrees off, {allowed.degrees} are allowed"
        if not self.repeats:
            return "the same observation and noise gave two different chunks"
        if not self.listens:
            return "another noise gave the very same chunk: it does not look at its inputs"
        return ""


def precision_of(engine: Engine) -> str:
    """Which of ALLOWED an engine is judged by: the coarser of its graphs and its arithmetic."""
    graphs = engine.manifest.precision
    return engine.settings.arithmetic if graphs == "fp32" else graphs


def examine(engine: Engine, golden: Path) -> Verdict:
    """Put an engine to the golden batch (a file of the float model's)."""
    from safetensors.numpy import load_file

    asked = load_file(golden)
    if not len(asked["tokens"]):
        raise EngineError(f"{golden} is empty: nothing says that the engine computes what was trained")
    std_rad, steps = engine.manifest.normalisation.action_std_rad, engine.manifest.steps
    cosine, degrees, digest = 1.0, 0.0, hashlib.sha256()
    known = engine.answered  # when it was loaded: a robot waits, and the questions are often the very same
    if known is None or not known.to(asked):
        count = len(asked["tokens"])
        every = np.stack([_rows(engine, asked, i, asked["noise"][i], steps) for i in range(count)])
    else:
        every = known.rows
    for index, (rows, truth) in enumerate(zip(every, asked["rows"], strict=True)):
        free = np.isnan(asked["committed"][index][:, 0])
        cosine = float(np.minimum(cosine, alike(rows[free], truth[free])))  # NaN stays NaN
        off_rad = np.abs((rows - truth) * std_rad)[free]
        degrees = max(degrees, float(np.rad2deg(off_rad.max())))
        digest.update(rows.tobytes())
    again = _rows(engine, asked, 0, asked["noise"][0], steps)
    other = _rows(engine, asked, 0, asked["noise"][0] + 0.5, steps)
    return Verdict(
        cosine,
        degrees,
        np.array_equal(every[0], again),
        float(np.abs(other - every[0]).max()) > 1e-5,
        digest.hexdigest(),
    )


def alike(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Cosine of two chunks' rows (n, J), of which each also goes STILL into a direction of its own.

    A chunk that stays where it is has no direction, and what rounding adds to it has any: the plain cosine
    of one golden chunk in six was decided by the last bit of its inputs (LOG.md). With the common part a
    chunk that should stay and moves is still far off, whatever its direction, and one that moves is
    compared as before.
    """
    a, b = ours.ravel().astype(float), theirs.ravel().astype(float)
    common = STILL**2 * len(a)
    with np.errstate(invalid="ignore"):  # what is not finite is like nothing
        return float((a @ b + common) / np.sqrt((a @ a + common) * (b @ b + common)))


def _rows(
    engine: Engine, asked: dict[str, Any], index: int, noise: NDArray[np.float32], steps: int
) -> NDArray[np.float32]:
    context = engine.context(asked["images"][index], asked["tokens"][index], asked["state"][index])
    return engine.act(context, noise, steps, asked["committed"][index]).rows


def main() -> None:
    """python -m edge_wam.think.gate MODEL COMPILED ARITHMETIC THREADS RUNTIME GOLDEN: the answer of an engine
    as another process loads it (for `edge-wam compile`)."""
    import sys

    from edge_wam import manifest as manifests

    model, compiled, arithmetic, threads, runtime, golden = sys.argv[1:]
    folder = Path(model)
    engine = Engine(folder, manifests.load(folder), int(threads), arithmetic, Path(compiled), runtime)
    print(examine(engine, Path(golden)).answer)


if __name__ == "__main__":
    main()
