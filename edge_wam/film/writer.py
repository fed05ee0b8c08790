"""Pictures into a file: H.264 by PyAV, MPEG-4 where that is all it can, a GIF by Pillow without PyAV."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from edge_wam.types import ImageArray

ENCODERS = ("libx264", "libopenh264", "h264_nvenc", "h264_videotoolbox", "mpeg4")  # H.264 before MPEG-4
GIF_WIDTH_PX, GIF_EVERY = 640, 2  # a GIF of everything would be a hundred megabytes
BT709, LIMITED_RANGE = 1, 1  # what players take HD for; untagged, reds drift


def write(out: Path, pictures: Iterable[ImageArray], fps: int, encoders: Sequence[str] = ENCODERS) -> Path:
    """Write pictures (H, W, 3), all of one even size; returns the file, whose suffix says what it became.

    Written beside and renamed, so that a film that is there is a whole one.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    encoder = None if out.suffix.lower() == ".gif" else video_encoder(encoders)
    path = out.with_suffix(".gif" if encoder is None else ".mp4")
    beside = path.with_name(path.stem + ".part" + path.suffix)
    try:
        if encoder is None:
            _write_gif(beside, pictures, fps)
        else:
            _write_video(beside, pictures, fps, encoder)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def video_encoder(wanted: Sequence[str] = ENCODERS) -> str | None:
    """The first of the encoders that this machine's PyAV has; None without PyAV."""
    try:
        import av
    except ImportError:
        return None
    return next((name for name in wanted if name in av.codecs_available and _opens(name)), None)


def _opens(name: str) -> bool:
    """Whether the encoder really starts: one for hardware is listed on machines without that hardware."""
    import av

    try:
        context: Any = av.CodecContext.create(name, "w")
        context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
        context.time_base = Fraction(1, 15)
        context.open()
    except (av.FFmpegError, ValueError, TypeError):
        return False
    return True


def _write_video(path: Path, pictures: Iterable[ImageArray], fps: int, encoder: str) -> None:
    import av

    quality = {"crf": "20", "preset": "medium"} if encoder == "libx264" else {}
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        stream = None
        for picture in pictures:
            if stream is None:
                stream = file.add_stream(encoder, rate=fps, options=quality)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.bit_rate = 6_000_000 if not quality else 0
                context = stream.codec_context
                context.colorspace = context.color_primaries = context.color_trc = BT709
                context.color_range = LIMITED_RANGE
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            file.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=BT709)))
        if stream is not None:
            file.mux(stream.encode())


def _write_gif(path: Path, pictures: Iterable[ImageArray], fps: int) -> None:
    from PIL import Image

    def small() -> Iterator[Image.Image]:
        for picture in itertools.islice(pictures, 0, None, GIF_EVERY):
            image = Image.fromarray(picture)
            image.thumbnail((GIF_WIDTH_PX, GIF_WIDTH_PX), Image.Resampling.LANCZOS)
            yield image.quantize(128, dither=Image.Dither.NONE)

    images = list(small())
    ends_cs = [round(100 * GIF_EVERY * (n + 1) / fps) for n in range(len(images))]  # a GIF counts in 10 ms
    durations_ms = [10 * (end - start) for start, end in itertools.pairwise([0, *ends_cs])]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations_ms, loop=0)
