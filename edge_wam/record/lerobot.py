"""LeRobot's dataset layout, v3.0: tables in parquet, frames in MP4, many episodes a file.

    meta/info.json                                    features, sizes, where the files are
    meta/stats.json  meta/tasks.parquet  meta/episodes/chunk-000/file-000.parquet
    data/chunk-000/file-000.parquet                   a row a frame
    videos/<key>/chunk-000/file-000.mp4               episodes end to end, a key a camera

As lerobot 0.4 (datasets/lerobot_dataset.py, utils.py) reads it. Nothing in here knows a robot.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.record.stats import joined, of_column, of_images
from edge_wam.types import ImageArray

VERSION = "v3.0"
IMAGES = "observation.images."
STATE, ACTION = "observation.state", "action"
FILES_A_CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200  # LeRobot's own
# Every second picture stands alone: training draws single frames. CRF 12: about 40 dB of what the camera saw.
_ENCODER, _OPTIONS = "libx264", {"crf": "12", "g": "2", "preset": "fast"}

Array = NDArray[Any]


class Episode(NamedTuple):
    """n frames, evenly spaced. columns: name -> (n, ...); images: camera -> (n, H, W, 3) uint8."""

    task: str
    columns: Mapping[str, Array]
    images: Mapping[str, ImageArray]

    @property
    def frames(self) -> int:
        return len(next(iter(self.columns.values())))


# --- writing ----------------------------------------------------------------------------------------


class _Videos:
    """One camera's episodes in its files."""

    def __init__(self, root: Path, key: str, fps: Fraction) -> None:
        self._root, self._key, self._fps = root, key, fps
        self._number, self._frames = -1, 0
        self._file: Any = None
        self._path = root

    def add(self, images: ImageArray) -> dict[str, Any]:
        """Append an episode; returns where it is."""
        if self._file is None or self._path.stat().st_size > VIDEO_MB * 1e6:
            self.close()
            self._number, self._frames = self._number + 1, 0
            self._path = self._root / "videos" / self._key / f"{_place(self._number)}.mp4"
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = av.open(str(self._path), "w", format="mp4")
            stream = self._file.add_stream(_ENCODER, rate=self._fps, options=_OPTIONS)
            stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], "yuv420p"
            self._stream = stream
        begin = self._frames
        for image in images:
            self._file.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        self._frames += len(images)
        return {
            "chunk_index": self._number // FILES_A_CHUNK,
            "file_index": self._number % FILES_A_CHUNK,
            "from_timestamp": float(begin / self._fps),
            "to_timestamp": float(self._frames / self._fps),
        }

    def close(self) -> None:
        if self._file is not None:
            self._file.mux(self._stream.encode())
            self._file.close()
            self._file = None


def write(
    root: Path,
    episodes: Iterable[Episode],
    fps: float,
    names: Mapping[str, Sequence[str]],
    robot_type: str,
) -> int:
    """Make a dataset in the new folder `root`; returns how many episodes. names: of a column's entries.

    EdgeWamError if the folder is there already, or if there is no episode.
    """
    if root.exists():
        raise EdgeWamError(f"{root} is there already; try: another --out, or remove it")
    part = root.with_name(f".{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        count = _write(part, episodes, Fraction(fps).limit_denominator(1001), names, robot_type)
        if not count:
            raise EdgeWamError("there is no episode in it: nothing was done for long enough")
        part.rename(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count


def _write(
    root: Path, episodes: Iterable[Episode], fps: Fraction, names: Mapping[str, Sequence[str]], robot: str
) -> int:
    tasks: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    videos: dict[str, _Videos] = {}
    features: dict[str, Any] = {}
    total = data_number = 0
    writer: Any = None
    path = root
    for index, episode in enumerate(episodes):
        n = episode.frames
        task = tasks.setdefault(episode.task, len(tasks))
        columns = dict(episode.columns) | {
            "timestamp": (np.arange(n) / float(fps)).astype(np.float32),
            "frame_index": np.arange(n),
            "episode_index": np.full(n, index),
            "index": total + np.arange(n),
            "task_index": np.full(n, task),
        }
        row: dict[str, Any] = {"episode_index": index, "tasks": [episode.task], "length": n}
        table = pa.table({name: _column(values) for name, values in columns.items()})
        if writer is None or path.stat().st_size > DATA_MB * 1e6:
            if writer is not None:
                writer.close()
                data_number += 1
            path = root / "data" / f"{_place(data_number)}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        row |= {
            "data/chunk_index": data_number // FILES_A_CHUNK,
            "data/file_index": data_number % FILES_A_CHUNK,
            "dataset_from_index": total,
            "dataset_to_index": total + n,
        }
        for camera, images in episode.images.items():
            key = f"{IMAGES}{camera}"
            where = videos.setdefault(key, _Videos(root, key, fps)).add(images)
            row |= {f"videos/{key}/{name}": value for name, value in where.items()}
        stats = {name: of_column(np.asarray(values, np.float64)) for name, values in columns.items()}
        stats |= {f"{IMAGES}{name}": of_images(images) for name, images in episode.images.items()}
        row |= {f"stats/{key}/{name}": v.tolist() for key, of in stats.items() for name, v in of.items()}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        rows.append(row)
        total += n
        features = features or _features(columns, episode.images, names, fps)
    for video in videos.values():
        video.close()
    if writer is not None:
        writer.close()
        _write_meta(root, rows, tasks, features, total, fps, robot)
    return len(rows)


def _place(number: int) -> str:
    return f"chunk-{number // FILES_A_CHUNK:03d}/file-{number % FILES_A_CHUNK:03d}"


def _column(values: Array) -> Any:
    """(n,) or (n, ...) -> an arrow array; lists for more than one dimension."""
    if values.ndim == 1:
        return pa.array(values)
    if values.ndim == 2 and values.shape[1] == 1:
        return pa.array(values[:, 0])
    array = pa.array(values.reshape(-1))
    for size in reversed(values.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array.cast(_lists(array.type))


def _lists(kind: Any) -> Any:
    return pa.list_(_lists(kind.value_type)) if pa.types.is_fixed_size_list(kind) else kind


def _features(
    columns: Mapping[str, Array],
    images: Mapping[str, ImageArray],
    names: Mapping[str, Sequence[str]],
    fps: Fraction,
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, values in columns.items():
        shape = list(values.shape[1:]) or [1]
        told = names.get(name)
        found[name] = {
            "dtype": str(values.dtype),
            "shape": shape,
            "names": None if told is None else list(told),
        }
    for camera, pictures in images.items():
        height, width = pictures.shape[1:3]
        found[f"{IMAGES}{camera}"] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": _whole(fps),
                "video.channels": 3,
                "has_audio": False,
            },
        }
    return found


def _whole(fps: Fraction) -> int | float:
    return int(fps) if fps.denominator == 1 else float(fps)


def _write_meta(
    root: Path,
    rows: Sequence[dict[str, Any]],
    tasks: Mapping[str, int],
    features: Mapping[str, Any],
    total: int,
    fps: Fraction,
    robot: str,
) -> None:
    meta = root / "meta"
    (meta / "episodes" / "chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), meta / "episodes" / f"{_place(0)}.parquet")
    _write_tasks(meta / "tasks.parquet", tasks)
    (meta / "stats.json").write_text(json.dumps(joined(rows), indent=4))
    info = {
        "codebase_version": VERSION,
        "robot_type": robot,
        "total_episodes": len(rows),
        "total_frames": total,
        "total_tasks": len(tasks),
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": _whole(fps),
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
        "features": features,
    }
    (meta / "info.json").write_text(json.dumps(info, indent=4, ensure_ascii=False))


def _write_tasks(path: Path, tasks: Mapping[str, int]) -> None:
    """As pandas writes a table whose index is the task's words, without pandas."""
    texts: dict[str, Any] = {
        "name": "task",
        "field_name": "task",
        "pandas_type": "unicode",
        "numpy_type": "object",
    }
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    told = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [number | {"metadata": None}, texts | {"metadata": None}],
    }
    table = pa.table(
        {"task_index": pa.array(list(tasks.values()), pa.int64()), "task": pa.array(list(tasks))}
    )
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(told)}), path)


# --- reading ----------------------------------------------------------------------------------------


class Dataset(NamedTuple):
    """A dataset in a folder: its info.json, its tasks by number, its episodes' rows."""

    root: Path
    info: dict[str, Any]
    tasks: dict[int, str]
    rows: list[dict[str, Any]]

    @property
    def fps(self) -> float:
        return float(self.info["fps"])

    @property
    def cameras(self) -> list[str]:
        """Names of the cameras with videos."""
        return [
            key.removeprefix(IMAGES)
            for key, feature in self.info["features"].items()
            if key.startswith(IMAGES) and feature["dtype"] == "video"
        ]

    def episodes(self, every: int = 1) -> Iterator[Episode]:
        """Each with all its columns, and every so many-th of its pictures."""
        for row in self.rows:
            columns = self._columns(row)
            images = {name: self._images(row, f"{IMAGES}{name}", every) for name in self.cameras}
            yield Episode(self.tasks[int(columns["task_index"][0])], columns, images)

    def _columns(self, row: Mapping[str, Any]) -> dict[str, Array]:
        path = self.root / self.info["data_path"].format(
            chunk_index=row["data/chunk_index"], file_index=row["data/file_index"]
        )
        table = _table(path, filters=[("episode_index", "=", row["episode_index"])])
        return {name: np.array(table[name].to_pylist()) for name in table.column_names}

    def _images(self, row: Mapping[str, Any], key: str, every: int) -> ImageArray:
        path = self.root / self.info["video_path"].format(
            video_key=key,
            chunk_index=row[f"videos/{key}/chunk_index"],
            file_index=row[f"videos/{key}/file_index"],
        )
        from_s, count = float(row[f"videos/{key}/from_timestamp"]), int(row["length"])
        wanted = {round(i) for i in range(0, count, every)}
        found: list[ImageArray] = []
        try:
            with av.open(str(path)) as file:
                stream = file.streams.video[0]
                assert stream.time_base is not None
                file.seek(max(0, int((from_s - 0.5 / self.fps) / stream.time_base)), stream=stream)
                for frame in file.decode(stream):
                    number = round((float(frame.time or 0.0) - from_s) * self.fps)
                    if number >= count:
                        break
                    if number in wanted:
                        found.append(frame.to_ndarray(format="rgb24"))
        except (OSError, IndexError) as error:
            raise EdgeWamError(f"cannot read the video {path} ({error}); is the dataset whole?") from None
        if len(found) != len(wanted):
            raise EdgeWamError(
                f"{path}: expected {len(wanted)} pictures of episode {row['episode_index']}, "
                f"found {len(found)}; is the dataset whole?"
            )
        return np.stack(found)


def open_dataset(root: Path) -> Dataset:
    """EdgeWamError if there is none in `root`, or one of another version."""
    try:
        info = json.loads((root / "meta" / "info.json").read_text())
    except (OSError, ValueError) as error:
        raise EdgeWamError(f"{root} holds no LeRobot dataset ({error})") from None
    if not str(info.get("codebase_version", "")).startswith("v3."):
        raise EdgeWamError(
            f"{root} is a LeRobot dataset of version {info.get('codebase_version')}, expected {VERSION}; "
            "try: python -m lerobot.datasets.v30.convert_dataset_v21_to_v30"
        )
    told = _table(root / "meta" / "tasks.parquet").to_pydict()
    words: list[str] = next((told[name] for name in ("task", "__index_level_0__") if name in told), [])
    tasks = {int(number): str(task) for number, task in zip(told["task_index"], words, strict=True)}
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        table = _table(path)
        rows += table.select(
            [name for name in table.column_names if not name.startswith("stats/")]
        ).to_pylist()
    return Dataset(root, info, tasks, rows)


def _table(path: Path, **wanted: Any) -> Any:
    try:
        return pq.read_table(path, **wanted)
    except (OSError, pa.ArrowException) as error:
        raise EdgeWamError(f"cannot read {path} ({error}); is the dataset whole?") from None
