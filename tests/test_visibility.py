import math

import pytest
import torch

from colondepth.cameras import Camera
from colondepth.errors import DataError, MissingExtraError
from colondepth.motion import rigid_motion, so3_exp
from colondepth.reconstruction.surface import Surface, view_surface
from colondepth.reconstruction.visibility import KnownWall
from synthetic_colons.analytic import Plane, Sphere, Tube, look

CAMERAS = [
    Camera.pinhole(fx=60.0, fy=56.0, cx=65.5, cy=47.0, height=96, width=128),
    Camera.fisheye(fx=50.0, fy=47.0, cx=65.5, cy=47.0, height=96, width=128),
]
HERE = torch.eye(4, dtype=torch.float64)


def tube(radius=20.0, length=120.0, around=128, along=160):
    """A tube about the z axis, triangles counter-clockwise as seen from inside."""
    z = torch.linspace(-10, length, along, dtype=torch.float64)
    angle = torch.arange(around, dtype=torch.float64) * (2 * math.pi / around)
    zz, aa = torch.meshgrid(z, angle, indexing="ij")
    vertices = torch.stack([radius * aa.cos(), radius * aa.sin(), zz], dim=-1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(along - 1), torch.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    c, d = a + around, b + around
    faces = torch.cat([torch.stack([a, c, b], -1), torch.stack([b, c, d], -1)]).reshape(-1, 3)
    return Surface(vertices_mm=vertices.float(), faces=faces)


@pytest.mark.parametrize("camera", CAMERAS)
def test_what_is_shown_agrees_with_depth_in_closed_form(camera):
    motion = rigid_motion(
        so3_exp(torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64)),
        torch.tensor([4.0, -3, 20], dtype=torch.float64),
    )
    wall = KnownWall(tube())
    shown = wall.shown(camera, motion, farthest_mm=80)
    assert len(shown.face) > 1000
    truth = look((Tube(point_mm=(0, 0, 0), along=(0, 0, 1), radius_mm=20),), camera, motion)
    turn, place = motion[:3, :3], motion[:3, 3]
    own = (wall.middles_mm[shown.face] - place) @ turn
    pixels, _ = camera.project(own)
    u, v = pixels.round().long().unbind(-1)
    u, v = u.clamp(0, 127), v.clamp(0, 95)
    there = truth.distance_mm[0, v, u]
    smooth = (there - shown.distance_mm).abs() / there
    assert smooth.median() < 0.01
    assert shown.distance_mm.max() < 80
    # Everything that projects into the image of a tube is shown: nothing hides it.
    away = wall.middles_mm - place
    in_image, sighted = camera.project(away @ turn)
    expected = sighted & camera.contains(in_image) & (away.norm(dim=-1) < 80)
    assert set(expected.nonzero()[:, 0].tolist()) == set(shown.face.tolist())


def test_what_hides_behind_something_is_not_shown():
    camera = CAMERAS[0]
    ball = Sphere(centre_mm=(2, 1, 30), radius_mm=6)
    back = Plane(point_mm=(0, 0, 60), across=(0, 0, 1))
    front = look((ball,), camera, HERE)
    behind = look((back,), camera, HERE)
    near = view_surface(None, front.depth_mm, camera, valid=front.depth_mm > 0)
    far = view_surface(None, behind.depth_mm, camera)
    both = Surface(
        vertices_mm=torch.cat([near.vertices_mm, far.vertices_mm]),
        faces=torch.cat([near.faces, far.faces + len(near.vertices_mm)]),
    )
    shown = KnownWall(both).shown(camera, HERE, farthest_mm=150)
    is_far = torch.zeros(len(both.faces), dtype=torch.bool)
    is_far[shown.face] = True
    is_far = is_far[len(near.faces) :]
    rays = far.vertices_mm[far.faces].mean(dim=1).double()
    rays = rays / rays.norm(dim=-1, keepdim=True)
    centre = torch.tensor(ball.centre_mm, dtype=torch.float64)
    off = torch.linalg.cross(rays, centre.expand_as(rays)).norm(dim=-1)
    hidden = off < 6
    clear = (off - 6).abs() > 0.8  # a pixel's width at the ball's edge
    assert (is_far != hidden)[clear].all()


def test_a_wall_seen_from_behind_and_masked_pixels_show_nothing():
    wall = KnownWall(tube(radius=10))
    beside = rigid_motion(
        torch.eye(3, dtype=torch.float64), torch.tensor([30.0, 0, 0], dtype=torch.float64)
    )
    assert len(wall.shown(CAMERAS[0], beside, farthest_mm=200).face) == 0
    none = torch.zeros(1, 96, 128, dtype=torch.bool)
    assert len(wall.shown(CAMERAS[0], HERE, farthest_mm=200, valid=none).face) == 0
    half = none.clone()
    half[..., :64] = True
    kept = wall.shown(CAMERAS[0], HERE, farthest_mm=200, valid=half)
    assert (wall.middles_mm[kept.face, 0] < 0.1 * wall.middles_mm[kept.face, 2]).all()


def test_a_missing_embree_and_an_empty_wall_are_said(monkeypatch):
    empty = Surface(vertices_mm=torch.empty(0, 3), faces=torch.empty(0, 3, dtype=torch.int64))
    with pytest.raises(DataError, match="no triangles"):
        KnownWall(empty)
    monkeypatch.setitem(__import__("sys").modules, "embreex.mesh_construction", None)
    with pytest.raises(MissingExtraError, match="pip install embreex"):
        KnownWall(tube())
