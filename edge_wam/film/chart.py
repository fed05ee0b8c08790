"""The joints over time: one static picture, drawn once, that the film moves a cursor over."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from edge_wam.film.look import JOINT_COLOURS, MUTED, PANEL, TEXT, Colour
from edge_wam.film.recording import Recording
from edge_wam.types import ImageArray

DPI = 100
COLUMNS = 3
HEAD_PX, FOOT_PX, LEFT_PX, GAP_PX, ROW_GAP_PX = 22, 18, 40, 10, 4
NAME_PX = 14  # a joint's name stands above its axes
LEAST_SPAN_DEG = 6.0  # a joint at rest is a straight line, not a picture of the encoder's noise


class Panel(NamedTuple):
    """One joint's axes within the chart, in pixels."""

    left: int
    top: int
    right: int
    bottom: int


class Chart(NamedTuple):
    """The picture (H, W, 3) and where its panels are; their left edge is start_s, their right end_s."""

    image: ImageArray
    panels: tuple[Panel, ...]
    start_s: float
    end_s: float

    def cursor_px(self, panel: Panel, t_s: float) -> int:
        """The column of the moment t_s."""
        share = (t_s - self.start_s) / max(self.end_s - self.start_s, 1e-9)
        return round(panel.left + float(np.clip(share, 0, 1)) * (panel.right - panel.left))


def draw(recording: Recording, width_px: int, height_px: int) -> Chart:
    """Six small charts: targets sent (thin) over measured angles (broad), and the chunks' arrivals."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((width_px / DPI, height_px / DPI), DPI, facecolor=_hex(PANEL))
    canvas: Any = FigureCanvasAgg(figure)
    panels = _panels(len(recording.joints), width_px, height_px)
    for number, (name, panel) in enumerate(zip(recording.joints, panels, strict=True)):
        left, width = panel.left / width_px, (panel.right - panel.left) / width_px
        bottom, height = 1 - panel.bottom / height_px, (panel.bottom - panel.top) / height_px
        axes = figure.add_axes((left, bottom, width, height), facecolor=_hex(PANEL))
        _trace(axes, recording, number, name.replace("_", " "), lowest=panel.bottom == panels[-1].bottom)
    _legend(figure, width_px, height_px)
    canvas.draw()
    image = np.array(canvas.buffer_rgba())[..., :3]
    return Chart(image, panels, recording.start_s, recording.end_s)


def _panels(count: int, width_px: int, height_px: int) -> tuple[Panel, ...]:
    rows = max(1, -(-count // COLUMNS))
    pitch_x = (width_px - GAP_PX) // COLUMNS
    pitch_y = (height_px - HEAD_PX - FOOT_PX + ROW_GAP_PX) // rows
    panels = []
    for number in range(count):
        row, column = divmod(number, COLUMNS)
        left, top = column * pitch_x + LEFT_PX, HEAD_PX + row * pitch_y
        panels.append(Panel(left, top + NAME_PX, (column + 1) * pitch_x, top + pitch_y - ROW_GAP_PX))
    return tuple(panels)


def _trace(axes: Any, recording: Recording, joint: int, name: str, lowest: bool) -> None:
    ticks, colour, grey = recording.ticks, _hex(JOINT_COLOURS[joint % len(JOINT_COLOURS)]), _hex(MUTED)
    start_s, span_s = recording.start_s, max(recording.end_s - recording.start_s, 1e-3)
    sent_deg, measured_deg = np.degrees(ticks.sent_rad[:, joint]), np.degrees(ticks.measured_rad[:, joint])
    within = (ticks.t_s >= start_s) & (ticks.t_s <= recording.end_s)
    low_deg, high_deg = _limits_deg(np.concatenate([sent_deg[within], measured_deg[within]]))
    spare_deg = 0.16 * (high_deg - low_deg)
    floor_deg = low_deg - 2 * spare_deg  # below the curves: where the arrivals stand
    seconds, arrivals_s = ticks.t_s - start_s, recording.sight.chunk_ready_s - start_s
    axes.plot(seconds, measured_deg, color=colour, linewidth=3.2, alpha=0.45, solid_capstyle="round")
    axes.plot(seconds, sent_deg, color=colour, linewidth=1.1)
    axes.vlines(arrivals_s, floor_deg, floor_deg + spare_deg, color=grey, linewidth=0.8)
    axes.axhline(floor_deg, color=grey, alpha=0.5, linewidth=0.8)
    axes.set_xlim(0, span_s)
    axes.set_ylim(floor_deg, high_deg + spare_deg)
    axes.text(0.0, 1.0, name, transform=axes.transAxes, color=colour, fontsize=8, va="bottom", weight="bold")
    axes.set_yticks([low_deg, high_deg], [f"{round(low_deg)}°", f"{round(high_deg)}°"])
    axes.tick_params(colors=grey, labelsize=7.5, length=0, pad=3, labelbottom=lowest)
    axes.grid(axis="y", color=grey, alpha=0.18, linewidth=0.6)
    step_s = next((s for s in (1, 2, 5, 10, 20, 60) if span_s / s <= 6), 300)
    marks_s = np.arange(0, span_s, step_s)
    axes.set_xticks(marks_s, [f"{s:.0f} s" for s in marks_s])
    for side in axes.spines.values():
        side.set_visible(False)
    if not within.any():
        axes.set_yticks([])
        axes.text(0.4, 0.5, "not recorded", transform=axes.transAxes, color=grey, fontsize=8)


def _limits_deg(values_deg: Any) -> tuple[float, float]:
    known = values_deg[np.isfinite(values_deg)]
    if not len(known):
        return 0.0, LEAST_SPAN_DEG
    low, high = float(known.min()), float(known.max())
    spare = max(0.0, LEAST_SPAN_DEG - (high - low)) / 2
    return low - spare, high + spare


def _legend(figure: Any, width_px: int, height_px: int) -> None:
    from matplotlib.lines import Line2D

    y = 1 - HEAD_PX / 2 / height_px
    figure.text(10 / width_px, y, "joints", color=_hex(TEXT), fontsize=9, weight="bold", va="center")

    def entry(x_px: float, words: str, **line: Any) -> None:
        x = x_px / width_px
        figure.add_artist(Line2D([x, x + 20 / width_px], [y, y], color=_hex(TEXT), **line))
        figure.text(x + 26 / width_px, y, words, color=_hex(MUTED), fontsize=8, va="center")

    entry(80, "target sent", linewidth=1.1)
    entry(200, "measured", linewidth=3.2, alpha=0.45)
    x = 318 / width_px
    half = 4 / height_px
    figure.add_artist(Line2D([x, x], [y - half, y + half], color=_hex(MUTED), linewidth=0.9))
    figure.text(x + 8 / width_px, y, "a chunk of actions arrives", color=_hex(MUTED), fontsize=8, va="center")


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
