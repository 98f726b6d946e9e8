"""One frame's prediction as files: depth, its uncertainty, and both as pictures in colours.

    depth/NAME.png           16 bits, MM_PER_COUNT a count; 0 unknown, 65535 is 655.35 mm or more
    log_depth_std/NAME.png   16 bits, STD_PER_COUNT a count; 0 unknown, 65535 is 6.5535 or more
    colours/NAME.png         depth in cividis with its scale, for the eye only; unknown is black
    uncertainty/NAME.png     the same of the uncertainty, as a percentage of depth
    valid/NAME.png           if asked for: 255 where depth is known and neither glare nor text is

As TIFF the first two hold 32-bit floats: millimetres, and the number itself; 0 is unknown.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

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
from colondepth.pictures import Scale, write_scaled
from colondepth.shapes import require_bool, require_shapes

MM_PER_COUNT = 0.01  # 655 mm at most: a colon seen along its axis, with room to spare
STD_PER_COUNT = 1e-4  # of log depth; a network that knows nothing says about 1
FULL = 65535


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
    uncertainty: Path | None  # as log_depth_std
    valid: Path | None  # None if not asked for

    @classmethod
    def of(
        cls, folder: Path, name: str, *, form: MapForm, with_std: bool, with_valid: bool
    ) -> "FrameFiles":
        """Name the files of a frame; a name with "/" in it lies deeper."""
        picture = f"{name}.png"
        return cls(
            depth=folder / "depth" / f"{name}.{form}",
            log_depth_std=folder / "log_depth_std" / f"{name}.{form}" if with_std else None,
            colours=folder / "colours" / picture,
            uncertainty=folder / "uncertainty" / picture if with_std else None,
            valid=folder / "valid" / picture if with_valid else None,
        )

    def whole(self) -> bool:
        """Return whether every file is there and ends as it should."""
        paths = (self.depth, self.log_depth_std, self.colours, self.uncertainty, self.valid)
        return all(_is_whole(path) for path in paths if path is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """The colours of a clip's pictures: one range for all frames."""

    depth: Scale
    uncertainty: Scale | None  # None for a network without
    metric: bool  # False: each frame's depth is shown over its own median


def write_frame(
    files: FrameFiles,
    depth_mm: Tensor,
    log_depth_std: Tensor | None,
    *,
    valid: Tensor,
    scales: Scales,
    disturbed: Tensor | None = None,
) -> None:
    """Write the files of one frame, each whole or not at all.

    Args:
        files: where.
        depth_mm: (H, W).
        log_depth_std: (H, W); None if `files` has no place for it.
        valid: (H, W) bool; elsewhere 0 is written.
        scales: of the pictures.
        disturbed: (H, W) bool, True on glare and text: not in `files.valid`, but with a depth.
    """
    require_shapes(depth_mm=(depth_mm, "H W"), valid=(valid, "H W"))
    require_bool(valid=valid)
    if (disturbed is None) != (files.valid is None):
        raise DataError(f"{files.depth}: a frame has `disturbed` if it has a place for `valid`")
    if (log_depth_std is None) != (files.log_depth_std is None):
        raise DataError(
            f"{files.depth}: the network gives uncertainty for some frames and not for others"
        )
    depth = known_values(depth_mm, depth_mm, valid)
    if files.log_depth_std is not None and log_depth_std is not None:
        std = known_values(log_depth_std, depth_mm, valid)
        _write_map(std, files.log_depth_std, per_count=STD_PER_COUNT)
        if files.uncertainty is not None and scales.uncertainty is not None:
            write_scaled(100 * std, files.uncertainty, scales.uncertainty)
    if files.valid is not None and disturbed is not None:
        usable = (depth > 0) & ~disturbed.cpu().numpy()
        with written_whole(files.valid) as temporary:
            Image.fromarray(np.where(usable, 255, 0).astype(np.uint8)).save(temporary)
    write_scaled(depth if scales.metric else relative(depth), files.colours, scales.depth)
    _write_map(depth, files.depth, per_count=MM_PER_COUNT)


def known_values(values: Tensor, depth_mm: Tensor, valid: Tensor) -> NDArray[np.float32]:
    """Return a map (H, W) as it is written: 0 where depth is not known or not valid."""
    known = (valid & (depth_mm > 0) & depth_mm.isfinite()).cpu().numpy()
    return np.where(known, values.detach().cpu().float().numpy(), np.float32(0))


def relative(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return depth (H, W) over the median of what is known of it; 0 stays 0."""
    known = depth[depth > 0]
    return depth / np.float32(np.median(known)) if known.size else depth


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
