import math

import pytest
import torch

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.motion import rigid_motion
from colondepth.reconstruction.inserted import insert_ball
from colondepth.reconstruction.novel_views import anaglyph, novel_view, sweep

PINHOLE = Camera.pinhole(fx=100.0, fy=96.0, cx=58.5, cy=45.0, height=90, width=120)
FISHEYE = Camera.fisheye(fx=90.0, fy=88.0, cx=58.5, cy=45.0, height=90, width=120)
STILL = torch.eye(4, dtype=torch.float64)


def painted():
    v, u = torch.meshgrid(torch.arange(90.0), torch.arange(120.0), indexing="ij")
    return torch.stack([0.5 + 0.3 * (u / 9).sin(), 0.5 + 0.3 * (v / 7).cos(), 0.4 + 0 * u])


def moved(x, y=0.0, z=0.0):
    return rigid_motion(torch.eye(3).double(), torch.tensor([x, y, z], dtype=torch.float64))


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE])
def test_from_where_it_was_taken_a_view_is_itself(camera):
    image, depth_mm = painted(), torch.full((1, 90, 120), 40.0)
    picture, seen = novel_view(image, depth_mm, camera, STILL)
    assert seen.all()
    assert torch.allclose(picture, image, atol=1e-3)
    first = next(iter(sweep(image, depth_mm, camera, frames=8)))
    assert torch.allclose(first, image, atol=1e-3)


def test_a_wall_that_faces_the_camera_moves_by_focal_over_depth():
    image, depth_mm = painted(), torch.full((1, 90, 120), 40.0)
    picture, seen = novel_view(image, depth_mm, PINHOLE, moved(4.0))  # 100 * 4 / 40 = 10 px
    assert torch.allclose(picture[..., 12:], image[..., 2:-10], atol=1e-3)
    assert not seen[..., :9].any()
    assert seen[..., 11:].all()


def test_what_is_nearer_hides_what_is_behind_and_leaves_a_hole():
    image, depth_mm = painted(), torch.full((1, 90, 120), 80.0)
    image[:, 30:60, 40:60] = 0.9
    depth_mm[:, 30:60, 40:60] = 20.0
    picture, seen = novel_view(image, depth_mm, PINHOLE, moved(2.0))  # 10 px near, 2.5 px far
    assert (picture[:, 35:55, 52:68] - 0.9).abs().max() < 1e-3
    assert not seen[0, 35:55, 44:49].any()
    assert seen[0, 35:55, 71:].all()


def test_for_two_eyes_a_wall_far_away_is_the_picture_itself():
    image = painted()
    far = torch.full((1, 90, 120), 1e5)
    assert torch.allclose(anaglyph(image, far, PINHOLE, baseline_mm=2.0), image, atol=2e-2)
    near = anaglyph(image, torch.full((1, 90, 120), 40.0), PINHOLE, baseline_mm=4.0)
    # The left eye sees the wall farther right, by 100 * 2 / 40 px.
    assert torch.allclose(near[0, :, 20:100], image[0, :, 15:95], atol=1e-3)
    assert torch.allclose(near[1, :, 20:100], image[1, :, 25:105], atol=1e-3)


def test_a_ball_has_the_size_that_it_has_at_its_depth():
    image, depth_mm = painted(), torch.full((1, 90, 120), 40.0)
    ball = insert_ball(image, depth_mm, PINHOLE, pixel=(58, 45), diameter_mm=6.0)
    changed = (ball != image).any(dim=0)
    # A ball of radius 3 with its middle at 37: its outline is seen under asin(3 / 37).
    wide = 2 * 100 * math.tan(math.asin(3 / 37))
    assert changed.any(dim=0).sum().item() == pytest.approx(wide, abs=1.5)
    hidden = depth_mm.clone()
    hidden[..., :58] = 20.0
    half = insert_ball(image, hidden, PINHOLE, pixel=(62, 45), diameter_mm=6.0)
    assert not (half != image).any(dim=0)[:, :58].any()


def test_what_cannot_be_shown_is_said_and_nothing_is_changed():
    image, depth_mm = painted(), torch.full((1, 90, 120), 40.0)
    before = image.clone()
    insert_ball(image, depth_mm, PINHOLE, pixel=(5, 5))
    novel_view(image, depth_mm, PINHOLE, moved(1.0))
    assert torch.equal(image, before)
    with pytest.raises(DataError, match="has no depth"):
        insert_ball(image, depth_mm, PINHOLE, pixel=(500, 5))
    for what in (novel_view, lambda *a: anaglyph(*a[:3]), lambda *a: list(sweep(*a[:3], frames=2))):
        with pytest.raises(DataError, match="has no depth"):
            what(image, 0 * depth_mm, PINHOLE, STILL)
