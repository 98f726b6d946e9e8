"""EndoSLAM's UnityCam (Ozyoruk 2021): synthetic colon, small intestine and stomach.

    UnityCam/Calibration/cam.txt, UnityCam/Colon/Frames/image_0000.png (or Frames/Frames/),
    UnityCam/Colon/Pixelwise Depths/aov_image_0000.png, UnityCam/Colon/Poses/...csv

The unit of the depth was never published: the authors call it relative. It is therefore loaded as
`relative_depth` in [0, 1] and never as `depth_mm`. Users report depth and colour out of line
(EndoSLAM issue 13) and rotations that do not change (17), so poses are not loaded.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data import frames
from colondepth.data.folders import Folder
from colondepth.data.rasters import read_grey
from colondepth.data.reading import Opening
from colondepth.errors import DataError
from colondepth.views import Clip

LOOKS_FOR = "Frames/image_NNNN.png beside Pixelwise Depths/aov_image_NNNN.png"

_DEPTHS = "Pixelwise Depths"
_DOUBT = (
    "EndoSLAM's depth has no unit and is loaded as relative_depth; its poses are not loaded; leave"
    " it out of tables in millimetres"
)


def sequences(root: Folder) -> Iterator[Folder]:
    """Give the folder of every organ."""
    for folder in root.below():
        if {"Frames", _DEPTHS} <= folder.folders.keys():
            depths = _innermost(folder.folders[_DEPTHS])
            if "aov_image_#.png" in depths.shapes:
                yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every organ at or below a folder."""
    return frames.found(_clip(folder, opening) for folder in sequences(root))


def _clip(folder: Folder, opening: Opening) -> Clip | None:
    opening.warn(_DOUBT)
    images = _innermost(folder.folders["Frames"]).numbered(r"image_(\d+)\.png")
    depths = _innermost(folder.folders[_DEPTHS]).numbered(r"aov_image_(\d+)\.png")
    calibration = folder.path.parent / "Calibration" / "cam.txt"
    return frames.clip_of(
        opening,
        folder.path,
        name=folder.path.name,
        parts={"image": images, "depth": depths},
        decoders={"image": frames.image, "depth": _depth},
        camera=(lambda h, w: _camera(calibration, h, w)) if calibration.is_file() else None,
    )


def _innermost(folder: Folder) -> Folder:
    """Return the folder of the same name inside, which some archives unpack to."""
    inner = folder.folders.get(folder.path.name)
    return folder if inner is None else inner


def _camera(path: Path, height: int, width: int) -> Camera:
    """Read the 3x3 matrix row by row; its centre is off, so SimCol3D's rule would misread it."""
    words = re.split(r"[,;\s]+", path.read_text(encoding="utf-8-sig").strip().strip(",;"))
    try:
        fx, skew, cx, low, fy, cy, *last = map(float, words)
    except ValueError as error:
        raise DataError(f"{path} holds {words}, expected the 9 numbers of a 3x3 matrix") from error
    if [skew, low, *last] != [0, 0, 0, 0, 1]:
        raise DataError(f"{path} holds {words}, expected fx 0 cx 0 fy cy 0 0 1")
    return Camera.pinhole(fx=fx, fy=fy, cx=cx, cy=cy, height=height, width=width)


def _depth(path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    counts = read_grey(str(path), bits=8).astype(np.float32) / 255
    return {"relative_depth": torch.from_numpy(counts)[None]}
