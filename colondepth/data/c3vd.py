"""C3VD and C3VDv2 (Bobrow 2023, Golhar 2025): a real colonoscope in a phantom, registered.

    v1   SEQUENCE/NNNN_color.png, NNNN_depth.tiff, NNNN_normals.tiff, NNNN_flow.tiff,
         NNNN_occlusion.png, pose.txt; copies number the images 0, 1, ... beside 0000, 0001, ...
    v2   SEQUENCE/rgb/NNNN.png, depth/NNNN_depth.tiff, normals/NNNN_normals.tiff, optical_flow/...,
         occlusions/..., pose.txt

Units: depth is z, 16 bits over 100 mm; 0 is unknown, 65535 is "100 mm or more" and so unknown too.
Normals are 16 bits over [-1, 1], in the camera frame and turned towards the camera.
Flow is 16 bits over [-20, 20] px and leads from a frame to the one BEFORE it, so it is given as
`flow_to_previous_px`; (0, 0) counts mark what the previous frame does not see.
The occlusion map is True where a pixel hides a surface behind it: `occluding`.
Poses are camera-to-world in mm; `trajectories` tells the published column-major order by itself.
The screening and deformation videos have colour and poses only.

Read in DurrLab/C3VD's Render.cu, which wrote the files.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from colondepth.cameras import Camera, from_file
from colondepth.data import frames
from colondepth.data.folders import File, Folder
from colondepth.data.rasters import Counts, read_colour_counts, read_grey
from colondepth.data.reading import Opening
from colondepth.trajectories import Trajectory, TrajectoryForm, read_trajectory
from colondepth.views import Clip

LOOKS_FOR = (
    "folders with NNNN_color.png beside NNNN_depth.tiff or pose.txt (v1),"
    " or with rgb/NNNN.png beside depth/ or pose.txt (v2)"
)

# The Olympus CF-HQ190L of the dataset, from its authors' exampleDataLoader.py.
CF_HQ190L = Camera.omnidirectional(
    polynomial=(
        *(769.243600037458, 0.0, -0.000812770624150226),
        *(6.25674244578925e-07, -1.19662182144280e-09),
    ),
    cx=678.544839263292,
    cy=542.975887548343,
    height=1080,
    width=1350,
    stretch=(0.999986882249990, 0.00288273829525059, -0.00296316513429569),
)
FULL = 65535  # counts
DEPTH_MM, FLOW_PX = 100.0, 20.0  # what FULL stands for; flow runs from -FLOW_PX to FLOW_PX
_CAMERA = re.compile(r"camera\.json|camera_intrinsics\.txt|.*omnidirectional.*\.(txt|ini)")
# part -> folder of v2, and the name of its files in both versions
_PARTS = {
    "depth": ("depth", r"(\d+)_depth\.tiff?"),
    "normals": ("normals", r"(\d+)_normals\.tiff?"),
    "flow": ("optical_flow", r"(\d+)_flow\.tiff?"),
    "occlusion": ("occlusions", r"(\d+)_occlusion\.(?:png|tiff?)"),
}


def sequences(root: Folder) -> Iterator[Folder]:
    """Give every folder that holds one C3VD sequence."""
    for folder in root.below():
        first = "#_color.png" in folder.shapes and (
            "pose.txt" in folder.files or folder.shapes & {"#_depth.tiff", "#_depth.tif"}
        )
        rgb = folder.folders.get("rgb")
        second = (
            rgb is not None
            and "#.png" in rgb.shapes
            and ("pose.txt" in folder.files or "depth" in folder.folders)
        )
        if first or second:
            yield folder


def read(root: Folder, opening: Opening) -> list[Clip]:
    """Open every sequence at or below a folder."""
    return frames.found(_clip(folder, opening) for folder in sequences(root))


def _clip(folder: Folder, opening: Opening) -> Clip | None:
    parts: dict[str, frames.Part] = {}
    second = "rgb" in folder.folders
    if second:
        parts["image"] = folder.folders["rgb"].numbered(r"(\d+)\.png")
    else:
        parts["image"] = folder.numbered(r"(\d+)_color\.png")
    for part, (name, pattern) in _PARTS.items():
        place = folder.folders.get(name) if second else folder
        files: dict[int, File | None] = dict(place.numbered(pattern)) if place else {}
        if not files:
            continue
        if part == "flow":  # the first frame has no frame before it
            files.setdefault(min(parts["image"]), None)
        parts[part] = files
    name = folder.path.name.removesuffix("_under_review")
    return frames.clip_of(
        opening,
        folder.path,
        name=name,
        parts=parts,
        decoders={part: _DECODERS[part] for part in parts},
        camera=lambda height, width: camera_of(folder.path),
        trajectory=_trajectory(folder),
    )


def camera_of(folder: Path) -> Camera:
    """Return the camera that is written in a sequence's folder or the one above, else CF_HQ190L."""
    for place in (folder, folder.parent):
        for file in sorted(place.iterdir()) if place.is_dir() else []:
            if _CAMERA.fullmatch(file.name):
                return from_file(file)
    return CF_HQ190L


def _trajectory(folder: Folder) -> Trajectory | None:
    if "pose.txt" not in folder.files:
        return None
    return read_trajectory(folder.path / "pose.txt", form=TrajectoryForm.C3VD)


def _depth(path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    counts = read_grey(str(path), bits=16)
    depth_mm = counts.astype(np.float64) * (DEPTH_MM / FULL)
    depth_mm[counts == FULL] = 0
    return {"depth_mm": torch.from_numpy(depth_mm.astype(np.float32))[None]}


def _normals(path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    counts = read_colour_counts(str(path))
    normals = _signed(counts, 1.0)
    length = normals.norm(dim=0, keepdim=True)
    # The renderer writes (-1, -1, -1), which is longer than any normal, where it hit nothing.
    known = torch.from_numpy(counts.any(axis=-1))[None] & (length > 0)
    return {"normals": torch.where(known, normals / length.clamp(min=1e-6), 0)}


def _flow(path: str | None, camera: Camera) -> dict[str, Tensor]:
    if path is None:
        nothing = torch.zeros(2, camera.height, camera.width)
        return {"flow_to_previous_px": nothing, "flow_to_previous_known": nothing[:1] > 0}
    counts = read_colour_counts(path)[..., :2]
    ends = (counts == 0) | (counts == FULL)  # clamped, or (0, 0) for "not seen"
    known = torch.from_numpy(~ends.any(axis=-1))[None]
    return {
        "flow_to_previous_px": torch.where(known, _signed(counts, FLOW_PX), 0),
        "flow_to_previous_known": known,
    }


def _occlusion(path: str | None, camera: Camera) -> dict[str, Tensor]:
    del camera
    return {"occluding": torch.from_numpy(read_grey(str(path), bits=8) > 127)[None]}


def _signed(counts: Counts, end: float) -> Tensor:
    """Turn counts (H, W, C) into (C, H, W) that runs from -end to end."""
    values = counts.astype(np.float64) * (2 * end / FULL) - end
    return torch.from_numpy(values.astype(np.float32)).movedim(-1, 0).contiguous()


_DECODERS: dict[str, frames.Decoder] = {
    "image": frames.image,
    "depth": _depth,
    "normals": _normals,
    "flow": _flow,
    "occlusion": _occlusion,
}
