"""SimCol3D (Rau 2023): three synthetic colons from Unity, the MICCAI 2022 challenge.

    SyntheticColon_I/cam.txt, Frames_S1/FrameBuffer_0000.png, Frames_S1/Depth_0000.png,
                     SavedPosition_S1.txt, SavedRotationQuaternion_S1.txt

Units: depth is z, depth_cm = v / 255 / 256 * 20 with v of 16 bits; 0 is unknown. Poses are in cm
and left-handed; `trajectories` makes them right-handed. Colour has an alpha channel that says
nothing. `cam.txt` is a pinhole for 475x475; `cameras.from_file` knows its slip.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera, CameraForm, from_file
from colondepth.data import frames
from colondepth.data.folders import Folder
from colondepth.data.rasters import read_grey
from colondepth.data.reading import Opening
from colondepth.trajectories import Trajectory, TrajectoryForm, read_trajectory
from colondepth.views import Clip

LOOKS_FOR = "folders called Frames_S1 with FrameBuffer_NNNN.png and Depth_NNNN.png"

MM_PER_COUNT = 200 / (255 * 256)
# Nobody has said in what way these are corrupt, so they are dropped with `skip_bad` only.
SUSPECT = {"S14": (59, 60, 61)}
SAID = "dropped as corrupt by the challenge's winner"


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder that holds the frames of one trajectory."""
    for folder in root.below():
        if "FrameBuffer_#.png" in folder.shapes and "Depth_#.png" in folder.shapes:
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every trajectory at or below a folder."""
    return frames.found(_clip(folder, opening) for folder in sequences(root))


def _clip(folder: Folder, opening: Opening) -> Clip | None:
    name = re.sub(r"^Frames_", "", folder.path.name)
    scene = folder.path.parent
    images = folder.numbered(r"FrameBuffer_(\d+)\.png")
    trajectory = _trajectory(scene, name, opening)
    depths = folder.numbered(r"Depth_(\d+)\.png")
    suspect = {number: SAID for number in SUSPECT.get(name, ()) if number in images}
    if suspect:
        listed = ", ".join(f"{number:04d}" for number in suspect)
        opening.warn(f"{name}: frames {listed}: {SAID}")
    return frames.clip_of(
        opening,
        folder.path,
        name=name,
        parts={"image": images, "depth": depths},
        decoders={"image": frames.image, "depth": _depth},
        camera=lambda height, width: _camera(scene, height, width),
        trajectory=trajectory,
        suspect=suspect,
    )


def _camera(scene: Path, height: int, width: int) -> Camera:
    return from_file(scene / "cam.txt", form=CameraForm.SIMCOL3D, size=(height, width))


def _trajectory(scene: Path, name: str, opening: Opening) -> Trajectory | None:
    pair = [scene / f"Saved{kind}_{name}.txt" for kind in ("Position", "RotationQuaternion")]
    if not any(path.is_file() for path in pair):
        opening.warn(f"{name} has no poses: looked for {pair[0].name} and {pair[1].name}")
        return None
    return read_trajectory(pair[0], form=TrajectoryForm.SIMCOL3D)


def _depth(path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    depth_mm = read_grey(str(path), bits=16).astype(np.float64) * MM_PER_COUNT
    return {"depth_mm": torch.from_numpy(depth_mm.astype(np.float32))[None]}
