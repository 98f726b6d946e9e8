"""UCL ColonDepth (Rau 2019): flat files from Unity, 256x256.

    T1_L1_1_resized_FrameBuffer_0203.png beside T1_L1_1_resized_Depth_0203.png

T is the texture (1 to 3), L the light (1 to 3), then the sequence: one clip for each T_L_sequence.
Units: depth is z, 8 bits, depth_mm = v / 255 * 200; 0 is unknown. There are no poses, and no
calibration was published with the files.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.data import frames
from colondepth.data.folders import Folder, natural_key
from colondepth.data.rasters import read_grey
from colondepth.data.reading import Opening
from colondepth.views import Clip

LOOKS_FOR = (
    "T1_L1_1_resized_FrameBuffer_NNNN.png beside T1_L1_1_resized_Depth_NNNN.png in one folder"
)

MM_PER_COUNT = 200 / 255


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder that holds such files."""
    for folder in root.below():
        if "T#_L#_#_resized_FrameBuffer_#.png" in folder.shapes:
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every sequence of every such folder."""
    return [clip for folder in sequences(root) for clip in _clips(folder, opening)]


def _clips(folder: Folder, opening: Opening) -> list[Clip]:
    starts = {
        match.group(1)
        for name in folder.files
        if (match := re.fullmatch(r"(T\d+_L\d+_\d+)_resized_(?:FrameBuffer|Depth)_\d+\.png", name))
    }
    return frames.found(
        frames.clip_of(
            opening,
            folder.path,
            name=start,
            parts={
                "image": folder.numbered(rf"{start}_resized_FrameBuffer_(\d+)\.png"),
                "depth": folder.numbered(rf"{start}_resized_Depth_(\d+)\.png"),
            },
            decoders={"image": frames.image, "depth": _depth},
            camera=None,
        )
        for start in sorted(starts, key=natural_key)
    )


def _depth(path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    counts = read_grey(str(path), bits=8).astype(np.float64)
    return {"depth_mm": torch.from_numpy((counts * MM_PER_COUNT).astype(np.float32))[None]}
