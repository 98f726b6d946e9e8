"""Image files to tensors and back: RGB, float in [0, 1], (3, H, W)."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.errors import DataError
from colondepth.shapes import require_finite, require_float, require_shapes

# Larger than any endoscope's frame (8K is 33 megapixels); a picture of this size is a bomb or a
# slide scan, and would take gigabytes as floats.
LARGEST_PIXELS = 64_000_000


# Everything that Pillow raises for a file that is damaged, cut short or something else.
_UNREADABLE = (
    *(UnidentifiedImageError, OSError, Image.DecompressionBombError),
    *(SyntaxError, EOFError, struct.error, zlib.error),
)


@contextmanager
def opened_image(path: Path | str) -> Iterator[Image.Image]:
    """Open an image file; what goes wrong, also later while it is decoded, names the file."""
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {found}; expected an image file")
    try:
        with Image.open(path) as file:
            if file.width * file.height > LARGEST_PIXELS:
                raise DataError(
                    f"{path} has {file.width}x{file.height} pixels, expected at most"
                    f" {LARGEST_PIXELS}; crop or shrink it first"
                )
            yield file
    except _UNREADABLE as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def read_image(path: Path | str) -> Tensor:
    """Read an 8-bit image file of any common kind as (3, H, W) in [0, 1], the right way up."""
    with opened_image(path) as file:
        if file.mode.startswith(("I", "F")):
            raise DataError(
                f"{path} is a {file.mode} image of more than 8 bits, such as a depth map;"
                " expected colours of 8 bits"
            )
        upright = ImageOps.exif_transpose(file)
        pixels = np.asarray(upright.convert("RGB"), dtype=np.float32) / 255  # (H, W, 3)
    return torch.from_numpy(pixels).movedim(-1, 0).contiguous()


def write_image(image: Tensor, path: Path | str) -> None:
    """Write (3, H, W) in [0, 1] as an 8-bit file, in the format that the suffix names."""
    require_shapes(image=(image, "3 H W"))
    require_float(image=image)
    require_finite(image=image)
    if image.numel() == 0:
        raise DataError(f"the image for {path} has shape {tuple(image.shape)}, and no pixel")
    path = Path(path)
    pixels = (image.detach().cpu().clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
    with written_whole(path) as temporary:
        try:
            Image.fromarray(pixels).save(temporary)
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{path}: no image format is called {path.suffix!r}; try .png"
            ) from error
