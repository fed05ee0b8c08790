"""One picture of the film: every panel at its place, at a moment of the recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_wam.film import chart, imagination
from edge_wam.film.look import (
    ACCENT,
    BACKGROUND,
    BAD,
    GOOD,
    MUTED,
    PANEL,
    TEXT,
    Colour,
    figures_in_order,
    fitted,
    font,
    font_for,
)
from edge_wam.film.recording import Heard, Recording
from edge_wam.types import ImageArray

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw as Pen

WIDTH_PX, HEIGHT_PX = 1280, 720
FRESH_S = 2.5  # words just heard stand out


class Box(NamedTuple):
    """A rectangle of the page, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.x + self.width - 1, self.y + self.height - 1


FRONT = Box(16, 52, 848, 480)  # twice 424 x 240
CHART = Box(16, 540, 848, 172)
WRIST = Box(880, 74, 222, 222)
FACTS = Box(1116, 74, 148, 222)
TILE_PX, TILE_GAP_PX = 188, 8
TILES = Box(880, 328, 2 * TILE_PX + TILE_GAP_PX, 2 * TILE_PX + TILE_GAP_PX)
CAPTION_PX = 108


class Page:
    """Draws the moments of one recording. What never changes is drawn once."""

    def __init__(self, recording: Recording) -> None:
        from PIL import Image

        self._recording = recording
        self._error = imagination.imagination_error(recording)
        self._cameras = imagination.imagined_cameras(recording.sight)
        self._chart = chart.draw(recording, CHART.width, CHART.height)
        bright = Image.fromarray(self._chart.image)
        self._to_come = Image.blend(bright, Image.new("RGB", bright.size, PANEL), 0.68)
        self._past = bright
        shade = np.linspace(0, 225, CAPTION_PX).astype(np.uint8)
        self._shade = Image.fromarray(np.repeat(shade[:, None], FRONT.width, 1))
        self._still = self._background()

    def draw(self, t_s: float, ended: bool = False) -> Picture:
        """The page (720 x 1280) at t_s; once `ended` the outcome is told."""
        from PIL import ImageDraw

        page = self._still.copy()
        pen = ImageDraw.Draw(page)
        done_s = self._recording.done_s
        told = ended or (done_s is not None and t_s >= done_s)
        self._draw_front(page, pen, t_s, told)
        self._draw_wrist(page, t_s)
        self._draw_facts(pen, t_s)
        self._draw_imagined(page, pen, t_s)
        self._draw_chart(page, pen, t_s)
        self._draw_strip(pen, t_s, told)
        return page

    def _background(self) -> Picture:
        from PIL import Image, ImageDraw

        page = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), BACKGROUND)
        pen = ImageDraw.Draw(page)
        for box in (FRONT, CHART, TILES):
            pen.rectangle(box.corners, fill=PANEL)
        if len(self._recording.sight.wrist):
            _label(pen, WRIST.x, 52, "wrist camera")
        if self._cameras:
            ahead_s = self._recording.sight.ahead_s.max()
            _label(pen, TILES.x, 306, f"imagined, {ahead_s:+.2f} s", ACCENT)
            _label(pen, TILES.x + TILE_PX + TILE_GAP_PX, 306, "what then happened")
        else:
            _label(pen, TILES.x, 306, "imagined")
            pen.text((TILES.x + 20, TILES.y + 20), "nothing in this run", fill=MUTED, font=font(14))
        return page

    def _draw_front(self, page: Picture, pen: Pen, t_s: float, told: bool) -> None:
        sight = self._recording.sight
        picture = _enlarged(sight.front[sight.at(t_s)], FRONT.width, FRONT.height)
        left, top = (FRONT.width - picture.width) // 2, (FRONT.height - picture.height) // 2
        page.paste(picture, (FRONT.x + left, FRONT.y + top))
        bottom = FRONT.y + FRONT.height
        page.paste((8, 10, 14), (FRONT.x, bottom - CAPTION_PX), self._shade)
        _pill(pen, FRONT.x + 12, FRONT.y + 12, "front camera", MUTED)
        words, colour = self._caption(t_s)
        face = font_for(words, 26, bold=True) or font(26, bold=True)
        words = fitted(words, 26, FRONT.width - 48, bold=True)
        pen.text((FRONT.x + 24, bottom - 62), words, fill=colour, font=face, anchor="lm")
        doing = [event.text for event in self._recording.events if event.t_s <= t_s]
        if doing:
            text = fitted(doing[-1], 16, FRONT.width - 80)
            face = font_for(text, 16) or font(16)
            _arrow(pen, FRONT.x + 26, bottom - 26)
            pen.text((FRONT.x + 48, bottom - 26), text, fill=TEXT, font=face, anchor="lm")
        if told:
            good = self._recording.success
            text = fitted(self._recording.outcome, 15, 420, bold=True)
            width = round(font(15, bold=True).getlength(text)) + 46
            _badge(pen, FRONT.x + FRONT.width - 12 - width, FRONT.y + 12, width, text, GOOD if good else BAD)

    def _caption(self, t_s: float) -> tuple[str, Colour]:
        """What was said, or is waited for, and how brightly to write it."""
        heard = [words for words in self._recording.heard if words.t_s <= t_s]
        if heard:
            fresh = t_s - heard[-1].t_s < FRESH_S
            return f"“{_legible(heard[-1])}”", TEXT if fresh else (200, 206, 214)
        if self._recording.heard:
            return "listening …", MUTED
        return (f"“{self._recording.command}”" if self._recording.command else ""), TEXT

    def _draw_wrist(self, page: Picture, t_s: float) -> None:
        sight = self._recording.sight
        if len(sight.wrist):
            image = imagination.square(sight.wrist[sight.at(t_s)])
            page.paste(_enlarged(image, WRIST.width, WRIST.height), (WRIST.x, WRIST.y))

    def _draw_facts(self, pen: Pen, t_s: float) -> None:
        """Beside the wrist camera: the time, the chunks so far, how good the imagination was."""
        x, y = FACTS.x, FACTS.y
        pen.text((x, y - 6), f"{t_s - self._recording.start_s:.1f}", fill=TEXT, font=font(40, bold=True))
        pen.text((x, y + 42), "seconds", fill=MUTED, font=font(13))
        chunks = int((self._recording.sight.chunk_ready_s <= t_s).sum())
        pen.text((x, y + 72), str(chunks), fill=TEXT, font=font(24, bold=True))
        pen.text((x, y + 102), "chunks of actions", fill=MUTED, font=font(13))
        if self._cameras:
            pen.text((x, y + 134), "imagined error,", fill=ACCENT, font=font(13))
            pen.text((x, y + 151), "“nothing changes” = 1", fill=MUTED, font=font(12))
            for row, camera in enumerate(self._error.cameras):
                pen.text((x, y + 174 + 22 * row), camera.camera, fill=TEXT, font=font(14))
                text = f"{camera.ratio:.2f}" if np.isfinite(camera.ratio) else "–"
                pen.text((x + 60, y + 174 + 22 * row), text, fill=TEXT, font=font(14, bold=True))

    def _draw_imagined(self, page: Picture, pen: Pen, t_s: float) -> None:
        """The newest prediction whose time has come, and the frame of that time, at the same resolution."""
        sight = self._recording.sight
        pair = imagination.come_true(sight, t_s)
        if pair is None:
            if self._cameras:
                pen.text((TILES.x + 20, TILES.y + 20), "not yet", fill=MUTED, font=font(14))
            return
        future = int(sight.ahead_s.argmax())
        for row, (number, name) in enumerate(self._cameras):
            guess = sight.imagined[pair.imagined, number, future]
            x, y = TILES.x, TILES.y + row * (TILE_PX + TILE_GAP_PX)
            page.paste(_enlarged(guess, TILE_PX, TILE_PX), (x, y))
            real = imagination.shrunk(sight.camera(name)[pair.frame], guess.shape[0])
            page.paste(_enlarged(real, TILE_PX, TILE_PX), (x + TILE_PX + TILE_GAP_PX, y))
            _pill(pen, x + 8, y + 8, name, MUTED)

    def _draw_chart(self, page: Picture, pen: Pen, t_s: float) -> None:
        page.paste(self._past, (CHART.x, CHART.y))
        for panel in self._chart.panels:
            x = self._chart.cursor_px(panel, t_s)
            if x + 1 < panel.right:
                rest = (x + 1, panel.top, panel.right, panel.bottom)
                page.paste(self._to_come.crop(rest), (CHART.x + x + 1, CHART.y + panel.top))
            x += CHART.x
            pen.line((x, CHART.y + panel.top, x, CHART.y + panel.bottom), fill=TEXT, width=1)

    def _draw_strip(self, pen: Pen, t_s: float, told: bool) -> None:
        """The line at the top: what was heard, what came of it, the figures as far as there is room."""
        pen.text((16, 27), "edge_wam", fill=ACCENT, font=font(20, bold=True), anchor="lm")
        run = self._recording
        heard = [words for words in run.heard if words.t_s <= t_s]
        if heard:
            first = f"heard: “{_legible(heard[-1])}”"
        else:
            first = "listening" if run.heard else f"asked: “{run.command}”"
        parts: list[tuple[str, Colour]] = [(fitted(first, 15, 420), TEXT)]
        if told:
            parts.append(("done", GOOD) if run.success else ("not done", BAD))
        figures = figures_in_order(run.figures)
        ratio = self._error.together.ratio
        if np.isfinite(ratio):
            figures.insert(1, f"imagined error {ratio:.2f}x of “nothing changes”")
        parts += [(text, MUTED) for text in figures]
        x = 160.0
        for text, colour in parts:
            face = font_for(text, 15) or font(15)
            if x + face.getlength(text) > WIDTH_PX - 16:
                break
            pen.text((x, 27), text, fill=colour, font=face, anchor="lm")
            x += face.getlength(text) + 24


def _legible(heard: Heard) -> str:
    """The words as spoken; the command they mean where no typeface here can write them."""
    return heard.text if font_for(heard.text, 16) is not None else heard.command or "…"


def _enlarged(image: ImageArray, width_px: int, height_px: int) -> Picture:
    """A frame (H, W, 3) as large as fits, its proportions kept."""
    from PIL import Image

    scale = min(width_px / image.shape[1], height_px / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    if abs(size[0] - width_px) <= 2:  # 424 x 240 and its kin: no seam of a pixel
        size = (width_px, min(size[1], height_px))
    return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)


def _label(pen: Pen, x: int, y: int, text: str, colour: Colour = MUTED) -> None:
    pen.text((x, y), text, fill=colour, font=font(14, bold=True))


def _pill(pen: Pen, x: int, y: int, text: str, colour: Colour) -> None:
    width = round(font(12).getlength(text)) + 16
    pen.rounded_rectangle((x, y, x + width, y + 20), 10, fill=(13, 16, 21))
    pen.text((x + 8, y + 10), text, fill=colour, font=font(12), anchor="lm")


def _badge(pen: Pen, x: int, y: int, width: int, text: str, colour: Colour) -> None:
    pen.rounded_rectangle((x, y, x + width, y + 34), 17, fill=(13, 16, 21), outline=colour, width=2)
    pen.ellipse((x + 13, y + 12, x + 23, y + 22), fill=colour)
    pen.text((x + 32, y + 17), text, fill=colour, font=font(15, bold=True), anchor="lm")


def _arrow(pen: Pen, x: int, y: int) -> None:
    pen.polygon([(x, y - 6), (x + 11, y), (x, y + 6)], fill=ACCENT)
