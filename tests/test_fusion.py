import math

import numpy as np
import pytest
import torch

from colondepth.cameras import Camera
from colondepth.errors import DataError, ShapeError
from colondepth.motion import rigid_motion, so3_exp
from colondepth.reconstruction.blocks import SIDE, Blocks, keys_of, numbers_of
from colondepth.reconstruction.fusion import Fusion
from synthetic_colons.analytic import Plane, Sphere, look

PINHOLE = Camera.pinhole(fx=46.0, fy=43.0, cx=48.5, cy=38.0, height=80, width=100)
FISHEYE = Camera.fisheye(fx=36.0, fy=34.0, cx=48.5, cy=38.0, height=80, width=100)
BALL = Sphere(centre_mm=(1.0, 2.0, -3.0), radius_mm=18.0)


def turned(x=0.0, y=0.0, z=0.0, at=(3.0, 0.0, 1.0)):
    turn = so3_exp(torch.tensor([x, y, z], dtype=torch.float64))
    return rigid_motion(turn, torch.tensor(at, dtype=torch.float64))


ALL_AROUND = [
    *(turned(y=angle) for angle in np.arange(0, 6.2, 0.7)),
    *(turned(x=angle) for angle in np.arange(0, 6.2, 0.7)),
]


def fused(scene, camera, motions, **options):
    fusion = Fusion(**options)
    for motion in motions:
        view = look(scene, camera, motion)
        fusion.integrate(view.depth_mm.float(), camera, motion, image=view.image.float())
    return fusion


def edge_counts(faces):
    pairs = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    directed = pairs.unique(dim=0)
    counts = pairs.sort(dim=1).values.unique(dim=0, return_counts=True)[1]
    return counts, len(directed) == len(pairs)


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE])
def test_the_inside_of_a_ball_comes_out_as_a_ball_without_seams(camera):
    surface = fused((BALL,), camera, ALL_AROUND).surface()
    radii = (surface.vertices_mm - torch.tensor(BALL.centre_mm)).norm(dim=-1)
    assert (radii - 18).abs().max() < 0.12
    assert (radii - 18).abs().mean() < 0.03
    counts, consistent = edge_counts(surface.faces)
    assert counts.max() == 2  # three triangles at an edge would be a seam
    assert (counts == 1).float().mean() < 0.03  # what no view saw
    assert consistent
    inward = torch.tensor(BALL.centre_mm) - surface.vertices_mm[surface.faces].mean(dim=1)
    assert ((surface.normals() * inward).sum(dim=-1) > 0).all()


def test_a_ball_seen_from_everywhere_is_closed():
    more = [turned(x=a, z=b) for a in np.arange(0, 6.2, 0.5) for b in (0.4, 1.2)]
    surface = fused((BALL,), FISHEYE, [*ALL_AROUND, *more]).surface()
    counts, _ = edge_counts(surface.faces)
    assert counts.unique().tolist() == [2]
    corners = surface.vertices_mm.double()[surface.faces]
    volume = torch.linalg.det(corners).sum().abs() / 6
    assert volume == pytest.approx(4 / 3 * math.pi * 18**3, rel=0.01)


def test_a_wall_seen_at_an_angle_is_as_exact_as_one_seen_from_the_front():
    slanted = Plane(point_mm=(0, 0, 30), across=(2.0, 0.3, 1.0))
    surface = fused((slanted,), PINHOLE, [turned(at=(0, 0, 0))]).surface()
    across = torch.tensor([2.0, 0.3, 1.0])
    off = (surface.vertices_mm - torch.tensor([0.0, 0, 30])) @ across / across.norm()
    assert off.abs().max() < 0.02
    assert len(off) > 500


def test_views_that_disagree_meet_where_their_weights_say():
    fusion = Fusion()
    here, shape = turned(at=(0, 0, 0)), (1, 80, 100)
    near, far = torch.full(shape, 40.0), torch.full(shape, 41.0)
    fusion.integrate(near, PINHOLE, here, log_depth_std=torch.full(shape, 0.02))
    fusion.integrate(far, PINHOLE, here, log_depth_std=torch.full(shape, 0.04))
    surface = fusion.surface()
    # Variances 0.8^2 and 1.64^2 mm, so the far one weighs 0.238 of the near one.
    middle = surface.vertices_mm.norm(dim=-1) < 41
    depth = surface.vertices_mm[middle, 2].median().item()
    assert depth == pytest.approx((40 + 0.238 * 41) / 1.238, abs=0.02)
    std = surface.std_mm[middle].median().item()
    assert 0.8 < std < 1.64  # two frames of a clip are no surer than their mean
    assert surface.seen[middle].median() == 2


def test_what_later_views_look_through_is_carved_away():
    fusion, here, shape = Fusion(), turned(at=(0, 0, 0)), (1, 80, 100)
    ghost, wall = torch.full(shape, 20.0), torch.full(shape, 60.0)
    fusion.integrate(ghost, PINHOLE, here)
    assert fusion.surface().vertices_mm[:, 2].median() == pytest.approx(20, abs=0.1)
    for _ in range(40):
        fusion.integrate(wall, PINHOLE, here)
    surface = fusion.surface()
    before = (surface.vertices_mm[:, 2] < 30) & (surface.vertices_mm[:, :2].norm(dim=-1) < 12)
    assert not before.any()


def test_colours_are_those_of_the_image():
    image = torch.zeros(3, 80, 100)
    image[0], image[1] = 0.8, 0.3
    fusion = Fusion()
    depth = torch.full((1, 80, 100), 30.0)
    fusion.integrate(depth, PINHOLE, turned(at=(0, 0, 0)), image=image)
    expected = torch.tensor([0.8, 0.3, 0.0])
    assert torch.allclose(fusion.surface().colours, expected.expand(1, 3), atol=1e-5)


def test_blocks_grow_with_the_wall_and_not_with_the_box_around_it():
    small = fused((BALL,), PINHOLE, ALL_AROUND)
    far = Fusion()
    for x in (0.0, 5000.0):
        for motion in ALL_AROUND[:4]:
            moved = motion.clone()
            moved[0, 3] += x
            view = look((BALL,), PINHOLE, motion)
            far.integrate(view.depth_mm.float(), PINHOLE, moved)
    area = 4 * math.pi * 18**2 / SIDE**2
    assert len(small._blocks) < 8 * area
    assert len(far._blocks) < 16 * area


def test_a_saved_wall_goes_on_as_if_nothing_had_happened(tmp_path):
    straight = fused((BALL,), PINHOLE, ALL_AROUND).surface()
    half = fused((BALL,), PINHOLE, ALL_AROUND[:9])
    half.save(tmp_path / "wall.safetensors")
    again = Fusion.load(tmp_path / "wall.safetensors")
    assert again.frames == 9
    for motion in ALL_AROUND[9:]:
        view = look((BALL,), PINHOLE, motion)
        again.integrate(view.depth_mm.float(), PINHOLE, motion, image=view.image.float())
    other = again.surface()
    assert torch.equal(other.vertices_mm, straight.vertices_mm)
    assert torch.equal(other.faces, straight.faces)
    (tmp_path / "other").write_bytes(b"no")
    with pytest.raises(DataError, match="is no fused wall"):
        Fusion.load(tmp_path / "other")


def test_places_that_few_frames_saw_can_be_left_out():
    fusion = fused((BALL,), PINHOLE, ALL_AROUND)
    assert int(fusion.surface(least_seen=3).seen.min()) >= 1
    assert 0 < len(fusion.surface(least_seen=3).faces) < len(fusion.surface().faces)
    assert len(fusion.surface(least_seen=99).faces) == 0


def test_a_view_without_a_usable_pixel_changes_nothing():
    fusion, here = Fusion(), turned(at=(0, 0, 0))
    depth = torch.full((1, 80, 100), 30.0)
    none = torch.zeros(1, 80, 100, dtype=torch.bool)
    unsure = torch.full((1, 80, 100), math.nan)
    assert fusion.integrate(0 * depth, PINHOLE, here) == 0
    assert fusion.integrate(depth, PINHOLE, here, valid=none) == 0
    assert fusion.integrate(depth, PINHOLE, here, log_depth_std=unsure) == 0
    assert fusion.integrate(depth * 100, PINHOLE, here) == 0
    assert fusion.frames == 0
    assert len(fusion.surface().faces) == 0


def test_wrong_arguments_are_refused_in_a_sentence():
    fusion, here = Fusion(), turned(at=(0, 0, 0))
    depth = torch.full((1, 80, 100), 30.0)
    with pytest.raises(DataError, match=r"finite|NaN"):
        fusion.integrate(depth, PINHOLE, here * math.nan)
    with pytest.raises(DataError, match=r"rigid|rotation"):
        fusion.integrate(depth, PINHOLE, torch.diag(torch.tensor([2.0, 1, 1, 1])))
    with pytest.raises((ShapeError, DataError), match=r"40.*100"):
        fusion.integrate(depth[:, :40], PINHOLE, here)
    with pytest.raises(DataError, match="are the poses in millimetres"):
        fusion.integrate(depth, PINHOLE, turned(at=(0, 0, 1e8)))
    with pytest.raises(DataError, match="voxel_mm"):
        Fusion(voxel_mm=0)


def test_block_keys_go_both_ways_and_values_are_found_by_voxel():
    numbers = torch.tensor([[0, 0, 0], [-1, 5, -70000], [90000, -3, 2]])
    assert torch.equal(numbers_of(keys_of(numbers)), numbers)
    blocks = Blocks({"number": 1})
    slots = blocks.add(numbers)
    assert torch.equal(blocks.numbers[slots], numbers)
    assert blocks.find(numbers[1:] + 1).tolist() == [-1, -1]
    voxel = torch.tensor([[-1 * SIDE + 3, 5 * SIDE + 1, -70000 * SIDE + 7]])
    blocks.values("number")[slots[1], (3 * SIDE + 1) * SIDE + 7] = 4.5
    found, there = blocks.look_up("number", voxel)
    assert (found.item(), there.item()) == (4.5, True)
    blocks.add(torch.randint(-50, 50, (3000, 3)).unique(dim=0))  # grown and sorted anew
    assert blocks.look_up("number", voxel)[0].item() == 4.5
