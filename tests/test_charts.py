"""Charts of ends and heads: no pinch, no seam, and the wall leads over into them."""

import math

import pytest
import torch
from straight_colon import tube
from torch import Tensor
from torch.testing import assert_close

from synthetic_colons.charts import CHART, END_FROM_MM, END_TEXEL_MM, end_texel, head_texel
from synthetic_colons.colon import Colon
from synthetic_colons.colon_ends import bake_ends, lead_over
from synthetic_colons.field import CAP_BOWL_MM
from synthetic_colons.levels import level
from synthetic_colons.looks import bake_looks, join_looks
from synthetic_colons.polyp_colours import PolypSurface, draw_polyp_colour, head_chart, polyp_albedo
from synthetic_colons.shading import Looks, Surface, surface
from synthetic_colons.tissue import TissueSettings, bake_tissue, draw_tissue
from synthetic_colons.wall_tables import ROW_MM


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def coloured() -> tuple[Colon, Looks]:
    return tube(), bake_looks(tube(), level(5), dice(7))


def seen(colon: Colon, looks: Looks, points: Tensor) -> Surface:
    """Return what the wall is at points (P, 3)."""
    still = torch.zeros_like(points.T)
    arc = colon.coordinates(points)[0]
    none = torch.zeros(len(points), dtype=torch.int32)
    return surface(points.T.contiguous(), still, still[0], arc, none, colon.tables, looks)


def on_bowl(colon: Colon, from_pole_mm: Tensor, angle_rad: Tensor) -> Tensor:
    """Return points of the caecum's end, (P, 3)."""
    arc = colon.length_mm - from_pole_mm.square() / (2 * CAP_BOWL_MM)
    return colon.line.point(arc, angle_rad, from_pole_mm)


def test_at_the_pole_a_step_across_changes_no_more_than_a_step_anywhere(coloured):
    """A pinched map has all its columns within a hair of the pole."""
    colon, looks = coloured
    angle = torch.arange(256) * (2 * math.pi / 256)
    for_pole, for_rim = torch.full_like(angle, 0.05), torch.full_like(angle, 9.0)
    pole = torch.stack(seen(colon, looks, on_bowl(colon, for_pole, angle)).albedo)
    rim = torch.stack(seen(colon, looks, on_bowl(colon, for_rim, angle)).albedo)
    assert float(pole.std(dim=1).max()) < 0.003
    assert float(rim.std(dim=1).max()) > 0.01


def test_across_the_corner_from_wall_to_end_colours_go_on(coloured):
    """Two points 0.02 mm apart on either side of where the chart takes over look alike."""
    colon, looks = coloured
    radius = float(colon.wall.radius_mm.mean())
    corner = radius - END_FROM_MM
    arc = colon.length_mm - corner**2 / (2 * CAP_BOWL_MM) - END_FROM_MM
    angle = torch.linspace(0, 6.2, 400)
    colours = []
    for step in (-0.01, 0.01):
        at = torch.full_like(angle, arc + step)
        points = colon.line.point(at, angle, torch.full_like(angle, corner))
        colours.append(torch.stack(seen(colon, looks, points).albedo))
    away = (colours[0] - colours[1]).abs()
    assert float(away.mean()) < 0.002
    assert float(colours[0].std(dim=1).max()) > 0.02  # there is something to differ


def test_the_wall_leads_over_into_both_ends_and_is_its_own_elsewhere():
    draw = draw_tissue(dice(3), TissueSettings(coloured=True, relief=True))
    radius = torch.full((321, 256), 21.0)
    before = bake_tissue(draw, radius, step_mm=ROW_MM, generator=dice(4))
    after = bake_tissue(draw, radius, step_mm=ROW_MM, generator=dice(4))
    ends = bake_ends(draw, dice(5))
    lead_over(after, ends, radius, step_mm=ROW_MM)
    corner = 21.0 - END_FROM_MM
    ahead = corner**2 / (2 * CAP_BOWL_MM) + END_FROM_MM
    for far in (False, True):
        row = round((160 - ahead if far else ahead) / after.texel_mm)
        column = 77
        angle = column * 2 * math.pi / 512
        spot = torch.tensor([corner * math.cos(angle), corner * math.sin(angle)])
        at = [round(float(each)) for each in end_texel(spot[0], spot[1], torch.tensor(far))]
        own = ends.albedo[:, at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2].mean(dim=(1, 2))
        assert_close(after.albedo[:, row, column], own, rtol=0.03, atol=0)
    middle = slice(200, 330)
    assert torch.equal(after.albedo[:, middle], before.albedo[:, middle])
    assert torch.equal(after.relief_mm[:, middle], before.relief_mm[:, middle])


def test_places_on_an_end_are_as_far_apart_on_its_chart():
    x, y = torch.tensor([-31.0, 12.5]), torch.tensor([5.0, -8.0])
    row, column = end_texel(x, y, torch.tensor([False, True]))
    assert_close((row - CHART / 2) * END_TEXEL_MM, x)
    assert_close((column - torch.tensor([0, CHART]) - CHART / 2) * END_TEXEL_MM, y)


def test_a_head_looked_up_by_its_normals_has_the_colours_of_its_surface():
    tissue = draw_tissue(dice(2), TissueSettings(coloured=True, relief=True))
    numbers = draw_polyp_colour(dice(1), PolypSurface.PEDUNCULATED, tissue)
    albedo, slopes = head_chart(numbers, 6.0, relief=True)
    outward = torch.nn.functional.normalize(torch.randn(3000, 3, generator=dice(8)), dim=-1)
    row, column = head_texel(tuple(outward.T), torch.full((3000,), 3.0))
    row, column = row - 2 * CHART, column - CHART  # the fourth: second pair, on the right
    found = albedo[:, row.round().long(), column.round().long()]
    assert_close(found, polyp_albedo(numbers, 6.0 * outward), rtol=0.05, atol=0.01)
    tilt = slopes.norm(dim=0)
    assert 0.03 < float(tilt.mean()) < 0.25  # slopes of 2 to 14 degrees
    assert (slopes[:, row.round().long(), column.round().long()] * outward.T).sum(0).abs().max() < (
        0.05 * float(tilt.max())
    )


def test_normals_on_either_side_of_the_octahedrons_edges_are_neighbours():
    angle = torch.linspace(0.1, 6.1, 200)
    for tilt in (1e-3, -1e-3):
        normal = (angle.cos(), angle.sin(), torch.full_like(angle, tilt))
        row, column = head_texel(normal, torch.zeros(200))
        far = (row - CHART - 127.5).abs() + (column - 127.5).abs()
        assert_close(far, torch.full_like(far, 127.5), atol=0.3, rtol=0)


def test_of_two_colons_each_finds_its_own_charts(coloured):
    colon, looks = coloured
    other = bake_looks(colon, level(5), dice(9))
    both = join_looks([other, looks])
    points = on_bowl(colon, torch.linspace(1, 15, 50), torch.linspace(0, 6, 50))
    alone = seen(colon, looks, points)
    length = int(both.row_start[1]) * both.columns * 8
    assert length == len(other.texels)
    assert torch.equal(both.texels[length:], looks.texels)
    assert torch.stack(alone.albedo).std() > 0.005
