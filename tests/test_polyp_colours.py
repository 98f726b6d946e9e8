"""Polyps against the wall that they grow on."""

import pytest
import torch
from torch import Tensor

from colondepth.errors import ShapeError
from synthetic_colons.polyp_colours import NUMBERS, PolypSurface, draw_polyp_colour, polyp_albedo
from synthetic_colons.tissue import TissueDraw, TissueSettings, draw_tissue


def wall(*, coloured: bool = True) -> TissueDraw:
    settings = TissueSettings(coloured=coloured, relief=True)
    return draw_tissue(torch.Generator().manual_seed(2), settings)


def surface_mm(radius_mm: float = 4.0) -> Tensor:
    points = torch.randn(50, 60, 3, generator=torch.Generator().manual_seed(8))
    return radius_mm * points / points.norm(dim=-1, keepdim=True)


def green_over_red(surface: PolypSurface, seed: int) -> float:
    numbers = draw_polyp_colour(torch.Generator().manual_seed(seed), surface, wall())
    albedo = polyp_albedo(numbers, surface_mm()).mean(dim=(1, 2))
    return float(albedo[1] / albedo[0])


@pytest.mark.parametrize("seed", range(5))
def test_hyperplastic_is_paler_and_a_head_redder_than_flat(seed: int) -> None:
    pale, adenoma, head, flat = (
        green_over_red(kind, seed)
        for kind in (
            PolypSurface.HYPERPLASTIC,
            PolypSurface.ADENOMA,
            PolypSurface.PEDUNCULATED,
            PolypSurface.FLAT,
        )
    )
    assert pale > flat > head
    assert adenoma < flat


def test_a_flat_one_is_nearly_the_mucosa_around_it() -> None:
    draw = wall()
    mucosa = torch.tensor(draw.pale) * torch.exp(-torch.tensor(draw.absorption) * draw.blood)
    for seed in range(5):
        numbers = draw_polyp_colour(torch.Generator().manual_seed(seed), PolypSurface.FLAT, draw)
        albedo = polyp_albedo(numbers, surface_mm(2.0)).mean(dim=(1, 2))
        torch.testing.assert_close(albedo, mucosa, rtol=0.35, atol=0)


@pytest.mark.parametrize("surface", list(PolypSurface))
def test_reflectances_stay_reflectances_and_vary_over_the_surface(surface: PolypSurface) -> None:
    numbers = draw_polyp_colour(torch.Generator().manual_seed(1), surface, wall())
    assert numbers.shape == (NUMBERS,)
    albedo = polyp_albedo(numbers, surface_mm(9.0))
    assert albedo.shape == (3, 50, 60)
    assert albedo.min() > 0
    assert albedo.max() < 1
    assert albedo[1].std() > 0.005


def test_a_polyp_on_a_grey_wall_is_that_grey() -> None:
    draw = wall(coloured=False)
    numbers = draw_polyp_colour(torch.Generator().manual_seed(1), PolypSurface.ADENOMA, draw)
    albedo = polyp_albedo(numbers, surface_mm())
    torch.testing.assert_close(albedo, torch.full_like(albedo, draw.grey))


def test_the_pattern_is_smooth_so_close_points_look_alike() -> None:
    numbers = draw_polyp_colour(torch.Generator().manual_seed(1), PolypSurface.ADENOMA, wall())
    points = surface_mm()
    near = (polyp_albedo(numbers, points) - polyp_albedo(numbers, points + 0.01)).abs().max()
    far = (polyp_albedo(numbers, points) - polyp_albedo(numbers, points + 0.4)).abs().max()
    assert near < 0.03
    assert far > 2 * near


def test_polyps_side_by_side_are_polyps_one_by_one() -> None:
    generator = torch.Generator().manual_seed(1)
    two = torch.stack(
        [draw_polyp_colour(generator, k, wall()) for k in list(PolypSurface)[:2]]
    )  # (2, N)
    points = surface_mm()
    which = (torch.arange(60) % 2).expand(50, 60)
    mixed = polyp_albedo(two[which], points)
    for number in range(2):
        alone = polyp_albedo(two[number], points)
        torch.testing.assert_close(mixed[:, which == number], alone[:, which == number])


def test_points_without_three_coordinates_are_refused() -> None:
    numbers = draw_polyp_colour(torch.Generator().manual_seed(1), PolypSurface.FLAT, wall())
    with pytest.raises(ShapeError, match="points_mm"):
        polyp_albedo(numbers, torch.zeros(4, 2))
