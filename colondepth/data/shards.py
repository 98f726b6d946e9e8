"""Clips for training: uncompressed numpy files, memory-mapped, behind one JSON index.

    index.json                     format, version, and for each clip its name, camera, frame ids,
                                   and which files hold which frames of which part
    000_image_000.npy, ...         one part of a stretch of frames, (N, C, H, W)

An image is kept as 8 bits, everything else as it stands, so a view is read back bit by bit. The
index is written last: a folder without it is a write that did not end. Random access costs one
copy of the frame.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import from_file, to_file
from colondepth.data.folders import Folder
from colondepth.data.reading import Opening
from colondepth.errors import DataError
from colondepth.views import Clip, View

LOOKS_FOR = "index.json beside NNN_image_NNN.npy, as write_shards makes them"

FORMAT, VERSION = "colondepth-shards", 1
INDEX = "index.json"
# Files of this size are copied and moved as one, and few enough to keep them all mapped.
SHARD_BYTES = 1 << 30


def write_shards(
    clips: Sequence[Clip], folder: Path | str, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write clips as shards; see the module for the form.

    Args:
        clips: of 8-bit images; within a clip every view has the same parts.
        folder: must be empty or new.
        shard_bytes: no file holds more, unless a single frame does.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; nothing is overwritten")
    if not clips:
        raise DataError("there is no clip to write; expected one or more")
    rows = [_write(clip, folder, number, shard_bytes) for number, clip in enumerate(clips)]
    index = {"format": FORMAT, "version": VERSION, "clips": rows}
    with written_whole(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index), encoding="utf-8")


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder with an index and shards."""
    for folder in root.below():
        if INDEX in folder.files and "#_image_#.npy" in folder.shapes:
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every set of shards at or below a folder."""
    return [clip for folder in sequences(root) for clip in _open(folder, opening)]


@dataclass(frozen=True, eq=False)
class _Shards:
    """Reads frame k from the files that hold it; each process maps the files for itself."""

    folder: Path
    parts: Mapping[str, tuple[tuple[int, str], ...]]  # part -> (first frame, file) in order
    camera: Any
    _mapped: dict[str, Any] = field(default_factory=dict, repr=False)

    def __call__(self, number: int) -> View:
        view: dict[str, Any] = {"camera": self.camera}
        for part, shards in self.parts.items():
            first, name = next(each for each in reversed(shards) if each[0] <= number)
            values = np.array(self._map(name)[number - first])
            if part == "image":
                values = values.astype(np.float32) / np.float32(255)
            view[part] = float(values) if part == "time_s" else torch.from_numpy(values)
        return cast(View, view)

    def _map(self, name: str) -> Any:
        if name not in self._mapped:
            self._mapped[name] = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        return self._mapped[name]

    def __reduce__(self) -> tuple[Any, ...]:  # a mapped file would be pickled as a copy
        return type(self), (self.folder, self.parts, self.camera)


def _write(clip: Clip, folder: Path, number: int, shard_bytes: int) -> dict[str, Any]:
    shards: dict[str, list[tuple[int, str]]] = {}
    first = _arrays(clip[0])
    largest = max(array.nbytes for array in first.values())
    step = max(1, shard_bytes // largest)
    for start in range(0, len(clip), step):
        names = {part: f"{number:03d}_{part}_{start // step:03d}.npy" for part in first}
        _write_stretch(clip, folder, range(start, min(start + step, len(clip))), names, first)
        for part, name in names.items():
            shards.setdefault(part, []).append((start, name))
    camera = folder / f"{number:03d}_camera.json"
    to_file(clip.camera, camera)
    return {
        "name": clip.name,
        "camera": camera.name,
        "frame_ids": list(clip.frame_ids),
        "parts": shards,
    }


def _write_stretch(
    clip: Clip, folder: Path, frames: range, names: dict[str, str], first: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        files = {}
        for part, name in names.items():
            path = stack.enter_context(written_whole(folder / name))
            shape = (len(frames), *first[part].shape)
            files[part] = open_memmap(path, mode="w+", dtype=first[part].dtype, shape=shape)
        for row, number in enumerate(frames):
            arrays = _arrays(clip[number])
            if odd := sorted(arrays.keys() ^ first.keys()):
                raise DataError(f"{clip.name}, frame {clip.frame_ids[number]}: parts {odd} differ")
            for part, array in arrays.items():
                if array.shape != first[part].shape or array.dtype != first[part].dtype:
                    raise DataError(
                        f"{clip.name}, frame {clip.frame_ids[number]}: {part} is {array.dtype}"
                        f" {array.shape}, the first frame's {first[part].dtype}"
                        f" {first[part].shape}; a clip has one size"
                    )
                files[part][row] = array
        for file in files.values():
            file.flush()


def _arrays(view: View) -> dict[str, Any]:
    """Return what a shard keeps of a view, by part."""
    arrays: dict[str, Any] = {}
    for part, value in view.items():
        if part in ("camera", "frame_id"):
            continue
        if isinstance(value, float):
            arrays[part] = np.array(value, dtype=np.float64)
        elif isinstance(value, Tensor):
            arrays[part] = value.detach().cpu().numpy()
        else:
            raise DataError(f"a shard has no place for {part}, a {type(value).__name__}")
    counts = np.rint(arrays["image"] * np.float32(255)).astype(np.uint8)
    if not np.array_equal(counts.astype(np.float32) / np.float32(255), arrays["image"]):
        raise DataError(
            f"the image of frame {view['frame_id']} has more than 8 bits; round it first:"
            " (image * 255).round() / 255"
        )
    return arrays | {"image": counts}


def _open(folder: Folder, opening: Opening) -> list[Clip]:
    path = folder.path / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if (index["format"], index["version"]) != (FORMAT, VERSION):
            raise DataError(
                f"{path} is {index['format']} version {index['version']}, expected {FORMAT}"
                f" version {VERSION}; write the shards anew"
            )
        clips = []
        for row in index["clips"]:
            parts = {
                part: tuple((int(start), str(name)) for start, name in shards)
                for part, shards in row["parts"].items()
            }
            if not _whole(folder, parts, len(row["frame_ids"]), opening):
                continue
            own = from_file(folder.path / row["camera"])
            camera = opening.camera_for(folder.path, own.height, own.width, own)
            reads = _Shards(folder.path, parts, camera)
            clips.append(Clip(reads, row["frame_ids"], camera=camera, name=row["name"]))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not an index of shards: {error!r}") from error
    return clips


def _whole(
    folder: Folder, parts: dict[str, tuple[tuple[int, str], ...]], frames: int, opening: Opening
) -> bool:
    """Check that the files are there, of full length, and hold all frames together."""
    for shards in parts.values():
        ends = [start for start, _ in shards[1:]] + [frames]
        for (start, name), end in zip(shards, ends, strict=True):
            try:
                held = len(np.load(folder.path / name, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError) as error:
                opening.bad(folder.path / name, f"is missing, cut short or broken: {error}")
                return False
            if held != end - start:
                opening.bad(folder.path / name, f"has {held} frames, expected {end - start}")
                return False
    return True
