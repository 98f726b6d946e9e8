"""One frame's prediction as files: depth, its uncertainty, and a picture in colours.

    depth/NAME.png           16 bits, MM_PER_COUNT a count; 0 unknown, 65535 is 655.35 mm or more
    log_depth_std/NAME.png   16 bits, STD_PER_COUNT a count; 0 unknown, 65535 is 6.5535 or more
    colours/NAME.png         depth in cividis, for the eye only; unknown is black

As TIFF the first two hold 32-bit floats: millimetres, and the number itself; 0 is unknown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.data.folders import File
from colondepth.data.rasters import fault, read_grey, write_counts
from colondepth.errors import DataError
from colondepth.images import opened_image
from colondepth.shapes import require_bool, require_shapes

MM_PER_COUNT = 0.01  # 655 mm at most: a colon seen along its axis, with room to spare
STD_PER_COUNT = 1e-4  # of log depth; a network that knows nothing says about 1
FULL = 65535
FAR_MM = 100.0  # where the colours of a metric network end; beyond, a lumen is dark
FAR_SHARE = 0.98  # of a frame's pixels that are nearer than the end of the colours, if not metric


class MapForm(StrEnum):
    """How depth and its uncertainty are stored."""

    PNG = "png"
    TIFF = "tiff"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFiles:
    """Where the files of one frame are."""

    depth: Path
    log_depth_std: Path | None  # None for a network without uncertainty
    colours: Path

    @classmethod
    def of(cls, folder: Path, name: str, *, form: MapForm, with_std: bool) -> "FrameFiles":
        """Name the files of a frame; a name with "/" in it lies deeper."""
        std = folder / "log_depth_std" / f"{name}.{form}" if with_std else None
        return cls(
            depth=folder / "depth" / f"{name}.{form}",
            log_depth_std=std,
            colours=folder / "colours" / f"{name}.png",
        )

    def whole(self) -> bool:
        """Return whether every file is there and ends as it should."""
        paths = (self.depth, self.log_depth_std, self.colours)
        return all(_is_whole(path) for path in paths if path is not None)


def write_frame(
    files: FrameFiles,
    depth_mm: Tensor,
    log_depth_std: Tensor | None,
    *,
    valid: Tensor,
    metric: bool,
) -> None:
    """Write the files of one frame, each whole or not at all.

    Args:
        files: where.
        depth_mm: (H, W).
        log_depth_std: (H, W); None if `files` has no place for it.
        valid: (H, W) bool; elsewhere 0 is written.
        metric: the colours end at `FAR_MM`; if not, at the depth that `FAR_SHARE` do not reach.
    """
    require_shapes(depth_mm=(depth_mm, "H W"), valid=(valid, "H W"))
    require_bool(valid=valid)
    if (log_depth_std is None) != (files.log_depth_std is None):
        raise DataError(
            f"{files.depth}: the network gives uncertainty for some frames and not for others"
        )
    known = (valid & (depth_mm > 0) & depth_mm.isfinite()).cpu().numpy()
    depth = np.where(known, depth_mm.detach().cpu().float().numpy(), np.float32(0))
    if files.log_depth_std is not None and log_depth_std is not None:
        std = np.where(known, log_depth_std.detach().cpu().float().numpy(), np.float32(0))
        _write_map(std, files.log_depth_std, per_count=STD_PER_COUNT)
    _write_colours(depth, files.colours, far_mm=FAR_MM if metric else _far(depth))
    _write_map(depth, files.depth, per_count=MM_PER_COUNT)


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Answer for a disk that is full, or gone, while files are written into a folder."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write into {folder}: {error.strerror or error}; what is finished stays, and"
            " the same command goes on"
        ) from error


def read_depth_mm(path: Path) -> Tensor:
    """Read a depth map that `write_frame` wrote, (1, H, W) in millimetres, 0 where unknown."""
    return _read_map(path, per_count=MM_PER_COUNT)


def read_log_depth_std(path: Path) -> Tensor:
    """Read an uncertainty that `write_frame` wrote, (1, H, W), 0 where unknown."""
    return _read_map(path, per_count=STD_PER_COUNT)


def _is_whole(path: Path) -> bool:
    try:
        return fault(File(str(path), path.stat().st_size)) is None
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _write_map(values: NDArray[np.float32], path: Path, *, per_count: float) -> None:
    """Write values (H, W); what is known is never rounded down to 0, which means unknown."""
    if path.suffix == ".png":
        counts = np.clip(np.rint(values.astype(np.float64) / per_count), 1, FULL)
        write_counts(np.where(values > 0, counts, 0).astype(np.uint16), path)
    else:
        write_counts(values, path)


def _read_map(path: Path, *, per_count: float) -> Tensor:
    if path.suffix == ".png":
        values = (read_grey(str(path), bits=16) * per_count).astype(np.float32)
    else:
        with opened_image(path) as file:
            if file.mode != "F":
                raise DataError(f"{path} is a {file.mode} image, expected 32-bit floats")
            values = np.array(file, dtype=np.float32)
    return torch.from_numpy(values)[None]


def _far(depth: NDArray[np.float32]) -> float:
    known = depth[depth > 0]
    return float(np.quantile(known, FAR_SHARE)) if known.size else 1.0


def _write_colours(depth: NDArray[np.float32], path: Path, *, far_mm: float) -> None:
    """Write depth (H, W) in colours: near is bright, far is dark, as an endoscope shows it."""
    shade = np.rint(255 * (1 - np.clip(depth / far_mm, 0, 1))).astype(np.uint8)
    pixels = _colours()[shade]  # (H, W, 3)
    pixels[depth == 0] = 0
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary)


@cache
def _colours() -> NDArray[np.uint8]:
    """Return cividis, (256, 3)."""
    table: NDArray[np.uint8] = mpl.colormaps["cividis"](np.arange(256), bytes=True)[:, :3].copy()
    return table
