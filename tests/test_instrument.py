"""Instruments: capsules hit where a slow walk along the ray finds them, and what stands before."""

import math

import numpy as np
import torch
from clinic_scene import TIMES_S, draw, instrument, pool, two_frames
from straight_colon import CAMERA, H, W
from torch.testing import assert_close

from synthetic_colons.clinic import FLUID_LABEL, TOOL_LABEL, add_clinic
from synthetic_colons.clinic_settings import Tool
from synthetic_colons.instrument import Capsule, capsule_hit, capsules, out_mm
from synthetic_colons.light import POWER, draw_lamps
from synthetic_colons.shading import RETURNED


def away_mm(point: np.ndarray, part: Capsule) -> np.ndarray:
    a, b = np.array(part.a_mm), np.array(part.b_mm)
    share = np.clip(((point - a) @ (b - a)) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(point - a - share[..., None] * (b - a), axis=-1) - part.radius_mm


def walked(rays: np.ndarray, parts: tuple[Capsule, ...]) -> np.ndarray:
    """Walk along rays by the distance to the nearest capsule; inf where none is met in 100 mm."""
    way = np.zeros(len(rays))
    for _ in range(400):
        gap = np.min([away_mm(way[:, None] * rays, part) for part in parts], axis=0)
        way = np.where(way > 100, way, way + gap)
    return np.where(way > 100, np.inf, way)


def test_a_capsule_is_hit_where_a_walk_along_the_ray_ends():
    dice = torch.Generator().manual_seed(3)
    ray = torch.nn.functional.normalize(
        torch.randn(3, 400, generator=dice, dtype=torch.float64) * 0.5
        + torch.tensor([[0.3], [0.1], [1.0]]),
        dim=0,
    )
    part = Capsule((2.0, 3.0, 4.0), (6.0, -4.0, 11.0), 1.7, metal=True)
    t, normal = capsule_hit(ray, part)
    truth = walked(ray.T.numpy(), (part,))
    hit = np.isfinite(truth)
    assert 40 < hit.sum() < 360
    assert (hit == torch.isfinite(t).numpy()).mean() > 0.99  # a walk creeps past a grazed rim
    both = torch.from_numpy(hit) & t.isfinite()
    assert_close(t[both], torch.from_numpy(truth)[both], rtol=0, atol=5e-3)
    assert_close(normal[:, both].norm(dim=0), torch.ones(int(both.sum())).double())
    outside = (ray * t + 1e-3 * normal)[:, both].T.numpy()
    assert_close(away_mm(outside, part), np.full(len(outside), 1e-3), rtol=0, atol=1e-6)
    assert ((normal * ray).sum(dim=0)[both] < 0).all()


def test_what_stands_first_is_seen_tool_fluid_or_wall():
    frames, view, poses, lamps = two_frames()
    high = pool(level_mm=pool().level_mm + 6)
    both = draw(instrument=instrument(Tool.SNARE, reach_mm=24.0), pools=(high,))
    after = add_clinic(frames, view, poses, lamps, both, TIMES_S)
    wet = add_clinic(frames, view, poses, lamps, draw(pools=(high,)), TIMES_S)
    rays = CAMERA.rays(H, W).double().reshape(-1, 3).numpy()
    tool = torch.stack(
        [
            torch.from_numpy(walked(rays, capsules(both.instrument, float(time)))).reshape(1, H, W)
            for time in TIMES_S
        ]
    )
    clear = (tool - wet.distance_mm).abs() > 0.02
    first = (tool < wet.distance_mm) & clear
    shown = after.label == TOOL_LABEL
    assert 0.01 < first.float().mean() < 0.5
    assert (first == shown)[clear].float().mean() > 0.998
    agreed = first & shown
    assert_close(after.distance_mm[agreed].double(), tool[agreed], rtol=0, atol=5e-3)
    # A tool below the surface is fluid, and darkens it or lights it up.
    sunk = (tool > wet.distance_mm) & (tool < frames.distance_mm) & (wet.label == FLUID_LABEL)
    assert sunk.sum() > 10
    assert (after.label[sunk & clear] == FLUID_LABEL).float().mean() > 0.95
    assert (after.light != wet.light)[sunk.expand_as(wet.light)].any()
    assert (after.distance_mm <= frames.distance_mm + 1e-4)[frames.valid].all()
    facing = (after.normals * CAMERA.rays(H, W).movedim(-1, 0)).sum(dim=1, keepdim=True)
    assert (facing[shown] < 1e-3).all()
    assert after.valid[shown].all()
    assert (after.light[shown.expand_as(after.light)] >= 0).all()


def test_an_instrument_inside_its_channel_changes_nothing():
    frames, view, poses, lamps = two_frames()
    late = draw(instrument=instrument(out_s=5.0))
    assert capsules(late.instrument, 1.7) == ()
    after = add_clinic(frames, view, poses, lamps, late, TIMES_S)
    assert (after.light == frames.light).all()
    assert (after.label != TOOL_LABEL).all()


def test_an_instrument_comes_out_swings_and_goes_back():
    own = instrument(out_s=1.0, back_s=7.0, thrust_s=1.0)
    out = [out_mm(own, t) for t in (0.9, 1.5, 3.0, 5.0, 6.5, 7.1)]
    assert out[0] == out[5] == 0
    assert 0 < out[1] < out[2]
    assert all(15 - 1e-9 <= each <= 21 + 1e-9 for each in out[2:4])
    assert abs(out[2] - out[3]) > 1


def test_an_instrument_is_lit_by_lambert_and_its_highlights_are_told_apart():
    frames, view, poses, _ = two_frames()
    lamps = draw_lamps(torch.Generator().manual_seed(1), 2, at_lens=True)
    after = add_clinic(frames, view, poses, lamps, draw(instrument=instrument()), TIMES_S)
    shown = after.label == TOOL_LABEL
    distance = after.distance_mm
    cosine = -(after.normals * CAMERA.rays(H, W).movedim(-1, 0)).sum(dim=1, keepdim=True)
    # One lamp at the lens; what has just left the channel gets less than inverse square and cosine.
    most = POWER * cosine.clamp(min=0) / distance.square().clamp(min=1)
    assert (after.shading[shown] <= most[shown] * 1.001 + 1e-6).all()
    assert (after.shading[shown] > 0.1 * most[shown]).float().mean() > 0.5
    lambert = after.albedo / math.pi * after.shading
    # What the lumen throws back is lit by the tool and lights it: albedo squared, in each primary.
    returned = (after.light - after.film - lambert) / after.albedo.square().clamp(min=1e-3)
    red, _, blue = (returned[:, k : k + 1][shown] for k in range(3))
    assert red.min() > 0
    assert red.max() < RETURNED * POWER / 400 / math.pi  # of a lumen 20 mm wide
    assert_close(red, blue, rtol=1e-2, atol=2e-4)
    assert after.film[shown.expand_as(lambert)].max() > 0.005
