"""Bubbles: found by four cells as by asking all of them, on the wall and with its geometry."""

import torch
from clinic_scene import FOAM, TIMES_S, draw, patch, two_frames
from torch.testing import assert_close

from synthetic_colons.bubbles import bubble_grids, bubbles_at
from synthetic_colons.clinic import BUBBLE_LABEL, add_clinic
from synthetic_colons.clinic_settings import WaveDraw


def ones(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    del y
    return torch.ones_like(x)


def test_four_cells_know_the_bubble_that_all_cells_know():
    grids = bubble_grids(FOAM, (-9.0, 14.0, -7.0, 6.0), ones)
    dice = torch.Generator().manual_seed(1)
    x = -9 + 23 * torch.rand(700, generator=dice)
    y = -7 + 13 * torch.rand(700, generator=dice)
    narrow = 0.5 + torch.rand(700, generator=dice)
    seen = bubbles_at(x, y, grids, narrow)
    found = torch.zeros(700, dtype=torch.bool)
    for number, grid in enumerate(grids):
        radius = grid.radius_mm * narrow[:, None].clamp(max=1)
        off_x = x[:, None] - grid.x_mm
        off_y = (y[:, None] - grid.y_mm) * narrow[:, None]
        height = radius**2 - off_x**2 - off_y**2
        best = height.max(dim=1)
        own = (best.values > 1e-4) & ~found
        if number == 0:
            assert 0.2 < own.float().mean() < 0.9
        assert seen.found[own].all()
        assert (seen.fine[own] == (number == 1)).all()
        at = best.indices[:, None]
        assert_close(seen.x[own], (off_x / radius).gather(1, at)[own, 0], rtol=1e-4, atol=1e-4)
        assert_close(seen.y[own], (off_y / radius).gather(1, at)[own, 0], rtol=1e-4, atol=1e-4)
        found |= best.values > 1e-4
    assert (seen.found & ~found).float().mean() < 0.01


def test_bubbles_are_as_large_as_their_cells_allow_and_as_many_as_asked():
    few = bubble_grids(FOAM, (0.0, 200.0, 0.0, 160.0), lambda x, y: 0.25 * ones(x, y))[0]
    holds = few.radius_mm > 0
    assert abs(holds.float().mean() - 0.25 * FOAM.density) < 0.03
    assert few.radius_mm[holds].max() <= 2.0
    assert few.radius_mm[holds].min() >= 0.8 - 1e-6


def test_bubbles_change_looks_and_not_geometry():
    frames, view, poses, lamps = two_frames()
    before = {name: getattr(frames, name).clone() for name in ("light", "label", "albedo")}
    after = add_clinic(frames, view, poses, lamps, draw(patches=(patch(),)), TIMES_S)
    bubbles = after.label == BUBBLE_LABEL
    assert 0.005 < bubbles.float().mean() < 0.5
    near = (frames.arc_mm - 190).abs() <= 20
    assert near[bubbles].all()
    names = ("depth_mm", "distance_mm", "normals", "valid", "arc_mm", "angle_rad", "axis_mm")
    for name in (*names, "shading"):
        assert (
            getattr(after, name) is getattr(frames, name)
            or (getattr(after, name) == getattr(frames, name)).all()
        )
    rest = ~bubbles.expand_as(frames.light)
    for name in ("light", "film", "albedo"):
        assert (getattr(after, name)[rest] == getattr(frames, name)[rest]).all()
    assert (after.albedo.sum(dim=1)[bubbles[:, 0]] > frames.albedo.sum(dim=1)[bubbles[:, 0]]).all()
    assert after.film[bubbles.expand_as(after.film)].max() > 0
    for name, value in before.items():
        assert (getattr(frames, name) == value).all()


def test_bubbles_stay_on_their_tissue_when_the_wall_moves():
    """A wave of no depth leaves them alone; a deep one is divided out of the radius."""
    frames, view, poses, lamps = two_frames()
    wave = WaveDraw(arc_mm=190.0, speed_mm_per_s=0.0, length_mm=500.0, narrowing=0.3)
    still = draw(patches=(patch(),))
    moved = draw(patches=(patch(),), waves=(wave,))
    bell = torch.cos(torch.pi * (frames.arc_mm - 190) / 500) ** 2
    narrowed = type(frames)(
        **{
            name: getattr(frames, name)
            for name in ("light", "film", "albedo", "shading", "depth_mm", "distance_mm")
        },
        normals=frames.normals,
        valid=frames.valid,
        specular=frames.specular,
        arc_mm=frames.arc_mm,
        angle_rad=frames.angle_rad,
        axis_mm=frames.axis_mm * (1 - 0.3 * bell),
        label=frames.label,
    )
    one = add_clinic(frames, view, poses, lamps, still, TIMES_S).label == BUBBLE_LABEL
    two = add_clinic(narrowed, view, poses, lamps, moved, TIMES_S).label == BUBBLE_LABEL
    other = add_clinic(narrowed, view, poses, lamps, still, TIMES_S).label == BUBBLE_LABEL
    # Narrower tissue holds the same bubbles, smaller ones: most of their pixels.
    agree, disagree = ((one & each).sum() / (one | each).sum() for each in (two, other))
    assert agree > 0.65
    assert disagree < 0.5
