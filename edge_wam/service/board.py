"""The board that a camera looks at: ChArUco, printed at true scale, its outer corners marked for touching.

In its own frame the board has its origin at corner A, x runs from A to B, y from A to D (downwards on the
page), z into the page, metres. Seven squares by five of 30 mm fit on A4 and on Letter.

Source: OpenCV's aruco module (Garrido-Jurado et al., Automatic generation and detection of highly reliable
fiducial markers under occlusion, 2014).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge_wam.errors import CameraError, EdgeWamError
from edge_wam.types import FloatArray, ImageArray

COLUMNS, ROWS, SQUARE_M = 7, 5, 0.030
_MARKER_SHARE = 22 / 30  # of a square
CORNERS = ("A", "B", "C", "D")
INNER_CORNERS = (COLUMNS - 1) * (ROWS - 1)
LEAST_CORNERS = 10
PAGE_MM = (297, 210)  # A4
_DPI = 300
_RULER_MM = 100


class Seen(NamedTuple):
    """The inner corners that a picture shows: their numbers (N,), and where, (N, 2), in pixels; the centre of
    the top left pixel is (0, 0)."""

    ids: Any
    corners_px: FloatArray


class Board:
    """A printed board; square_m is the edge of its squares as measured on the paper."""

    def __init__(self, square_m: float = SQUARE_M) -> None:
        aruco = opencv().aruco
        self.square_m = square_m
        words = aruco.getPredefinedDictionary(aruco.DICT_4X4_50)
        self._board = aruco.CharucoBoard((COLUMNS, ROWS), square_m, _MARKER_SHARE * square_m, words)
        self._detector = aruco.CharucoDetector(self._board)
        self._points_m: FloatArray = np.asarray(self._board.getChessboardCorners(), np.float64)

    def points_m(self, ids: Any) -> FloatArray:
        """Where the inner corners of these numbers are on the board, (N, 3)."""
        points: FloatArray = self._points_m[ids]
        return points

    @property
    def touched_m(self) -> FloatArray:
        """Where the outer corners A, B, C and D are on the board, (4, 3)."""
        width, height = COLUMNS * self.square_m, ROWS * self.square_m
        return np.array([[0, 0, 0], [width, 0, 0], [width, height, 0], [0, height, 0]], np.float64)

    def find(self, image: ImageArray) -> Seen:
        """The board in a picture (H, W, 3) RGB. CameraError says what to do where there is none."""
        gray = opencv().cvtColor(np.ascontiguousarray(image), opencv().COLOR_RGB2GRAY)
        corners, ids, markers, _ = self._detector.detectBoard(gray)
        count = 0 if ids is None else len(ids)
        if count < LEAST_CORNERS:
            found = f"{count} of its {INNER_CORNERS} corners, {len(markers or ())} of its markers"
            raise CameraError(
                f"the board is not seen well enough (found {found}; expected {LEAST_CORNERS} corners at "
                f"least); try: all of it in the picture, nearer, flat, without glare or shadows on it"
            )
        return Seen(np.asarray(ids).ravel(), np.asarray(corners, np.float64).reshape(-1, 2))

    def picture(self, dpi: int = _DPI, page_mm: tuple[int, int] = PAGE_MM) -> Any:
        """The page as a Pillow image: the board in the middle, its corners' letters, a ruler to check the
        printer with."""
        image, draw, font = _page(dpi, page_mm)
        wide, high = (round(mm * dpi / 25.4) for mm in (COLUMNS * SQUARE_MM, ROWS * SQUARE_MM))
        left, top = (image.width - wide) // 2, (image.height - high) // 2
        image.paste(_gray_image(self._board.generateImage((wide, high))), (left, top))
        gap = dpi // 8
        for name, x, y in zip(
            CORNERS, (left, left + wide, left + wide, left), (top, top, top + high, top + high), strict=True
        ):
            side, level = (-1 if x == left else 1), (-1 if y == top else 1)
            for dx, dy in ((side, 0), (0, level)):  # the corner itself is where the two lines would meet
                draw.line(
                    (x + dx * 4, y + dy * 4, x + dx * gap, y + dy * gap), fill=0, width=max(1, dpi // 150)
                )
            draw.text((x + side * gap, y + level * gap), name, fill=0, font=font, anchor="mm")
        y, ruler = top + high + gap * 2, round(_RULER_MM * dpi / 25.4)
        x = (image.width - ruler) // 2
        draw.line((x, y, x + ruler, y), fill=0, width=max(1, dpi // 100))
        for end in (x, x + ruler):
            draw.line((end, y - gap // 3, end, y + gap // 3), fill=0, width=max(1, dpi // 100))
        words = f"{_RULER_MM} mm: if it is not, print at 100 %, or measure a square and say --square-mm"
        draw.text((image.width // 2, y + gap // 2), words, fill=0, font=font, anchor="mt")
        return image

    def save(self, path: Path, page_mm: tuple[int, int] = PAGE_MM) -> None:
        """The page as .pdf or .png, at true scale."""
        if path.suffix not in (".pdf", ".png"):
            raise EdgeWamError(f"the board can be written as .pdf or .png, not '{path.name}'")
        path.parent.mkdir(parents=True, exist_ok=True)
        page = self.picture(page_mm=page_mm)
        if path.suffix == ".pdf":
            page.convert("1", dither=0).save(path, resolution=_DPI)
        else:
            page.save(path, dpi=(_DPI, _DPI))


SQUARE_MM = SQUARE_M * 1e3


def opencv() -> Any:
    """Import OpenCV, or EdgeWamError saying what to install."""
    try:
        import cv2
    except ImportError as error:
        raise _missing("OpenCV", error) from error
    return cv2


def _page(dpi: int, page_mm: tuple[int, int]) -> tuple[Any, Any, Any]:
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise _missing("Pillow", error) from error
    width, height = (round(mm * dpi / 25.4) for mm in page_mm)
    image = Image.new("L", (width, height), 255)
    return image, ImageDraw.Draw(image), ImageFont.load_default(dpi / 8)


def _gray_image(pixels: Any) -> Any:
    from PIL import Image

    return Image.fromarray(pixels)


def _missing(what: str, error: ImportError) -> EdgeWamError:
    return EdgeWamError(f"{what} cannot be imported ({error}); try: pip install 'edge-wam[calibrate]'")
