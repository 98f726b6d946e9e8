import math

import numpy as np
import pytest
import torch
from lumens_with_holes import axis
from scenes import BLIND_TUBE

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.motion import rigid_motion, so3_exp
from colondepth.reconstruction.camera_motion import (
    DepthFrame,
    MotionFrom,
    given_motion,
    motion_from_file,
    odometry_motion,
)
from colondepth.reconstruction.motion_scale import MotionScale
from colondepth.trajectories import Trajectory, TrajectoryForm, write_trajectory
from synthetic_colons.analytic import look

CAMERA = Camera.pinhole(fx=80.0, fy=76.0, cx=58.5, cy=45.0, height=90, width=120)
POSES = [
    rigid_motion(
        so3_exp(torch.tensor([0.01 * k, 0.02 * math.sin(k), 0.0], dtype=torch.float64)),
        torch.tensor([0.5 * math.sin(k), 0.3 * k, 2.0 * k], dtype=torch.float64),
    )
    for k in range(14)
]


def painted(view, motion):
    """The image of a wall with a pattern fixed to it, lit from the camera."""
    rays = CAMERA.rays(90, 120)
    points = rays * (view.distance_mm[0])[..., None]
    world = points @ motion[:3, :3].T + motion[:3, 3]
    pattern = 0.5 + 0.2 * (world * torch.tensor([0.9, 1.1, 0.7])).sin().sum(dim=-1) / 1.5
    light = (25 / view.distance_mm[0]).square().clamp(max=1)
    return (pattern * light).clamp(0, 1).expand(3, -1, -1).float()


@pytest.fixture(scope="module")
def frames():
    views = [(look(BLIND_TUBE, CAMERA, motion), motion) for motion in POSES]
    return [
        DepthFrame(
            name=str(k),
            time_s=k / 10,
            image=painted(view, motion),
            depth_mm=view.depth_mm.float(),
            log_depth_std=None,
            valid=None,
        )
        for k, (view, motion) in enumerate(views)
    ]


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.7])
def test_the_motion_shows_by_what_factor_depth_is_wrong(frames, factor):
    scale = MotionScale(CAMERA)
    for frame, pose in zip(frames, POSES, strict=True):
        scale.add(frame.image, frame.depth_mm / factor, pose)
    found = torch.tensor(scale.factors())
    assert (found.log() - math.log(factor)).abs().max() < 0.05


def test_without_motion_or_texture_the_factor_is_one_and_that_is_said(frames):
    still = given_motion(MotionFrom.DATA, POSES[:1] * 14, frames, CAMERA, fit_scale=True)
    assert np.allclose(still.factor, 1, atol=0.1)
    assert "does not show the scale" in still.notes[0]
    blank = [
        DepthFrame(
            name=f.name,
            time_s=f.time_s,
            image=torch.full_like(f.image, 0.5),
            depth_mm=f.depth_mm,
            log_depth_std=None,
            valid=None,
        )
        for f in frames
    ]
    none = given_motion(MotionFrom.DATA, POSES, blank, CAMERA, fit_scale=True)
    assert np.allclose(none.factor, 1, atol=0.02)


def test_depths_that_flicker_are_evened_out_around_the_networks_mean(frames):
    scale = MotionScale(CAMERA)
    flicker = np.exp(np.random.default_rng(2).normal(0, 0.25, len(frames)))
    for frame, pose, factor in zip(frames, POSES, flicker, strict=True):
        blank = torch.full_like(frame.image, 0.5)
        scale.add(blank, frame.depth_mm * float(factor), pose)
    assert not scale.shown
    left = np.log(np.array(scale.factors()) * flicker)
    assert left.std() < 0.03
    assert abs(left.mean() - np.log(flicker).mean()) < 0.03


def test_poses_that_leap_are_said(frames):
    cut = [*POSES[:7], *(rigid_motion(torch.eye(3).double(), p[:3, 3] + 400) for p in POSES[7:])]
    found = given_motion(MotionFrom.FILE, cut, frames, CAMERA, fit_scale=False)
    assert "from frame 6 to 7" in found.notes[0]
    assert given_motion(MotionFrom.FILE, POSES, frames, CAMERA, fit_scale=False).notes == ()


def test_a_file_of_another_clip_or_without_a_unit_is_refused(tmp_path):
    trajectory = Trajectory(torch.stack(POSES), torch.arange(14, dtype=torch.float64))
    path = tmp_path / "poses.txt"
    write_trajectory(trajectory, path, form=TrajectoryForm.TUM, mm_per_unit=1)
    assert len(motion_from_file(path, frames=14, mm_per_unit=1)) == 14
    with pytest.raises(DataError, match="14 poses and the input 20 frames"):
        motion_from_file(path, frames=20, mm_per_unit=1)
    with pytest.raises(DataError, match="--mm-per-unit"):
        motion_from_file(path, frames=14)
    (tmp_path / "no.txt").write_text("hello\n")
    with pytest.raises(DataError, match="--form"):
        motion_from_file(tmp_path / "no.txt", frames=14)


def test_odometry_with_a_cut_makes_pieces_and_says_so(frames):
    dark = [
        DepthFrame(
            name=f"dark {k}",
            time_s=k,
            image=torch.zeros(3, 90, 120),
            depth_mm=torch.zeros(1, 90, 120),
            log_depth_std=None,
            valid=None,
        )
        for k in range(6)
    ]
    found = odometry_motion([*frames[:5], *dark, *frames[9:]], CAMERA)
    assert "could not be placed" in found.notes[0]
    assert len(set(found.piece)) > 1
    placed = found.of_piece(found.largest)
    assert all(found.world_from_camera[k] is not None for k in placed)
    assert len(axis([1.0, 2.0])) == 2


def test_poses_of_other_pictures_are_told_from_their_own(frames):
    own = given_motion(MotionFrom.DATA, POSES, frames, CAMERA, fit_scale=True)
    assert not any("of this clip" in note for note in own.notes)
    other = [
        rigid_motion(
            so3_exp(torch.tensor([0.05 * math.sin(2 * k), 0.0, 0.1 * k], dtype=torch.float64)),
            torch.tensor([2 * math.cos(k), -0.5 * k, -2.0 * k], dtype=torch.float64),
        )
        for k in range(14)
    ]
    foreign = given_motion(MotionFrom.DATA, other, frames, CAMERA, fit_scale=True)
    assert any("of this clip" in note for note in foreign.notes)


def test_a_border_that_goes_along_with_the_camera_does_not_speak_of_scale(frames):
    covered = torch.zeros(1, 90, 120, dtype=torch.bool)
    covered[:, 12:78, 16:104] = True
    scale = MotionScale(CAMERA)
    for frame, pose in zip(frames, POSES, strict=True):
        faint = (0.35 + 0.12 * frame.image) * covered
        scale.add(faint, frame.depth_mm * covered / 1.4, pose)
    assert (torch.tensor(scale.factors()).log() - math.log(1.4)).abs().max() < 0.05
