"""The film's colours, typefaces and words."""

from __future__ import annotations

import functools
import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]

BACKGROUND: Colour = (13, 16, 21)
PANEL: Colour = (22, 27, 34)
TEXT: Colour = (232, 236, 241)
MUTED: Colour = (139, 149, 163)
ACCENT: Colour = (94, 190, 255)
GOOD: Colour = (86, 211, 133)
BAD: Colour = (255, 123, 114)
JOINT_COLOURS: tuple[Colour, ...] = (
    (255, 123, 114),
    (255, 179, 87),
    (240, 222, 96),
    (98, 214, 143),
    (86, 182, 255),
    (196, 148, 255),
)

# For words in Chinese, which DejaVu cannot write; whichever the system has.
WIDE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
)
# Shown first of a run's figures; the others follow while there is room.
FIGURES_FIRST = ("exposure_to_servo_p50_ms", "infer_p50_ms", "late_p99_ms", "misses", "bus_errors")
UNITS = ("ms", "s", "mb", "hz", "percent")


@functools.cache
def font(size_px: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans from matplotlib or the system, else Pillow's own typeface."""
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    spec = importlib.util.find_spec("matplotlib")
    beside = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" if spec and spec.origin else Path()
    for place in (beside / name, name):
        try:
            return ImageFont.truetype(str(place), size_px)
        except OSError:
            continue
    builtin = ImageFont.load_default(size_px)
    assert isinstance(builtin, ImageFont.FreeTypeFont)  # with a size it always is one
    return builtin


@functools.cache
def wide_font(size_px: int) -> FreeTypeFont | None:
    """A typeface that can write Chinese, if this system has one."""
    from PIL import ImageFont

    for name in WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:
            continue
    return None


@functools.lru_cache(512)
def font_for(text: str, size_px: int, bold: bool = False) -> FreeTypeFont | None:
    """A typeface that has every letter of `text`; None if there is none."""
    for candidate in (font(size_px, bold), wide_font(size_px)):
        if candidate is not None and _writes(candidate, text):
            return candidate
    return None


def _writes(candidate: FreeTypeFont, text: str) -> bool:
    missing = bytes(candidate.getmask("\U0010fffe"))  # no letter: what is drawn for all that are missing
    return all(letter.isspace() or bytes(candidate.getmask(letter)) != missing for letter in set(text))


def fitted(text: str, size_px: int, width_px: float, bold: bool = False) -> str:
    """`text`, cut with an ellipsis to fit into width_px."""
    face = font_for(text, size_px, bold) or font(size_px, bold)
    if face.getlength(text) <= width_px:
        return text
    while text and face.getlength(text + "…") > width_px:
        text = text[:-1]
    return text.rstrip() + "…"


def figure_words(name: str, value: float) -> str:
    """A figure as a person says it: ('exposure_to_servo_p50_ms', 71.3) -> 'exposure to servo 71 ms p50'."""
    parts = name.split("_")
    unit = parts.pop() if len(parts) > 1 and parts[-1].lower() in UNITS else ""
    which = parts.pop() if len(parts) > 1 and parts[-1][:1] == "p" and parts[-1][1:].isdigit() else ""
    number = f"{value:.0f}" if abs(value) >= 10 or value == round(value) else f"{value:.2g}"
    return " ".join(part for part in (*parts, number, unit, which) if part)


def figures_in_order(figures: tuple[tuple[str, float], ...]) -> list[str]:
    """All finite figures in words, those a person asks for first in front."""
    rank = {name: number for number, name in enumerate(FIGURES_FIRST)}
    finite = [item for item in figures if math.isfinite(item[1])]
    return [figure_words(*item) for item in sorted(finite, key=lambda item: rank.get(item[0], len(rank)))]
