import math
import sys

import pytest
import torch
from scenes import BLIND_TUBE
from torch.nn import functional as F  # noqa: N812

from colondepth.cameras import Camera
from colondepth.errors import MissingExtraError
from colondepth.motion import align_points, rigid_motion, so3_exp
from colondepth.reconstruction.camera_motion import DepthFrame
from colondepth.reconstruction.sfm import sfm_motion
from synthetic_colons.analytic import look

pytest.importorskip("pycolmap")

PINHOLE = Camera.pinhole(fx=130.0, fy=130.0, cx=99.5, cy=79.5, height=160, width=200)
FISHEYE = Camera.fisheye(
    fx=110.0, fy=110.0, cx=99.5, cy=79.5, distortion=(0.02, 0, 0, 0), height=160, width=200
)
POSES = [
    rigid_motion(
        so3_exp(torch.tensor([0.01 * k, 0.02 * math.sin(k), 0.0], dtype=torch.float64)),
        torch.tensor([1.5 * math.sin(k / 2), 0.8 * k, 1.5 * k], dtype=torch.float64),
    )
    for k in range(12)
]


def spotted(world):
    """Grey of points of the world, from noise that no two places share."""
    generator = torch.Generator().manual_seed(3)
    grid = torch.rand(1, 1, 48, 48, 48, generator=generator)
    places = (world / 90 - torch.tensor([0.0, 0.0, 0.6])).float()
    fine = F.grid_sample(grid, places[None, None], align_corners=True)[0, 0, 0]
    broad = F.grid_sample(grid.flip(2), places[None, None] / 3, align_corners=True)[0, 0, 0]
    return 0.6 * fine + 0.4 * broad


def frames_of(camera, *, factors=None, blank=False):
    made = []
    for k, motion in enumerate(POSES):
        view = look(BLIND_TUBE, camera, motion)
        rays = camera.rays(camera.height, camera.width)
        world = rays * view.distance_mm[0][..., None] @ motion[:3, :3].T + motion[:3, 3]
        grey = torch.full(world.shape[:2], 0.5) if blank else spotted(world)
        made.append(
            DepthFrame(
                name=str(k),
                time_s=k / 10,
                image=grey.clamp(0, 1).expand(3, -1, -1).float(),
                depth_mm=view.depth_mm.float() * (1.0 if factors is None else factors[k]),
                log_depth_std=None,
                valid=None,
            )
        )
    return made


def places(motion, numbers):
    return torch.stack([motion.world_from_camera[k][:3, 3] for k in numbers])


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE], ids=["pinhole", "fisheye"])
def test_the_way_is_found_in_millimetres(camera, tmp_path):
    shares = []
    found = sfm_motion(
        frames_of(camera), camera, tmp_path / "sfm", count=len(POSES), tick=shares.append
    )
    numbers = found.of_piece(found.largest)
    assert len(numbers) >= 10
    true = torch.stack([POSES[k][:3, 3] for k in numbers])
    laid = align_points(places(found, numbers), true, with_scale=True)
    assert (laid.apply(places(found, numbers)) - true).norm(dim=-1).max() < 0.3  # of 22 mm
    way, real = (each.diff(dim=0).norm(dim=-1).sum() for each in (places(found, numbers), true))
    assert way / real == pytest.approx(1, abs=0.03)
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_the_same_frames_give_the_same_way(tmp_path):
    frames = frames_of(PINHOLE)
    ways = []
    for _ in range(3):
        found = sfm_motion(frames, PINHOLE, tmp_path / "sfm", count=len(POSES))
        ways.append(places(found, found.of_piece(found.largest)))
    assert torch.equal(ways[0], ways[1])
    assert torch.equal(ways[0], ways[2])


def test_a_frame_whose_depth_is_of_another_scale_gets_its_factor(tmp_path):
    factors = [1.3 if k == 5 else 0.8 if k == 7 else 1.0 for k in range(len(POSES))]
    frames = frames_of(PINHOLE, factors=factors)
    found = sfm_motion(frames, PINHOLE, tmp_path / "sfm", count=len(POSES))
    assert found.world_from_camera[5] is not None
    assert found.world_from_camera[7] is not None
    expected = [1 / each for each in factors]
    assert list(found.factor) == pytest.approx(expected, rel=0.03)


def test_frames_without_a_mark_are_not_placed_and_that_is_said(tmp_path):
    found = sfm_motion(frames_of(PINHOLE, blank=True), PINHOLE, tmp_path / "sfm", count=len(POSES))
    assert found.world_from_camera == (None,) * len(POSES)
    assert found.notes == ("structure from motion could not place any of 12 frames",)


def test_what_is_not_usable_is_not_looked_at(tmp_path):
    """A pattern that goes along with the camera, as text on the screen, would hold it still."""
    frames = frames_of(PINHOLE)
    generator = torch.Generator().manual_seed(1)
    text = torch.rand(3, 60, 200, generator=generator)
    marked = []
    for frame in frames:
        image, depth = frame.image.clone(), frame.depth_mm.clone()
        image[:, :60], depth[:, :60] = text, 0
        marked.append(
            DepthFrame(
                name=frame.name,
                time_s=frame.time_s,
                image=image,
                depth_mm=depth,
                log_depth_std=None,
                valid=None,
            )
        )
    found = sfm_motion(marked, PINHOLE, tmp_path / "sfm", count=len(POSES))
    numbers = found.of_piece(found.largest)
    true = torch.stack([POSES[k][:3, 3] for k in numbers])
    assert len(numbers) >= 9
    laid = align_points(places(found, numbers), true, with_scale=True)
    assert (laid.apply(places(found, numbers)) - true).norm(dim=-1).max() < 0.5


def test_without_pycolmap_a_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'colondepth\[sfm\]'"):
        sfm_motion([], PINHOLE, tmp_path / "sfm", count=0)
