"""Depth maps that some other program made, matched to the frames of clips.

    DIR/CLIP/FRAME.png, .tif, .tiff or .npy      or DIR/FRAME... where there is one clip
    DIR/CLIP/depth/FRAME...                      as `colondepth predict` writes them

A png has 16 bits of whole counts, a tiff 16 bits or 32-bit floats, an npy any real numbers, (H, W)
or (1, H, W). What is in them times `mm_per_unit` is millimetres; 0 is "does not know". A map is
matched by its name without suffix; where no name fits any frame, by the last number in it.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colondepth.data.folders import natural_key
from colondepth.data.rasters import read_grey, stored_bits
from colondepth.errors import DataError
from colondepth.images import opened_image

SUFFIXES = (".png", ".tif", ".tiff", ".npy")
_NAMED = 3  # names that a message lists
# Words for the list of excluded frames: the same ones for the same reason.
NO_MAP = "no predicted map"
UNREADABLE, WRONG_FORM = "predicted map cannot be read", "predicted map has another form"
WRONG_SIZE = "predicted map has another size"
NOT_FINITE, NEGATIVE = "predicted map has NaN or infinity", "predicted map has negative values"


class MapError(DataError):
    """A map of depth that cannot be scored; `why` are its words in the list of exclusions."""

    def __init__(self, message: str, *, why: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipMaps:
    """The maps of one clip's frames."""

    folder: Path
    paths: Mapping[str, Path]  # by frame
    missing: tuple[str, ...]  # frames without a map
    spare: tuple[Path, ...]  # maps without a frame
    by_number: bool  # names did not fit, numbers did


@dataclass(frozen=True, slots=True)
class PredictionMaps:
    """A folder of depth maps in a stated unit."""

    root: Path
    mm_per_unit: float

    def __post_init__(self) -> None:
        """Refuse a folder that is none and a unit that is none."""
        if not self.root.is_dir():
            found = "is a file" if self.root.exists() else "does not exist"
            raise DataError(f"{self.root} {found}; expected a folder of predicted depth maps")
        if not (isfinite(self.mm_per_unit) and self.mm_per_unit > 0):
            raise DataError(
                f"mm_per_unit is {self.mm_per_unit:g}, expected how many millimetres a 1 in the"
                " maps stands for: 1 for millimetres, 10 for centimetres, 1000 for metres"
            )

    def of_clip(self, name: str, frames: Sequence[str], *, alone: bool, skip_bad: bool) -> ClipMaps:
        """Find the maps of a clip's frames.

        Args:
            name: of the clip.
            frames: their names, those that are scored.
            alone: whether it is the only clip, whose maps may lie in the root.
            skip_bad: frames without maps and maps without frames are listed; errors otherwise.
        """
        places = [self.root / name / "depth", self.root / name]
        places += [self.root / "depth", self.root] if alone else []
        folder = next((place for place in places if _maps_in(place)), None)
        if folder is None:
            inside = sorted(each.name for each in self.root.iterdir())[:_NAMED]
            where = " or ".join(str(place) for place in places[1:4:2] or places[1:])
            raise DataError(
                f"{self.root} has no predicted maps of clip {name!r}; expected {SUFFIXES} in"
                f" {where}, found {inside}"
            )
        return _matched(folder, name, frames, skip_bad=skip_bad)

    def read(self, path: Path, *, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Read a map as millimetres, (1, H, W), 0 where it does not know.

        Args:
            path: of the map.
            sizes: the (height, width) that it may have.
        """
        values = _read(path)
        if values.shape not in sizes:
            wanted = " or ".join(f"{height}x{width}" for height, width in sizes)
            raise MapError(
                f"{path} is {'x'.join(map(str, values.shape))}, expected {wanted}; resize it with"
                " the method that the network's own paper uses, for that changes the figures",
                why=WRONG_SIZE,
            )
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise MapError(
                f"{path} has {bad} values that are NaN or infinite; 0 says that a network does not"
                " know",
                why=NOT_FINITE,
            )
        if values.min(initial=0) < 0:
            raise MapError(
                f"{path} has negative values down to {values.min():g}; expected depth, and 0 where"
                " a network does not know",
                why=NEGATIVE,
            )
        return torch.from_numpy((values * self.mm_per_unit).astype(np.float32))[None]

    def digest(self) -> str:
        """Return what tells these maps from others: names, sizes and times of all files."""
        files = [path for path in self.root.rglob("*") if path.suffix.lower() in SUFFIXES]
        rows = []
        for path in sorted(files):
            state = path.stat()
            rows.append(f"{path.relative_to(self.root)} {state.st_size} {state.st_mtime_ns}")
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _maps_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    found = [
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file()
    ]
    return sorted(found, key=lambda path: natural_key(path.name))


def _matched(folder: Path, name: str, frames: Sequence[str], *, skip_bad: bool) -> ClipMaps:
    maps = _maps_in(folder)
    by_stem = _one_each(folder, [(path.stem, path) for path in maps])
    by_number = not any(frame in by_stem for frame in frames)
    if by_number:
        keys = [(frame, _number(frame)) for frame in frames]
        pairs = [(_number(path.stem), path) for path in maps]
        numbers = [number for number, _ in pairs] + [number for _, number in keys]
        if None in numbers or len({number for _, number in keys}) < len(keys):
            raise DataError(
                f"{folder}: no map is called like a frame of {name!r}, and not all have a number of"
                f" their own; expected maps called {[*frames[:_NAMED]]} with one of {SUFFIXES},"
                f" found {[path.name for path in maps[:_NAMED]]}"
            )
        by_key = _one_each(folder, pairs)
        paths = {frame: by_key[number] for frame, number in keys if number in by_key}
    else:
        paths = {frame: by_stem[frame] for frame in frames if frame in by_stem}
    missing = tuple(frame for frame in frames if frame not in paths)
    used = set(paths.values())
    spare = tuple(path for path in maps if path not in used)
    if missing and not skip_bad:
        raise DataError(
            f"{folder}: {len(missing)} of {len(frames)} frames of {name!r} have no predicted map:"
            f" {', '.join(missing[:_NAMED])}{', ...' if len(missing) > _NAMED else ''};"
            " --skip-bad lists them as excluded"
        )
    if spare and not skip_bad:
        raise DataError(
            f"{folder}: {len(maps)} maps, but {len(frames)} frames of {name!r};"
            f" {', '.join(path.name for path in spare[:_NAMED])} have no frame. Are they of another"
            " split? --skip-bad scores those that have one"
        )
    return ClipMaps(folder=folder, paths=paths, missing=missing, spare=spare, by_number=by_number)


def _one_each(folder: Path, pairs: Sequence[tuple[Any, Path]]) -> dict[Any, Path]:
    found: dict[Any, Path] = {}
    for key, path in pairs:
        if found.setdefault(key, path) is not path:
            raise DataError(
                f"{folder}: {found[key].name} and {path.name} may both be the map of one frame;"
                " expected one map a frame"
            )
    return found


def _number(name: str) -> int | None:
    """Return the last number in a name, such as 12 in "0012_depth"; None if there is none."""
    numbers = re.findall(r"\d+", name.rsplit("/", 1)[-1])
    return int(numbers[-1]) if numbers else None


def _read(path: Path) -> NDArray[np.float64]:
    try:
        if path.suffix.lower() == ".npy":
            return _array(path)
        return _raster(path)
    except MapError:
        raise
    except DataError as error:
        raise MapError(str(error), why=UNREADABLE) from error


def _array(path: Path) -> NDArray[np.float64]:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise MapError(
            f"{path} cannot be read as a numpy array: {error}", why=UNREADABLE
        ) from error
    if values.ndim == 3 and 1 in (values.shape[0], values.shape[-1]):
        values = values[0] if values.shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise MapError(
            f"{path} holds {values.dtype} of shape {values.shape}, expected real numbers (H, W)",
            why=WRONG_FORM,
        )
    return values.astype(np.float64)  # type: ignore[no-any-return]


def _raster(path: Path) -> NDArray[np.float64]:
    bits = stored_bits(path)
    if bits == 8:
        raise MapError(
            f"{path} has 8 bits a value, expected 16-bit png, tiff or npy: 255 steps of depth are"
            " too few to judge a network by",
            why=WRONG_FORM,
        )
    if bits == 16:
        return read_grey(str(path), bits=16).astype(np.float64)
    with opened_image(path) as file:
        if file.mode != "F":
            raise MapError(
                f"{path} is a {file.mode} image, expected one value a pixel", why=WRONG_FORM
            )
        return np.array(file, dtype=np.float64)
