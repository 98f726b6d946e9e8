"""Frames: depth, light and normals in closed form, and the same pixels in any batch."""

import math

import pytest
import torch
from straight_colon import CAMERA, RADIUS_MM, H, W, inside_tube, tube_scene
from torch.testing import assert_close

from colondepth.cameras import Camera
from colondepth.geometry import unproject
from colondepth.motion import relative, so3_exp
from synthetic_colons.analytic import Tube, look
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.camera_views import draw_views, partner
from synthetic_colons.colon import build_colon
from synthetic_colons.ground_truth import Coverage, facing, flow
from synthetic_colons.levels import level
from synthetic_colons.light import LAMP_NUMBERS, POWER, Lamps, draw_lamps
from synthetic_colons.looks import bake_looks
from synthetic_colons.marching import cast
from synthetic_colons.renderer import Rendering, Scene, render, scene_of
from synthetic_colons.shading import Surface, dark, shade
from synthetic_colons.sight import sight


@pytest.fixture(scope="module")
def tube_frames() -> tuple[Rendering, torch.Tensor]:
    turns = torch.tensor([[0.3, -0.2, 0.1], [-0.5, 0.4, 0.9]], dtype=torch.float64)
    poses = torch.stack(
        [
            inside_tube(arc_mm=150.0, shift_mm=(4.0, -6.0), turn=so3_exp(turns[0])),
            inside_tube(arc_mm=210.0, shift_mm=(-3.0, 2.0), turn=so3_exp(turns[1])),
        ]
    )
    lamps = draw_lamps(torch.Generator().manual_seed(2), 2, at_lens=True)
    which = torch.zeros(2, dtype=torch.long)
    frames = render(tube_scene(), sight(CAMERA, frames=2), poses, which=which, lamps=lamps)
    return frames, poses


def far_from_ends(frames: Rendering) -> torch.Tensor:
    return (frames.arc_mm > 40) & (frames.arc_mm < 360)


def test_a_straight_tube_has_the_depth_of_a_tube(tube_frames):
    frames, poses = tube_frames
    line = tube_scene().colons[0].line.nodes[0]
    place, along = line[:3].double(), line[3:6].double()
    # The wall's smooth floor lifts the radius by 0.004 mm; take what was built.
    radius = float(tube_scene().colons[0].wall.radius_mm[400].mean())
    assert abs(radius - RADIUS_MM) < 0.01
    tube = Tube(point_mm=tuple(place.tolist()), along=tuple(along.tolist()), radius_mm=radius)
    truth = look([tube], CAMERA.to(torch.zeros((), dtype=torch.float64)), poses)
    kept = far_from_ends(frames)
    assert kept.float().mean() > 0.8
    error = (frames.depth_mm - truth.depth_mm).abs() / truth.depth_mm
    assert error[kept].max() < 1e-4
    cosine = (frames.normals * truth.normals).sum(dim=1, keepdim=True)
    assert cosine[kept].min() > 1 - 1e-5


def test_light_falls_with_the_square_and_the_cosine_in_a_tube(tube_frames):
    """A dry wall and one lamp at the lens: irradiance = power cos / d^2, Lambert and Kepler."""
    frames, _ = tube_frames
    rays = CAMERA.rays(H, W)
    cosine = facing(frames, rays)
    kept = far_from_ends(frames) & (cosine > 0.05)
    expected = POWER * cosine / frames.distance_mm.square()
    assert_close(frames.shading[kept], expected[kept], rtol=2e-3, atol=0)
    assert frames.film.abs().max() == 0


def test_a_sphere_around_the_lamp_is_lit_evenly_and_one_beside_it_by_the_law():
    dice = torch.Generator().manual_seed(3)
    inward = torch.nn.functional.normalize(torch.randn(500, 3, generator=dice), dim=-1)
    radius, lamp = 17.0, torch.tensor([2.0, -1.0, 4.0])
    zeros = torch.zeros(500)
    end = Surface(
        normal=tuple(-inward.T),
        lit=tuple(-inward.T),
        skin=tuple(-inward.T),
        arc_mm=zeros,
        angle_rad=zeros,
        axis_mm=zeros,
        albedo=(zeros + 0.3, zeros + 0.5, zeros + 0.7),
        roughness=zeros + 0.3,
        glow=zeros,
        wet=zeros,
        stalked=zeros.int(),
    )
    numbers = torch.zeros(LAMP_NUMBERS)
    numbers[:3], numbers[5], numbers[6:9] = lamp, 1.0, torch.tensor([200.0, 300.0, 400.0])
    lit = shade(
        torch.zeros(3, 500),
        inward.T.contiguous(),
        zeros + radius,
        zeros.int(),
        end,
        numbers,
        dark(zeros),
    )
    towards = lamp - radius * inward
    away = towards.norm(dim=-1)
    expected = 300 * ((towards / away[:, None]) * -inward).sum(dim=-1) / away**2
    kept = expected * away**2 / 300 > 0.05
    assert_close(lit.irradiance[kept], expected[kept], rtol=1e-4, atol=0)


def pictured(level_name: str, seeds: tuple[int, ...]) -> tuple[Scene, list]:
    wanted = level(level_name)
    colons, looks = [], []
    for seed in seeds:
        draw = draw_colon(
            torch.Generator().manual_seed(seed),
            folds=wanted.folds,
            relief=wanted.relief,
            simple_polyps=wanted.simple_polyps,
            findings=wanted.findings,
            stool=wanted.clinic,
        )
        colons.append(build_colon(draw))
        looks.append(bake_looks(colons[-1], wanted, torch.Generator().manual_seed(seed + 100)))
    return scene_of(colons, looks), [colons, looks]


@pytest.fixture(scope="module")
def two_colons() -> tuple[Scene, list]:
    return pictured("5", (3, 8))


def test_a_frame_is_the_same_pixels_alone_and_in_any_batch(two_colons):
    scene, (colons, looks) = two_colons
    dice = torch.Generator().manual_seed(6)
    poses = torch.cat([draw_views(dice, colon, 2) for colon in colons])
    which = torch.tensor([0, 0, 1, 1])
    lamps = draw_lamps(dice, 4, count=2)
    camera = Camera.fisheye(fx=17.0, fy=18.0, cx=22.3, cy=17.6, height=H, width=W)
    together = render(scene, sight(camera, frames=4), poses, which=which, lamps=lamps)
    for k in range(4):
        own = scene_of([colons[int(which[k])]], [looks[int(which[k])]])
        alone = render(
            own,
            sight(camera, frames=1),
            poses[k : k + 1],
            which=torch.zeros(1, dtype=torch.long),
            lamps=Lamps(lamps.numbers[k : k + 1]),
        )
        for name in ("light", "depth_mm", "normals", "albedo", "label", "valid"):
            assert torch.equal(getattr(alone, name)[0], getattr(together, name)[k]), name


def test_a_border_leaves_rays_out_and_changes_no_others(two_colons):
    scene, (colons, _) = two_colons
    pose = draw_views(torch.Generator().manual_seed(7), colons[0], 1)
    inside = torch.zeros(1, H, W, dtype=torch.bool)
    inside[:, 5:-4, 7:-9] = True
    lamps = draw_lamps(torch.Generator().manual_seed(8), 1)
    which = torch.zeros(1, dtype=torch.long)
    whole = render(scene, sight(CAMERA, frames=1), pose, which=which, lamps=lamps)
    cut = render(scene, sight(CAMERA, frames=1, inside=inside), pose, which=which, lamps=lamps)
    assert not cut.valid[:, ~inside].any()
    assert (cut.light[0][:, ~inside[0]] == 0).all()
    # A bundle that has lost rays strides farther, so its rays begin elsewhere: not bit by bit.
    assert_close(cut.depth_mm[0][:, inside[0]], whole.depth_mm[0][:, inside[0]], rtol=1e-4, atol=0)


@pytest.fixture(scope="module")
def pair(two_colons) -> tuple:
    scene, (colons, _) = two_colons
    dice = torch.Generator().manual_seed(9)
    camera = Camera.pinhole(fx=52.0, fy=55.0, cx=37.3, cy=29.6, height=60, width=76)
    camera = camera.to(torch.zeros((), dtype=torch.float32))
    poses = draw_views(dice, colons[0], 4)
    others = partner(dice, poses, colons[0])
    lamps = draw_lamps(dice, 4, count=1)
    which = torch.zeros(4, dtype=torch.long)
    view = sight(camera, frames=4)
    a = render(scene, view, poses, which=which, lamps=lamps)
    b = render(scene, view, others, which=which, lamps=lamps)
    return colons[0], camera, poses, others, a, b


def test_flow_leads_to_the_same_place_on_the_wall(pair):
    _, camera, poses, others, a, b = pair
    flow_px, known, occluded = flow(a, b, camera, camera.rays(60, 76), poses, others)
    kept = known & ~occluded
    assert 0.3 < kept.float().mean() < 1
    grid = torch.stack(torch.meshgrid(torch.arange(60.0), torch.arange(76.0), indexing="ij")[::-1])
    there = grid + flow_px
    u, v = there[:, 0].round().long().clamp(0, 75), there[:, 1].round().long().clamp(0, 59)
    frame = torch.arange(4)[:, None, None].expand_as(u)
    arc_there = b.arc_mm[:, 0][frame, v, u]
    away = (arc_there - a.arc_mm[:, 0]).abs()[kept[:, 0]]
    assert away.median() < 0.5  # half a pixel on a slanted wall
    assert away.quantile(0.95) < 6


def test_occlusion_agrees_with_a_ray_to_the_place(pair):
    """From the other camera a ray is followed to each place: does it meet the wall before?"""
    colon, camera, poses, others, a, b = pair
    _, known, occluded = flow(a, b, camera, camera.rays(60, 76), poses, others)
    wrong = total = 0
    for k in range(4):
        points = unproject(a.depth_mm[k], camera).reshape(-1, 3)
        pose = poses[k].float()
        world = points @ pose[:3, :3].T + pose[:3, 3]
        origin = others[k, :3, 3].float()
        way = world - origin
        reach = way.norm(dim=-1)
        start = colon.coordinates(origin[None])[0].expand(len(way)).clone()
        hits = cast(
            origin[:, None].expand(-1, len(way)).contiguous(),
            (way / reach[:, None]).T.contiguous(),
            torch.zeros(len(way)),
            start,
            torch.zeros(len(way), dtype=torch.int32),
            colon.tables,
        )
        hidden = hits.distance_mm < 0.97 * reach
        kept = known[k, 0].flatten()
        wrong += int((hidden != occluded[k, 0].flatten())[kept].sum())
        total += int(kept.sum())
    assert wrong / total < 0.03


def test_motion_and_flow_agree_where_nothing_moves(pair):
    _, camera, poses, _, a, _ = pair
    still, known, occluded = flow(a, a, camera, camera.rays(60, 76), poses, poses)
    assert still.abs().max() < 1e-3
    assert not occluded[known].any()
    assert_close(relative(poses, poses), torch.eye(4).expand(4, 4, 4).to(poses), atol=1e-5, rtol=0)


def test_coverage_grows_with_what_is_seen_and_never_shrinks(two_colons):
    scene, (colons, _) = two_colons
    colon = colons[0]
    dice = torch.Generator().manual_seed(12)
    coverage = Coverage(colon, (300.0, 420.0))
    rays = CAMERA.rays(H, W)
    shares = []
    for _ in range(6):
        poses = draw_views(dice, colon, 24)
        frames = render(
            scene,
            sight(CAMERA, frames=24),
            poses,
            which=torch.zeros(24, dtype=torch.long),
            lamps=draw_lamps(dice, 24, count=1),
        )
        shares.append(coverage.add(frames, facing(frames, rays)))
    assert shares == sorted(shares)
    assert 0 < shares[-1] <= 1
    # The area of the stretch, against the circumference of its mean radius.
    mean = float(colon.wall.radius_mm[600:841].mean())
    assert_close(float(coverage.area_mm2.sum()), 2 * math.pi * mean * 121, rtol=0.02, atol=0)


def test_lamps_move_with_the_camera():
    lamps = draw_lamps(torch.Generator().manual_seed(4), 2, count=3)
    pose = torch.eye(4).repeat(2, 1, 1)
    pose[1, :3, :3] = so3_exp(torch.tensor([0.2, 0.5, -0.1]))
    pose[1, :3, 3] = torch.tensor([5.0, 6.0, 7.0])
    world = lamps.in_world(pose)
    assert torch.equal(world[0], lamps.numbers[0])
    expected = lamps.numbers[1, :, :3] @ pose[1, :3, :3].T + pose[1, :3, 3]
    assert_close(world[1, :, :3], expected)
    assert_close(world[1, :, 3:6].norm(dim=-1), torch.ones(3))
    assert_close(float(lamps.numbers[0, :, 6:9].sum()), 3 * POWER, rtol=0.07, atol=0)
