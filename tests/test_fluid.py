"""Pools: planes where they belong, light that falls with the path, foam that floats."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clinic_scene import TIMES_S, draw, foamy_pool, pool, sideways, two_frames
from straight_colon import CAMERA, H, W, tube, tube_scene
from torch.testing import assert_close

from colondepth.motion import so3_exp
from synthetic_colons.anatomy_draws import draw_colon
from synthetic_colons.clinic import BUBBLE_LABEL, FLUID_LABEL, add_clinic
from synthetic_colons.clinic_draws import draw_clinic, floor_mm
from synthetic_colons.clinic_settings import ClinicSettings
from synthetic_colons.colon import build_colon
from synthetic_colons.levels import level
from synthetic_colons.light import draw_lamps
from synthetic_colons.renderer import Rendering, render
from synthetic_colons.sight import sight


def added(one) -> Rendering:
    frames, view, poses, lamps = two_frames()
    return add_clinic(frames, view, poses, lamps, draw(pools=(one,)), TIMES_S)


def slow_surface() -> tuple[np.ndarray, np.ndarray]:
    """Ask every ray by itself where it meets the plane, and whether before the wall."""
    frames, _, poses, _ = two_frames()
    up, surface = np.array(sideways()), pool().level_mm
    rays = CAMERA.rays(H, W).double().numpy()
    distance = frames.distance_mm.double().numpy()
    met, way = np.zeros((2, H, W), dtype=bool), np.zeros((2, H, W))
    for b in range(2):
        pose = poses[b].numpy()
        for v in range(H):
            for u in range(W):
                to = pose[:3, :3] @ rays[v, u]
                fall = to @ up
                if fall >= 0:
                    continue
                t = (surface - pose[:3, 3] @ up) / fall
                met[b, v, u] = frames.valid[b, 0, v, u] and 0 < t < distance[b, 0, v, u]
                way[b, v, u] = t
    return met, way


def test_fluid_is_seen_exactly_where_the_plane_lies_before_the_wall():
    met, way = slow_surface()
    frames, _, poses, _ = two_frames()
    arc = frames.arc_mm[:, 0].numpy()
    inside = (arc > 60) & (arc < 340)
    near = np.abs(way - frames.distance_mm[:, 0].numpy()) < 1e-3  # rounding has the last word
    after = added(pool())
    fluid = (after.label[:, 0] == FLUID_LABEL).numpy()
    assert 0.1 < met.mean() < 0.9
    assert ((met & inside) == fluid)[~near].all()
    assert_close(after.distance_mm[:, 0].numpy()[fluid], way.astype("f4")[fluid], rtol=1e-5, atol=0)
    z = CAMERA.rays(H, W)[..., 2]
    assert_close(after.depth_mm[:, 0], after.distance_mm[:, 0] * z, rtol=1e-5, atol=1e-5)
    up = torch.einsum("bij,i->bj", poses[:, :3, :3].float(), torch.tensor(sideways()))
    shown = torch.from_numpy(fluid)
    expected = up[:, :, None, None].expand(2, 3, H, W).movedim(1, -1)[shown]
    assert_close(after.normals.movedim(1, -1)[shown], expected, rtol=0, atol=1e-5)
    assert after.valid[:, 0][shown].all()
    assert after.arc_mm[:, 0][shown].abs().max() == 0


def test_light_from_below_falls_exponentially_with_the_path():
    def diffuse(reach: float) -> torch.Tensor:
        clear = pool(albedo=(0.0, 0.0, 0.0), turbidity_mm=(reach, 0.5 * reach, reach))
        after = added(clear)
        return (after.light - after.film).double(), after

    (opaque, _), (open_, after) = diffuse(1e-4), diffuse(1e9)
    one, two = diffuse(20.0)[0], diffuse(40.0)[0]
    path = two_frames()[0].distance_mm - after.distance_mm
    kept = (after.label == FLUID_LABEL) & (path > 2) & (path < 30)
    assert kept.float().mean() > 0.05
    whole = open_ - opaque
    first = -((one - opaque) / whole).log()
    second = -((two - opaque) / whole).log()
    ok = kept.expand_as(whole) & (whole > 1e-3)
    assert_close(first[ok], 2 * second[ok], rtol=2e-3, atol=2e-4)
    red = kept[:, 0]
    # Stirred by up to a fifth from place to place.
    share = (first[:, 0] * 20 / path[:, 0])[red]
    assert share.min() > 0.79
    assert share.max() < 1.21
    assert share.std() > 0.02
    assert_close(first[:, 1][red], 2 * first[:, 0][red], rtol=5e-3, atol=1e-3)


def test_still_fluid_mirrors_a_lamp_at_the_lens_from_straight_below():
    up = torch.tensor(sideways(), dtype=torch.float64)
    _, frame = tube().line.at(torch.tensor(200.0))
    across = torch.linalg.cross(frame[:, 2].double(), up)
    across = across / across.norm()
    down = torch.stack([across, torch.linalg.cross(-up, across), -up], dim=1)
    turns = torch.tensor([[0.12, 0.21, 0.4], [-0.2, 0.1, -0.3]], dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
    poses[:, :3, :3] = torch.stack([down @ so3_exp(turn) for turn in turns])
    poses[:, :3, 3] = torch.stack([tube().line.at(torch.tensor(a))[0] for a in (200.0, 210.0)])
    lamps = draw_lamps(torch.Generator().manual_seed(1), 2, at_lens=True)
    view, which = sight(CAMERA, frames=2), torch.zeros(2, dtype=torch.long)
    frames = render(tube_scene(), view, poses, which=which, lamps=lamps)
    still = draw(pools=(pool(ripple_slope=0.0),))
    after = add_clinic(frames, view, poses, lamps, still, TIMES_S)
    for k in range(2):
        foot = ((CAMERA.rays(H, W).double() @ poses[k, :3, :3].T) @ -up).argmax()
        brightest = after.film[k].sum(dim=0).argmax()
        assert brightest == foot
        assert after.specular[k].flatten()[foot]
        assert after.specular[k].sum() < 30


def test_a_camera_in_the_fluid_keeps_the_depth_and_loses_what_it_cannot_see():
    frames, _, poses, _ = two_frames()
    up = torch.tensor(sideways(), dtype=torch.float64)
    deep = pool(level_mm=float((poses[:, :3, 3] @ up).max()) + 3, turbidity_mm=(30.0, 20.0, 9.0))
    after = added(deep)
    assert (after.label == frames.label).all()
    assert (after.depth_mm == frames.depth_mm).all()
    assert (after.valid <= frames.valid).all()
    lost = frames.valid & ~after.valid
    assert lost.any()
    assert after.valid.any()
    assert frames.distance_mm[lost].min() > frames.distance_mm[after.valid].min()


def test_a_pool_elsewhere_changes_nothing():
    frames, *_ = two_frames()
    after = added(pool(from_mm=5.0, to_mm=40.0))
    for name in ("light", "label", "depth_mm", "valid"):
        assert (getattr(after, name) == getattr(frames, name)).all()


def test_foam_floats_on_the_surface_and_keeps_its_geometry():
    plain, foamy = added(pool()), added(foamy_pool())
    bubbles = foamy.label == BUBBLE_LABEL
    assert 0.003 < bubbles.float().mean() < 0.5
    assert (plain.label[bubbles] == FLUID_LABEL).all()
    for name in ("depth_mm", "distance_mm", "normals", "valid", "arc_mm"):
        assert (getattr(foamy, name) == getattr(plain, name)).all()
    rest = ~bubbles.expand_as(plain.light)
    assert (foamy.light[rest] == plain.light[rest]).all()
    assert (foamy.albedo != plain.albedo).any()


@pytest.fixture(scope="module")
def colon():
    wanted = level(6)
    dice = torch.Generator().manual_seed(5)
    numbers = draw_colon(
        dice,
        folds=wanted.folds,
        relief=wanted.relief,
        simple_polyps=False,
        findings=True,
        stool=True,
    )
    return build_colon(numbers)


def test_every_drawn_pool_is_dammed_at_both_ends(colon):
    settings = replace(ClinicSettings(), pool_chance=1.0, pool_apart_mm=(15.0, 40.0))
    found = 0
    for seed in range(4):
        dice = torch.Generator().manual_seed(seed)
        own = draw_clinic(dice, colon, clip_frames=9, frames_per_s=25.0, settings=settings)
        floor = floor_mm(colon, own.up)
        for each in own.pools:
            first, last = round(each.from_mm * 2), round(each.to_mm * 2)
            assert floor[first] >= each.level_mm
            assert floor[last] >= each.level_mm
            assert (floor[first + 1 : last] < each.level_mm).all()
            assert each.to_mm - each.from_mm <= settings.pool_length_max_mm + 1
            found += 1
    assert found > 8


def test_the_floor_is_the_lowest_point_of_a_cross_section(colon):
    up = (0.6, 0.0, 0.8)
    row = 1201
    angle = torch.arange(256) * (2 * torch.pi / 256)
    arc = torch.full((256,), row / 2)
    ring = colon.line.point(arc, angle, colon.wall.radius_mm[row])
    lowest = (ring @ torch.tensor(up)).min()
    assert_close(floor_mm(colon, up)[row], lowest, rtol=0, atol=1e-3)
