"""Walls of rendered clips against their mesh, in four ways.

True depth with true poses proves the fusion; a network's depth with true poses shows what depth is
worth; a network's depth with odometry or with COLMAP is what a video without poses gives. Walls of
those two are laid on the truth by the similarity of the camera's paths (Umeyama).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from evaluation.coverage_errors import coverage_errors, gap_errors
from evaluation.meshes import Surface as Mesh
from evaluation.meshes import mesh_errors

if TYPE_CHECKING:
    from torch import Tensor

    from colondepth.inference import Predictor
    from colondepth.reconstruction.camera_motion import CameraMotion, DepthFrame
    from colondepth.reconstruction.surface import Surface
    from synthetic_colons.clips import SyntheticClip

POINTS = 200_000  # drawn from each surface
THRESHOLD_MM = 1.0
AROUND_MM = 130.0  # of the colon beyond both ends of the camera's way: what a frame may show
MESH_MM = 0.5  # of the true mesh
WAYS = ("true depth, true poses", "network, true poses", "network, odometry", "network, sfm")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What a clip really shows."""

    wall: "Surface"
    looks: "Tensor"  # (F,), views that looked at each triangle
    places: "Tensor"  # (T, 3)
    known: object  # KnownCoverage


def measured(
    clip: "SyntheticClip", predictor: "Predictor", tick: Callable[[], None]
) -> list[dict[str, object]]:
    """Return a row of figures for each of `WAYS`; without pycolmap not for the last."""
    from colondepth.reconstruction.camera_motion import (
        MotionFrom,
        given_motion,
        odometry_motion,
    )
    from colondepth.reconstruction.sfm import sfm_motion

    given, predicted = [], []
    for number in range(len(clip)):
        view = clip[number].view
        answer = predictor.predict(view["image"], view["camera"])
        given.append(_frame(view, view["depth_mm"], None))
        std = None if answer.log_depth_std is None else answer.log_depth_std[None].clone()
        depth_mm = answer.depth_mm.where(answer.valid, 0.0)[None].clone() * view["valid"]
        predicted.append(_frame(view, depth_mm, std))
        tick()
    poses = list(clip.path.world_from_camera)
    truth = _truth(clip, given)
    rows = []
    for way, frames in zip(WAYS, (given, predicted, predicted, predicted), strict=True):
        began = time.perf_counter()
        if way == WAYS[3]:
            if find_spec("pycolmap") is None:
                continue
            with TemporaryDirectory() as folder:
                motion = sfm_motion(frames, clip.camera, Path(folder) / "sfm", count=len(frames))
        elif way == WAYS[2]:
            motion = odometry_motion(frames, clip.camera)
        else:
            motion = given_motion(
                MotionFrom.DATA, poses, frames, clip.camera, fit_scale=way == WAYS[1]
            )
        spent_s = time.perf_counter() - began
        judged = _judged(frames, motion, clip, truth)
        rows.append({"clip": clip.name, "way": way, "motion_s": spent_s, **judged})
    return rows


def _frame(view, depth_mm: "Tensor", std: "Tensor | None") -> "DepthFrame":  # type: ignore[no-untyped-def]
    from colondepth.reconstruction.camera_motion import DepthFrame

    return DepthFrame(
        name=view["frame_id"],
        time_s=view["time_s"],
        image=view["image"],
        depth_mm=depth_mm,
        log_depth_std=std,
        valid=view["valid"],
    )


def _truth(clip: "SyntheticClip", frames: "Sequence[DepthFrame]") -> Truth:
    from colondepth.reconstruction.coverage import KnownCoverage
    from colondepth.reconstruction.surface import Surface
    from synthetic_colons.colon_mesh import colon_mesh

    arc = clip.path.arc_mm(clip.path.times_s)
    low = max(0.0, float(arc.min()) - AROUND_MM)
    high = min(clip.colon.length_mm, float(arc.max()) + AROUND_MM)
    mesh = colon_mesh(clip.colon, along_mm=MESH_MM, around=256, stretch=(low, high))
    wall = Surface(vertices_mm=mesh.vertices.float(), faces=mesh.faces)
    known = KnownCoverage(wall)
    poses = clip.path.world_from_camera
    for frame, pose in zip(frames, poses, strict=True):
        known.add(clip.camera, pose, valid=frame.valid, time_s=frame.time_s)
    return Truth(wall, known.looks, poses[:, :3, 3], known)


def _judged(
    frames: "Sequence[DepthFrame]", motion: "CameraMotion", clip: "SyntheticClip", truth: Truth
) -> dict[str, object]:
    import torch

    from colondepth.errors import DataError
    from colondepth.motion import align_points
    from colondepth.reconstruction.camera_motion import MotionFrom
    from colondepth.reconstruction.coverage import KnownCoverage, estimated_coverage
    from colondepth.reconstruction.reconstructing import fuse

    began = time.perf_counter()
    walls, _ = fuse(frames, motion, clip.camera, voxel_mm=1.0)
    spent_ms = 1000 * (time.perf_counter() - began) / len(frames)
    numbers = motion.of_piece(motion.largest)
    row: dict[str, object] = {"placed": f"{len(numbers)} of {len(frames)}", "ms_a_frame": spent_ms}
    if motion.largest not in walls or len(numbers) < 3:
        return row
    surface = walls[motion.largest].surface()
    found = torch.stack([motion.world_from_camera[k][:3, 3] for k in numbers])  # type: ignore[index]
    true = truth.places[numbers]
    vertices = surface.vertices_mm.double()
    try:
        coverage = estimated_coverage(surface, found)
    except DataError:
        coverage = None
    blind = motion.how in (MotionFrom.ODOMETRY, MotionFrom.SFM)
    if blind:
        try:
            laid = align_points(found, true, with_scale=True)
        except DataError:
            return row
        vertices = laid.apply(vertices)
        off = (laid.apply(found) - true).norm(dim=-1)
        way = float(true.diff(dim=0).norm(dim=-1).sum())
        row["scale"] = float(laid.scale)
        row["ate_mm"] = float(off.square().mean().sqrt())
        row["drift_mm_per_m"] = 1000 * float(off[-1]) / way if way else nan
    own = Mesh(vertices.numpy(), surface.faces.numpy())
    whole = Mesh(truth.wall.vertices_mm.double().numpy(), truth.wall.faces.numpy())
    part = truth.wall.kept(truth.looks > 0)
    seen = Mesh(part.vertices_mm.double().numpy(), part.faces.numpy())
    rng = np.random.default_rng(0)
    to_true, to_found = (
        mesh_errors(own, each, threshold_mm=THRESHOLD_MM, points=POINTS, rng=rng)
        for each in (whole, seen)
    )
    row |= {
        "chamfer_mm": (to_true["mesh_accuracy_mm"] + to_found["mesh_completeness_mm"]) / 2,
        "completeness_mm": to_found["mesh_completeness_mm"],
        "recall": to_found["mesh_recall"],
        "precision": to_true["mesh_precision"],
        "floor_mm": to_true["mesh_floor_mm"],
    }
    if coverage is not None and not blind:
        assert isinstance(truth.known, KnownCoverage)
        real = truth.known.coverage(coverage.wall.line)
        shares = [
            np.array([s["seen_share"] for s in each.by_stretch()]) for each in (coverage, real)
        ]
        area = real.wall.area_mm2.ravel()
        wall = area > 0
        row |= coverage_errors(np.clip(shares[0], 0, 1), np.clip(shares[1], 0, 1))
        row |= gap_errors(
            coverage.wall.gap_score.ravel()[wall], real.wall.missed.ravel()[wall], area[wall]
        )
    return row
