"""The closed-form scenes, against numbers worked by hand and code that nobody here wrote."""

import pytest
import torch
from scenes import H, W, at, cameras
from torch.testing import assert_close

from colondepth.cameras import Camera
from synthetic_colons.analytic import Plane, Sphere, Tube, look

ORIGIN = torch.zeros(3, dtype=torch.float64)


def ray(*direction: float) -> torch.Tensor:
    vector = torch.tensor(direction, dtype=torch.float64)
    return vector / vector.norm()


def test_rays_meet_surfaces_where_pythagoras_says():
    plane = Plane(point_mm=(0, 0, 10), across=(0, 0, -2))
    assert plane.distance_mm(ORIGIN, ray(3, 0, 4)).item() == pytest.approx(12.5)
    assert plane.distance_mm(ORIGIN, ray(3, 0, -4)).item() == float("inf")
    assert plane.distance_mm(ORIGIN, ray(1, 0, 0)).item() == float("inf")
    ball = Sphere(centre_mm=(0, 0, 10), radius_mm=3)
    assert ball.distance_mm(ORIGIN, ray(0, 0, 1)).item() == pytest.approx(7)
    assert ball.distance_mm(
        ORIGIN + torch.tensor([0, 0, 10]), ray(0, 1, 0)
    ).item() == pytest.approx(3)
    assert ball.distance_mm(ORIGIN, ray(1, 0, 0)).item() == float("inf")
    tube = Tube(point_mm=(0, 0, 5), along=(0, 0, 3), radius_mm=4)
    assert tube.distance_mm(ORIGIN, ray(0, 3, 4)).item() == pytest.approx(4 / 0.6)
    assert tube.distance_mm(ORIGIN, ray(0, 0, 1)).item() == float("inf")


def test_the_nearest_surface_is_the_one_that_is_seen():
    camera = Camera.pinhole(fx=20, fy=22, cx=5, cy=4, height=9, width=11)
    scene = [
        Plane(point_mm=(0, 0, 30), across=(0, 0, 1)),
        Sphere(centre_mm=(0, 0, 20), radius_mm=4),
    ]
    depth_mm = look(scene, camera, at(0, 0, 0)).depth_mm[0]
    assert depth_mm[4, 5].item() == pytest.approx(16)
    assert depth_mm[0, 0].item() == pytest.approx(30)


def test_light_falls_with_the_square_of_the_distance_and_the_cosine():
    # Two points of one wall, seen from 20 and from 40 mm: the ratio of their brightness, divided
    # by the same ratio from the other place, is free of texture and exposure.
    wall = [Plane(point_mm=(0, 0, 20), across=(0, 0, 1))]
    camera = Camera.pinhole(fx=40, fy=44, cx=15, cy=10, height=21, width=41)
    near, far = (look(wall, camera, at(0, 0, z)).image[1] ** 2.2 for z in (0, -20))
    found = (near[10, 35] / near[10, 15]) / (far[10, 25] / far[10, 15])
    by_hand = (20 / 500**1.5 / (1 / 400)) / (40 / 1700**1.5 / (1 / 1600))
    assert max(near[10, 15], far[10, 15]) < 1
    assert found.item() == pytest.approx(by_hand)


def test_the_texture_belongs_to_the_place_and_not_to_the_camera():
    wall = [Plane(point_mm=(0, 0, 25), across=(0, 0, 1))]
    camera = Camera.pinhole(fx=40, fy=40, cx=20, cy=15, height=31, width=41)
    here, aside = look(wall, camera, at(0, 0, 0)), look(wall, camera, at(5, 0, 0))
    # 5 mm at 25 mm are 8 pixels; the lamp moved along, so compare the ratio of two colours.
    ratio, moved = (v.image[0] ** 2.2 / v.image[1] ** 2.2 for v in (here, aside))
    keep = (here.image[0, :, 8:] < 0.99) & (aside.image[0, :, :-8] < 0.99)
    assert_close(ratio[:, 8:][keep], moved[:, :-8][keep])


def test_rays_traced_by_vtk_hit_a_mesh_of_the_sphere_where_ours_do():
    import pyvista

    ball = Sphere(centre_mm=(2, -1, 30), radius_mm=9)
    camera = cameras()["omnidirectional"]
    view = look([ball], camera, at(0, 0, 0))
    mesh = pyvista.Sphere(radius=9, center=(2, -1, 30), theta_resolution=200, phi_resolution=200)
    rays = camera.rays(H, W).reshape(-1, 3)
    for index in range(0, H * W, 97):
        hits, _ = mesh.ray_trace((0, 0, 0), (rays[index] * 100).numpy(), first_point=True)
        expected = float(hits[2]) if len(hits) else 0.0
        assert view.depth_mm.reshape(-1)[index].item() == pytest.approx(expected, abs=0.02)
