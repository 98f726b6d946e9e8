"""Defocus, motion and interlacing, against thin-lens numbers and moments of a point's image."""

import pytest
import torch
from scenes import H, W
from torch.testing import assert_close

from synthetic_colons.lens_blur import (
    along_motion,
    binomial,
    circle_of_confusion_px,
    continued,
    defocus,
    doubled,
    halved,
)
from synthetic_colons.lens_dirt import look_through

STILL = torch.zeros(2)
NO = torch.tensor([False, False])


def point(v: int, u: int, *, height: int = 64, width: int = 80) -> torch.Tensor:
    light = torch.zeros(2, 3, height, width, dtype=torch.float64)
    light[:, :, v, u] = 1
    return light


def variances(image: torch.Tensor, v: int, u: int) -> tuple[float, float]:
    rows = torch.arange(image.shape[-2], dtype=image.dtype)[:, None] - v
    columns = torch.arange(image.shape[-1], dtype=image.dtype) - u
    return (image * rows.square()).sum().item(), (image * columns.square()).sum().item()


def ramp(slope_u: float = 0.01, slope_v: float = 0.004) -> torch.Tensor:
    """Return light that grows linearly: a lookup between pixels is exact on it."""
    v, u = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    return (0.1 + slope_u * u + slope_v * v).double().expand(2, 3, H, W)


def flow(u_px: float, v_px: float) -> torch.Tensor:
    return torch.tensor([u_px, v_px], dtype=torch.float64)[:, None, None].expand(2, 2, H, W)


def test_the_circle_of_confusion_is_that_of_a_thin_lens():
    # f = 2, s = 10: the sensor stands at 1 / (1/2 - 1/10) = 2.5 mm. A point at 5 mm is imaged
    # at 1 / (1/2 - 1/5) = 10/3 mm, so a pupil of 0.6 mm leaves a disc of 0.6 (10/3 - 2.5) / (10/3)
    # = 0.15 mm. At 20 mm: 20/9 mm, 0.6 (2.5 - 20/9) / (20/9) = 0.075 mm. 100 px are 2 mm.
    depth = torch.zeros(2, 1, 2, 2)
    depth[0, 0] = torch.tensor([[5.0, 10.0], [20.0, 0.0]])
    depth[1, 0] = 1e6  # far away: 0.6 * 0.5 / 2 mm
    two = torch.ones(2)
    circle = circle_of_confusion_px(
        depth, focus_mm=10 * two, pupil_mm=0.6 * two, focal_mm=2 * two, focal_px=100 * two
    )
    assert_close(circle[0, 0], torch.tensor([[7.5, 0.0], [3.75, 0.0]]))
    assert circle[1, 0, 0, 0].item() == pytest.approx(7.5, rel=1e-4)


@pytest.mark.parametrize("circle_px", [1.0, 2.5, 5.0, 6.5, 9.0, 14.0])
@pytest.mark.parametrize(("v", "u"), [(30, 41), (33, 38)])
def test_defocus_keeps_the_light_and_has_the_variance_of_a_disc(circle_px, v, u):
    circle = torch.full((2, 1, 64, 80), circle_px, dtype=torch.float64)
    image = defocus(point(v, u), circle)[1, 2]
    assert image.sum().item() == pytest.approx(1)
    # A disc of diameter c has the variance c^2 / 16. Blocks of 4 px make it depend on the place.
    expected = pytest.approx(circle_px**2 / 16, rel=0.15)
    assert variances(image, v, u) == (expected, expected)


def test_defocus_leaves_sharp_images_and_flat_walls():
    light = torch.rand(2, 3, H, W)
    circle = torch.zeros(2, 1, H, W)
    circle[1] = 6
    assert bool((defocus(light, circle)[0] == light[0]).all())
    flat = torch.full((2, 3, 37, 43), 0.7)
    assert_close(defocus(flat, torch.full((2, 1, 37, 43), 9.0)), flat)


def test_every_blur_keeps_a_flat_wall_at_odd_sizes():
    flat = torch.full((2, 3, 37, 43), 0.3)
    assert_close(binomial(flat), flat)
    assert_close(doubled(halved(flat), (37, 43)), flat)
    share = torch.rand(2, 1, 37, 43)
    assert_close(look_through(flat, share, share.flip(-1)), flat)


def test_an_image_at_rest_is_unchanged_by_shutter_and_interlacing():
    light = torch.rand(2, 3, H, W)
    both = torch.tensor([True, True])
    still = along_motion(
        light, torch.zeros(2, 2, H, W), shutter_share=torch.ones(2), interlaced=both
    )
    assert bool((still == light).all())
    moving = flow(3, -2).float()
    closed = along_motion(light, moving, shutter_share=STILL, interlaced=NO)
    assert bool((closed == light).all())


def test_motion_blur_is_centred_and_as_long_as_the_shutter_is_open():
    moving = torch.tensor([6.0, 0.0], dtype=torch.float64)[:, None, None].expand(2, 2, 64, 80)
    share = torch.tensor([0.5, 1.0])
    image = along_motion(point(30, 41), moving, shutter_share=share, interlaced=NO)
    for row, length in enumerate((3.0, 6.0)):
        assert image[row, 0].sum().item() == pytest.approx(1)
        places = torch.arange(80.0).double() - 41
        assert (image[row, 0] * places).sum().item() == pytest.approx(0, abs=1e-6)
        reached = (image[row, 0, 30] > 1e-6).nonzero() - 41
        assert reached.abs().max().item() <= -(-length / 2 // 1)
        assert reached.max().item() >= length / 2
    assert image[:, :, :30].abs().max().item() < 1e-6


def test_interlaced_fields_are_half_a_frame_apart_along_the_flow():
    light, moving = ramp(), flow(4, 0)
    image = along_motion(light, moving, shutter_share=STILL, interlaced=torch.tensor([True, False]))
    middle = slice(8, W - 8)
    # The scene moves right by 4 px a frame: a quarter of a frame later, 1 px less of the ramp.
    late = (image - light)[0, :, 1::2, middle]
    early = (image - light)[0, :, ::2, middle]
    assert_close(late, torch.full_like(late, -0.01), atol=1e-6, rtol=0)
    assert_close(early, torch.full_like(early, 0.01), atol=1e-6, rtol=0)
    assert bool((image[1] == light[1]).all())


def test_drops_move_the_lookup_by_their_shift():
    light = ramp()
    image = along_motion(
        light, flow(0, 0), shutter_share=STILL, interlaced=NO, shift_px=flow(-2, 3)
    )
    inner = (image - light)[..., 8 : H - 8, 8 : W - 8]
    assert_close(inner, torch.full_like(inner, -2 * 0.01 + 3 * 0.004), atol=1e-6, rtol=0)


def test_light_goes_on_behind_the_border_from_what_is_beside_it():
    light = ramp()
    known = torch.zeros(2, 1, H, W, dtype=torch.bool)
    known[:, :, 6 : H - 6, 8 : W - 8] = True
    filled = continued(light * known, known)
    assert_close(filled.where(known, light), light)
    low, high = light[:, :, 6 : H - 6, 8 : W - 8].aminmax()
    assert filled.min() >= low - 1e-9
    assert filled.max() <= high + 1e-9
    beside = (filled - light)[:, :, 5, 8 : W - 8].abs()
    assert beside.max() < 0.04  # at a corner; the ramp itself spans 0.6
    assert continued(light, torch.ones_like(known)) is light
    assert not continued(light, torch.zeros_like(known)).any()
