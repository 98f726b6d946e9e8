"""Border, text and dirt: what masks say about them, and that the same draw gives the same."""

import pytest
import torch

from colondepth.errors import DataError
from colondepth.masks import find_aperture
from synthetic_colons.lens_dirt import draw_dirt, look_through
from synthetic_colons.on_screen_text import TextLayout, draw_lines, text_cover
from synthetic_colons.scope_border import BorderShape, Window, draw_window, window_share

HEIGHT, WIDTH = 200, 250


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def windows(shape: BorderShape, count: int = 6) -> torch.Tensor:
    window = draw_window(
        generator(), HEIGHT, WIDTH, shapes=[shape] * count, edge_px=torch.full((count,), 1.5)
    )
    return window_share(window, HEIGHT, WIDTH)


@pytest.mark.parametrize("shape", list(BorderShape))
def test_the_aperture_that_masks_find_is_the_one_that_was_drawn(shape):
    share = windows(shape)
    noise = torch.randn(share.shape, generator=generator(1)) * 0.01
    wall = torch.tensor([0.7, 0.45, 0.4])[:, None, None] + noise
    found = find_aperture((0.03 + share * (wall - 0.03)).clamp(0, 1))
    inside = share > 0.5
    both = (found & inside).flatten(start_dim=1).sum(dim=1)
    either = (found | inside).flatten(start_dim=1).sum(dim=1)
    assert (both / either).min().item() > 0.96


def test_full_frame_is_all_picture_and_others_have_black_corners():
    assert bool((windows(BorderShape.FULL) == 1).all())
    for shape in (BorderShape.OCTAGON, BorderShape.CIRCLE, BorderShape.CUT_CORNERS):
        share = windows(shape)
        corners = share[..., [0, 0, -1, -1], [0, -1, 0, -1]]
        assert corners.amin(dim=-1).max().item() == 0
        assert 0.3 < share.mean().item() < 0.95


def test_a_circle_covers_its_area_and_its_edge_is_as_wide_as_asked():
    window = Window(
        centre_px=torch.tensor([[120.0, 99.0], [125.0, 102.0]]),
        half_size_px=torch.full((2, 2), 1e6),
        cut_px=torch.full((2,), 1e6),
        radius_px=torch.tensor([80.0, 60.0]),
        edge_px=torch.tensor([1.0, 2.0]),
    )
    share = window_share(window, HEIGHT, WIDTH)
    area = share.flatten(start_dim=1).sum(dim=1)
    assert area.tolist() == pytest.approx([torch.pi * 6400, torch.pi * 3600], rel=2e-3)
    row = share[1, 0, 102, 180:190]  # the edge lies at u = 185
    assert row.tolist() == pytest.approx([1, 1, 1, 1, 1, 0.5, 0, 0, 0, 0])


@pytest.mark.parametrize("layout", [layout for layout in TextLayout if layout != "none"])
def test_text_is_written_inside_the_image_and_repeats_with_its_seed(layout):
    def write(seed: int) -> torch.Tensor:
        lines = draw_lines(generator(seed), HEIGHT, WIDTH, layout=layout, letter_side=0.05)
        return text_cover(lines, HEIGHT, WIDTH)

    cover = write(3)
    assert cover.shape == (1, HEIGHT, WIDTH)
    assert 20 < cover.sum().item() < 0.1 * HEIGHT * WIDTH
    assert bool((cover == write(3)).all())
    assert any(bool((cover != write(seed)).any()) for seed in (4, 5, 6))


def test_no_text_covers_nothing():
    lines = draw_lines(generator(), HEIGHT, WIDTH, layout=TextLayout.NONE, letter_side=0.05)
    assert lines == ()
    assert text_cover(lines, HEIGHT, WIDTH).abs().max().item() == 0


def test_text_in_an_image_of_no_size_is_refused():
    with pytest.raises(DataError, match="no room"):
        text_cover((), 0, 5)


def test_dirt_lies_only_on_the_lenses_that_have_it():
    dirt = draw_dirt(
        generator(2),
        HEIGHT,
        WIDTH,
        smear=torch.tensor([0.0, 0.8, 0.0]),
        haze=torch.tensor([0.0, 0.0, 0.3]),
        drops=torch.tensor([0, 0, 3]),
        drop_radius_side=(0.05, 0.12),
    )
    assert all(bool((values[0] == 0).all()) for values in (dirt.blurred, dirt.veil, dirt.shift_px))
    assert 0 < dirt.blurred[1].max().item() <= 0.8001
    assert bool((dirt.shift_px[1] == 0).all())
    assert dirt.veil[2].median().item() <= 0.3001
    assert dirt.shift_px[2].abs().max().item() > 1


def test_a_drop_turns_its_middle_upside_down():
    dirt = draw_dirt(
        generator(5),
        HEIGHT,
        WIDTH,
        smear=torch.zeros(2),
        haze=torch.zeros(2),
        drops=torch.ones(2),
        drop_radius_side=(0.1, 0.12),
    )
    at = dirt.blurred[1, 0].argmax()  # the middle is blurred most
    v, u = int(at // WIDTH), int(at % WIDTH)
    v, u = min(max(v, 3), HEIGHT - 4), min(max(u, 3), WIDTH - 4)
    seen = dirt.shift_px[1, 0, v, u - 2 : u + 3] + torch.arange(-2.0, 3.0)
    assert bool((seen.diff() < 0).all())  # further right one sees further left


def test_a_drop_in_the_dark_has_a_rim_that_shines():
    """Half of the image is bright; in the dark half rims are brighter than middles."""
    side = 120
    dirt = draw_dirt(
        generator(9),
        side,
        side + 9,
        smear=torch.zeros(6),
        haze=torch.zeros(6),
        drops=torch.ones(6),
        drop_radius_side=(0.1, 0.12),
    )
    light = torch.zeros(6, 3, side, side + 9)
    light[..., : side // 2] = 1.0
    seen = look_through(light, dirt.blurred, dirt.veil)
    tested = 0
    for row in range(6):
        at = int(dirt.blurred[row, 0].argmax())
        v, u = at // (side + 9), at % (side + 9)
        if u < 0.7 * side or u > side - 16 or not 16 < v < side - 16:
            continue
        ring = seen[row, 0, v - 15 : v + 16, u - 15 : u + 16].max()
        assert float(ring) > 1.5 * float(seen[row, 0, v, u])
        tested += 1
    assert tested
