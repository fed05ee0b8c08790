"""Look at the training data: one episode, or a page of single scenes, as a picture.

    python -m edge_wam.train.view --data runs/data --episode 3 --out episode.png
    python -m edge_wam.train.view --data runs/data --scenes --out scenes.png

An episode's page: both cameras over time (red frames: the arm was being shoved, nothing is learned from
them), the joints as measured, as sent and as the expert's rows foresaw them, and the progress. Episodes
count from 0, or from the end if negative, through all shards in order of their seeds; the command and
the length are printed. Look before training: a wrong label shows here at once, and in no loss curve.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.sim.scene import COLOURS
from edge_wam.train import shards
from edge_wam.train.data import CHUNK_DT_S, RECORD_S
from edge_wam.types import JOINTS, FloatArray, ImageArray

COLUMNS = 14  # moments shown; more than that is too small to see a cube in
BORDER_PX = 3
FINE, SHOVED = (70, 160, 90), (215, 60, 50)
SCENES = 24
_NAMES = tuple(COLOURS)


class View(NamedTuple):
    """One episode out of the shards, n recordings.

    frames (n, C, S, S, 3) uint8; position_rad, sent_rad (n, J); target_rad (n, K, J); labelled and
    undisturbed (n,) bool; key_rad, place_rad (n, 5), NaN where there is none; progress (n, 2).
    """

    command: str
    frames: ImageArray
    position_rad: FloatArray
    sent_rad: FloatArray
    target_rad: FloatArray
    labelled: NDArray[np.bool_]
    undisturbed: NDArray[np.bool_]
    key_rad: FloatArray
    place_rad: FloatArray
    progress: FloatArray

    @property
    def t_s(self) -> FloatArray:
        """When each recording was made, from the episode's first one (n,)."""
        times: FloatArray = np.arange(len(self.position_rad), dtype=np.float64) * RECORD_S
        return times


def episode(folder: Path, number: int) -> View:
    """Episode `number` of all the shards in a folder. EdgeWamError where there is no such one."""
    frames, arrays = shards.load(folder, "episodes")
    length = arrays["length"]
    if not -len(length) <= number < len(length):
        raise EdgeWamError(
            f"episode {number} was asked for; {folder} has {len(length)} episodes: 0 to {len(length) - 1}"
        )
    number %= len(length)
    start = int(length[:number].sum())
    rows = np.arange(start, start + int(length[number]))
    per_row = {name: arrays[name][rows] for name in View._fields if name not in ("command", "frames")}
    return View(command=str(arrays["command"][number]), frames=frames[rows], **per_row)


def moments(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` indices out of `count`, evenly spread, first and last included."""
    spread: NDArray[np.int64] = np.unique(
        np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    )
    return spread


def contact_sheet(view: View, columns: int = COLUMNS) -> ImageArray:
    """Both cameras at up to `columns` moments, framed by whether the moment is labelled: one row a camera."""
    rows = []
    for camera in range(view.frames.shape[1]):
        tiles = [
            framed(view.frames[at, camera], FINE if view.labelled[at] else SHOVED)
            for at in moments(len(view.frames), columns)
        ]
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def framed(image: ImageArray, colour: tuple[int, int, int]) -> ImageArray:
    """The image (S, S, 3) with a border around it."""
    size = image.shape[0] + 2 * BORDER_PX
    out = np.full((size, size, 3), colour, np.uint8)
    out[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX] = image
    return out


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw_episode(view: View, title: str, out: Path) -> None:
    """The episode's page as a picture file."""
    pyplot = _pyplot()
    figure = pyplot.figure(figsize=(17, 11.5), layout="constrained")
    grid = figure.add_gridspec(5, 2, height_ratios=[2.6, 1, 1, 1, 0.8])
    _draw_sheet(figure.add_subplot(grid[0, :]), view, title)
    axes = [
        figure.add_subplot(grid[1 + joint // 2, joint % 2]) for joint in range(view.position_rad.shape[1])
    ]
    for joint, axis in enumerate(axes):
        _draw_joint(axis, view, joint)
    axes[0].legend(loc="best", fontsize=7, ncols=3)
    _draw_progress(figure.add_subplot(grid[4, :]), view)
    figure.savefig(out, dpi=90)
    pyplot.close(figure)


def _draw_sheet(axis: Any, view: View, title: str) -> None:
    sheet, at = contact_sheet(view), moments(len(view.frames), COLUMNS)
    axis.imshow(sheet, interpolation="nearest")
    tile = sheet.shape[1] / len(at)
    axis.set_xticks((np.arange(len(at)) + 0.5) * tile, [f"{view.t_s[i]:.2f} s" for i in at], fontsize=8)
    axis.set_yticks([])
    axis.set_title(title, loc="left", fontsize=11)


def _draw_joint(axis: Any, view: View, joint: int) -> None:
    t_s = view.t_s
    ahead_s = CHUNK_DT_S * np.arange(view.target_rad.shape[1])
    for row in np.flatnonzero(view.labelled):
        axis.plot(t_s[row] + ahead_s, view.target_rad[row, :, joint], color="tab:orange", alpha=0.35, lw=0.8)
    axis.plot([], [], color="tab:orange", lw=0.8, label="the expert's rows")
    axis.plot(t_s, view.sent_rad[:, joint], color="tab:gray", ls="--", lw=1, label="sent")
    axis.plot(t_s, view.position_rad[:, joint], color="tab:blue", marker=".", ms=3, lw=1.2, label="measured")
    for wanted, colour, name in (
        (view.key_rad, "tab:green", "grasp"),
        (view.place_rad, "tab:purple", "release"),
    ):
        if joint < wanted.shape[1] and np.isfinite(wanted[:, joint]).any():
            axis.plot(t_s, wanted[:, joint], color=colour, ls=":", lw=1.2, label=name)
    _mark(axis, view)
    axis.set_title(f"{JOINTS[joint]} [rad]", fontsize=8, loc="left")
    axis.tick_params(labelsize=7)


def _draw_progress(axis: Any, view: View) -> None:
    for column, name in enumerate(("how far", "done")):
        axis.plot(view.t_s, view.progress[:, column], marker=".", ms=3, label=name)
    _mark(axis, view)
    axis.set(ylim=(-0.05, 1.05), xlabel="s")
    axis.set_title("progress  (red: shoved, not labelled; grey: not by plan, so its future is not imagined)",
                   fontsize=8, loc="left")  # fmt: skip
    axis.legend(loc="upper left", fontsize=7, ncols=2)
    axis.tick_params(labelsize=7)


def _mark(axis: Any, view: View) -> None:
    """Shade what is not learned from."""
    for at, t_s in enumerate(view.t_s):
        if not view.labelled[at]:
            axis.axvspan(t_s, t_s + RECORD_S, color="tab:red", alpha=0.18, lw=0)
        elif not view.undisturbed[at]:
            axis.axvspan(t_s, t_s + RECORD_S, color="tab:gray", alpha=0.18, lw=0)
    axis.set_xlim(0, view.t_s[-1] + RECORD_S)


def draw_scenes(folder: Path, first: int, out: Path) -> str:
    """A page of single scenes from number `first` on, each with its cubes, plates and a grasp.

    Returns what was drawn, in words. EdgeWamError where there is no such scene.
    """
    frames, arrays = shards.load(folder, "scenes")
    if not 0 <= first < len(frames):
        raise EdgeWamError(f"scene {first} was asked for; {folder} has 0 to {len(frames) - 1}")
    shown = np.arange(first, min(first + SCENES, len(frames)))
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(4, SCENES // 4, figsize=(18, 9.5), layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, at in zip(axes.flat, shown, strict=False):
        axis.imshow(np.hstack(list(frames[int(at)])), interpolation="nearest")
        axis.set_title(caption(arrays, int(at)), fontsize=7, loc="left")
    figure.savefig(out, dpi=90)
    pyplot.close(figure)
    return f"scenes {shown[0]} to {shown[-1]} of {len(frames)}"


def caption(arrays: dict[str, NDArray[Any]], at: int) -> str:
    """What lies on scene `at`'s table: every cube with the pan joint of its grasp, and the plates."""
    cubes = [
        f"{_NAMES[colour]} {key[0]:+.2f}"
        for colour, key in zip(arrays["cube_colour"][at], arrays["cube_key_rad"][at], strict=True)
        if colour >= 0
    ]
    plates = [_NAMES[colour] for colour in arrays["plate_colour"][at] if colour >= 0]
    return f"{at}: {', '.join(cubes) or 'no cube'}\nplates: {', '.join(plates) or 'none'}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    parser.add_argument("--episode", type=int, default=0, help="which episode; negative: from the end")
    parser.add_argument("--scenes", action="store_true", help="single scenes instead")
    parser.add_argument("--first", type=int, default=0, help="number of the first scene")
    parser.add_argument("--out", type=Path, default=Path("episode.png"))
    arguments = parser.parse_args()
    try:
        if arguments.scenes:
            said = draw_scenes(arguments.data, arguments.first, arguments.out)
        else:
            view = episode(arguments.data, arguments.episode)
            said = (
                f"episode {arguments.episode}: {view.command}, {len(view.t_s)} recordings, "
                f"{view.t_s[-1]:.1f} s, {int((~view.labelled).sum())} of them shoved"
            )
            draw_episode(view, said, arguments.out)
    except EdgeWamError as error:
        raise SystemExit(f"view: {error}") from None
    print(f"{said} -> {arguments.out}")


if __name__ == "__main__":
    main()
