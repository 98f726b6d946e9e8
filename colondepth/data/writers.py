"""Clips into the layouts of published datasets, so that other people's code reads ours.

    write_c3vd    C3VD v1. Depth in steps of 100 / 65535 = 0.0015 mm; 100 mm and beyond is "100 mm
                  or more", which reads back as unknown, as in the published files
    write_ruano   Ruano. Distance in steps of 250 / 255 = 0.98 mm, to which JPEG adds at most one
                  step more; what lies beyond 250 mm is refused

A map that a format has no place for is an error, not left out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import to_file
from colondepth.data import c3vd, ruano
from colondepth.data.rasters import Counts, read_grey, write_counts
from colondepth.errors import DataError
from colondepth.geometry import distance_from_depth
from colondepth.images import write_image
from colondepth.trajectories import Trajectory, TrajectoryForm, write_trajectory
from colondepth.views import Clip, View

# Kept in the view for its reader; derived, or named by the place of the frame in the clip.
_ALWAYS = {"image", "camera", "frame_id", "depth_mm", "valid"}
_C3VD_HOLDS = {
    *(_ALWAYS | {"normals", "world_from_camera", "occluding"}),
    *("flow_to_previous_px", "flow_to_previous_known"),
}
_RUANO_HOLDS = _ALWAYS | {"distance_mm", "polyp"}
_JPEG_SLACK = 1  # counts that quality 100 may be off by; checked after every write


def write_c3vd(clip: Clip, folder: Path | str) -> None:
    """Write a clip as one C3VD sequence, frames numbered from 0, with its camera.json.

    Args:
        clip: images, and what there is of depth, normals, flow to the previous frame, occlusion
            and poses; every view must have the same.
        folder: of the sequence; must be empty or new.
    """
    folder = _new_folder(folder)
    poses: list[Tensor] = []
    for number, view in _alike(clip, _C3VD_HOLDS, "C3VD"):
        start = folder / f"{number:04d}"
        maps = _c3vd_maps(view, first=number == 0)
        for ending, counts in maps.items():
            write_counts(counts, start.with_name(start.name + ending))
        if "world_from_camera" in view:
            poses.append(view["world_from_camera"].detach().cpu().double())
        write_image(view["image"], start.with_name(start.name + "_color.png"))
    if poses:
        path = folder / "pose.txt"
        write_trajectory(Trajectory(torch.stack(poses)), path, form=TrajectoryForm.C3VD)
    to_file(clip.camera, folder / "camera.json")


def write_ruano(clip: Clip, folder: Path | str) -> None:
    """Write a clip as one of Ruano's videos: img/, z/ (the distance) and mask/ where there is one.

    The format holds no camera. A reader takes the authors' published one unless it is told
    another, so a `camera.json` is put beside for that: `open_clips(folder, camera=from_file(...))`.
    """
    folder = _new_folder(folder)
    for number, view in _alike(clip, _RUANO_HOLDS, "Ruano's format"):
        if "depth_mm" not in view and "distance_mm" not in view:
            raise DataError(f"clip {clip.name!r} has no depth, which Ruano's format is about")
        name = f"{number:04d}.jpg"
        _write_jpeg(view["image"], folder / "img" / name)
        _write_grey_jpeg(_distance_counts(view), folder / "z" / name)
        if (polyp := dict(view).get("polyp")) is not None:
            _write_grey_jpeg(_bytes(polyp), folder / "mask" / name)
    to_file(clip.camera, folder / "camera.json")


def _c3vd_maps(view: View, *, first: bool) -> dict[str, Counts]:
    fields: dict[str, Any] = dict(view)
    maps: dict[str, Counts] = {}
    if "depth_mm" in fields:
        depth_mm = fields["depth_mm"][0].detach().cpu().double().numpy()
        counts = np.clip(np.rint(depth_mm * (c3vd.FULL / c3vd.DEPTH_MM)), 1, c3vd.FULL)
        maps["_depth.tiff"] = np.where(depth_mm > 0, counts, 0).astype(np.uint16)
    if "normals" in fields:
        known = (fields["normals"] != 0).any(dim=0)
        maps["_normals.tiff"] = _unsigned(fields["normals"], 1.0, known)
    if "flow_to_previous_px" in fields and not first:
        flow = fields["flow_to_previous_px"]
        known = fields["flow_to_previous_known"][0] & (flow.abs() < c3vd.FLOW_PX).all(dim=0)
        maps["_flow.tiff"] = _unsigned(
            torch.cat([flow, torch.full_like(flow[:1], -c3vd.FLOW_PX)]), c3vd.FLOW_PX, known
        )
    if "occluding" in fields:
        maps["_occlusion.png"] = _bytes(fields["occluding"])
    return maps


def _bytes(truth: Any) -> Counts:
    """Turn a bool map (1, H, W) into 0 and 255, (H, W)."""
    counts: Counts = truth[0].cpu().numpy().astype(np.uint8) * np.uint8(255)
    return counts


def _unsigned(values: Tensor, end: float, known: Tensor) -> Counts:
    """Turn (C, H, W) that runs from -end to end into counts (H, W, C), 0 where not known."""
    counts = ((values.detach().cpu().double() + end) * (c3vd.FULL / (2 * end))).round()
    counts = torch.where(known, counts.clamp(0, c3vd.FULL), 0).movedim(0, -1)
    return counts.numpy().astype(np.uint16)


def _distance_counts(view: View) -> Counts:
    """Return the distance along the rays as Ruano counts it, (H, W); 0 is unknown."""
    if "distance_mm" in view:
        distance_mm = view["distance_mm"]
    else:
        distance_mm = distance_from_depth(view["depth_mm"].double(), view["camera"])
    steps = distance_mm[0].detach().cpu().double().numpy() / ruano.MM_PER_COUNT  # (H, W)
    if steps.max() >= 255.5:
        raise DataError(
            f"frame {view['frame_id']} reaches {steps.max() * ruano.MM_PER_COUNT:.0f} mm; Ruano's"
            " format ends at 250: set what lies beyond to 0, which is unknown"
        )
    return np.where(steps > 0, np.clip(np.rint(steps), 1, 255), 0).astype(np.uint8)


def _alike(clip: Clip, holds: set[str], form: str) -> Any:
    """Give the views with their numbers; what the form does not hold is an error."""
    keys: set[str] | None = None
    for number in range(len(clip)):
        view = clip[number]
        keys = keys or set(view)
        if odd := sorted(keys ^ set(view)):
            raise DataError(f"frame {view['frame_id']} differs from the first in its keys {odd}")
        if spare := sorted(keys - holds):
            raise DataError(f"{form} has no place for {spare}; take them out of the views first")
        yield number, view


def _new_folder(folder: Path | str) -> Path:
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; nothing is overwritten")
    return folder


def _write_jpeg(image: Tensor, path: Path) -> None:
    pixels = (image.detach().cpu() * 255).round().byte().movedim(0, -1).numpy()
    with written_whole(path) as temporary:
        Image.fromarray(pixels).save(temporary, quality=100, subsampling=0)


def _write_grey_jpeg(counts: Counts, path: Path) -> None:
    """Write three equal channels, as the dataset has them, and read them back to be sure."""
    with written_whole(path) as temporary:
        pixels = np.repeat(counts[..., None], 3, axis=-1)
        Image.fromarray(pixels).save(temporary, quality=100, subsampling=0)
        off = np.abs(read_grey(str(temporary), bits=8).astype(int) - counts.astype(int)).max()
        if off > _JPEG_SLACK:
            raise DataError(f"{path}: JPEG moved a value by {off} counts, expected at most 1")
