"""What is baked into the looks of a colon: shelter, polyps' surfaces, grey levels."""

import math
from dataclasses import replace

import torch
from straight_colon import tube, tube_draw
from torch.testing import assert_close

from synthetic_colons.anatomy import PolypDraw, PolypKind
from synthetic_colons.colon import Colon, build_colon
from synthetic_colons.levels import level
from synthetic_colons.looks import bake_looks, sheltered
from synthetic_colons.shading import TEXEL_NUMBERS, Looks


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def polyp(kind: PolypKind, arc_mm: float) -> PolypDraw:
    return PolypDraw(
        kind=kind,
        arc_mm=arc_mm,
        angle_rad=2.0,
        size_mm=12.0,
        shape=0.8,
        height_mm=8.0 if kind is PolypKind.STALKED else 4.0,
        turn_rad=0.4,
        lobes=0.1,
        phase=1.0,
        stalk_mm=5.0 if kind is PolypKind.STALKED else 0.0,
        stalk_radius_mm=1.5 if kind is PolypKind.STALKED else 0.0,
        lean=(0.1, -0.2),
    )


def two_polyps() -> Colon:
    own = (polyp(PolypKind.SESSILE, 120.0), polyp(PolypKind.STALKED, 260.0))
    return build_colon(replace(tube_draw(), polyps=own))


def texels(looks: Looks) -> torch.Tensor:
    return looks.texels.view(-1, looks.columns, TEXEL_NUMBERS)


def test_a_ditch_loses_the_sky_below_its_sides_and_a_crest_none():
    step_mm, slope = 0.5, 0.75
    away = (step_mm * torch.arange(200.0) - 50).abs()[:, None].expand(200, 6)
    ditch, crest = 30 - slope * away, 10 + slope * away
    lost = sheltered(ditch, step_mm=step_mm)
    assert_close(lost[100], torch.full((6,), slope / math.hypot(1, slope)))
    assert_close(lost[130], torch.full((6,), slope / math.hypot(1, slope) / 2))  # on one side only
    assert sheltered(crest, step_mm=step_mm)[100].max() == 0
    assert sheltered(torch.full((200, 6), 20.0), step_mm=step_mm).max() == 0


def test_polyps_have_surfaces_unlike_the_walls():
    """Finer than the mucosa around: neighbours differ by more of the whole."""
    looks = bake_looks(two_polyps(), level(5), dice(3))
    plain = bake_looks(tube(), level(5), dice(3))
    row, column = round(120 / looks.texel_mm), round(2.0 / (2 * math.pi) * looks.columns)
    near = slice(row - 8, row + 9), slice(column - 8, column + 9)
    own, bare = texels(looks)[near], texels(plain)[near]
    assert (own[..., :3] - bare[..., :3]).abs().mean() > 0.01
    assert own[..., 1].diff(dim=0).abs().mean() > 1.5 * bare[..., 1].diff(dim=0).abs().mean()
    far = slice(round(180 / looks.texel_mm), round(220 / looks.texel_mm))
    # The dome makes the wall a little longer, and the tissue behind it moves along.
    assert (texels(looks)[far] - texels(plain)[far])[..., :3].abs().mean() < 0.004


def test_grey_levels_are_grey_and_neither_glow_nor_lie_in_shadow():
    for name in ("1", "4"):
        looks = bake_looks(two_polyps(), level(name), dice(4))
        numbers = texels(looks)
        used = numbers[..., 0] > 0  # half of the row of heads is empty
        grey = numbers[used][:, :3]
        assert_close(grey, grey[:1].expand_as(grey))
        wall = numbers[: int(looks.row_last[0]) + 1]
        assert wall[..., 6].abs().max() == 0
        assert (wall[..., 3:5].abs().max() > 0) == (name == "4")


def test_looks_are_their_seeds():
    colon = two_polyps()
    one, same, other = (bake_looks(colon, level(6), dice(seed)) for seed in (5, 5, 6))
    assert torch.equal(one.texels, same.texels)
    assert torch.equal(one.stalked, same.stalked)
    assert not torch.equal(one.texels, other.texels)
