"""Exposure, vignetting and the sRGB curve, against the standard's numbers and closed forms."""

import math

import pytest
import torch
from scenes import H, W, cameras
from torch.testing import assert_close

from colondepth.errors import DataError
from synthetic_colons.electronics import ExposureState, bloom, clipped, coded, settle, sharpened
from synthetic_colons.exposure import (
    TARGET_LUMINANCE,
    automatic_exposure,
    develop,
    linear_from_srgb,
    luminance,
    metered_luminance,
    srgb_from_linear,
    vignetting,
)


def wall(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, H, W, generator=torch.Generator().manual_seed(3)) + 0.1


def test_srgb_has_the_values_of_published_tables():
    # 8-bit codes and their linear shares, as any table of IEC 61966-2-1 lists them.
    codes = torch.tensor([0, 10, 64, 128, 188, 255], dtype=torch.float64) / 255
    shares = torch.tensor([0, 0.003035, 0.051269, 0.215861, 0.502886, 1], dtype=torch.float64)
    assert_close(linear_from_srgb(codes), shares, atol=1e-6, rtol=0)
    assert_close(srgb_from_linear(shares), codes, atol=1e-5, rtol=0)


def test_the_srgb_curve_and_its_inverse_meet_for_every_8_bit_code():
    codes = torch.arange(256, dtype=torch.float64) / 255
    assert_close(srgb_from_linear(linear_from_srgb(codes)), codes, atol=1e-7, rtol=0)


def test_luminance_of_white_is_one_and_green_weighs_most():
    light = torch.eye(3)[:, :, None, None].expand(3, 3, H, W)
    each = luminance(light)[:, 0, 0, 0]
    assert each.sum().item() == pytest.approx(1)
    assert each.argmax().item() == 1


def test_automatic_exposure_forgives_any_brightness():
    light = wall()
    factor = automatic_exposure(light)
    assert_close(automatic_exposure(7 * light), factor / 7)
    assert_close(metered_luminance(light * factor[:, None, None, None]), torch.full((2,), 0.42))
    assert TARGET_LUMINANCE == 0.42


def test_highlights_on_a_hundredth_of_the_wall_do_not_darken_it():
    light = torch.full((2, 3, H, W), 0.3)
    glare = light.clone()
    glare[..., ::10, ::10] = 500
    assert_close(automatic_exposure(glare), automatic_exposure(light))


def test_what_lies_outside_the_aperture_is_not_metered():
    light = wall()
    inside = torch.zeros(2, 1, H, W, dtype=torch.bool)
    inside[..., 5:30, 9:40] = True
    dirty = torch.where(inside, light, 1000.0)
    assert_close(automatic_exposure(dirty, inside=inside), automatic_exposure(light, inside=inside))


def test_the_meter_follows_its_weights():
    light = torch.ones(2, 3, H, W)
    light[..., : W // 2] = 0.1
    left = (torch.arange(W) < W // 2).float().expand(2, 1, H, W)
    assert metered_luminance(light, weight=left).tolist() == pytest.approx([0.1, 0.1])
    assert metered_luminance(light, weight=1 - left).tolist() == pytest.approx([1, 1])


def test_a_black_or_covered_image_is_exposed_by_one():
    assert automatic_exposure(torch.zeros(2, 3, H, W)).tolist() == [1, 1]
    nowhere = torch.zeros(2, 1, H, W, dtype=torch.bool)
    assert automatic_exposure(wall(), inside=nowhere).tolist() == [1, 1]


def test_developing_is_exposure_balance_vignette_and_curve():
    light, exposure = wall(), torch.tensor([0.4, 0.7])
    balance = torch.tensor([[1.1, 1, 0.8], [0.9, 1, 1.2]])
    vignette = torch.rand(1, 1, H, W, generator=torch.Generator().manual_seed(1))
    image = develop(light, exposure, white_balance=balance, vignette=vignette)
    expected = exposure[1] * balance[1, 2] * vignette[0, 0, 4, 7] * light[1, 2, 4, 7]
    assert linear_from_srgb(image)[1, 2, 4, 7].item() == pytest.approx(expected.item(), abs=1e-6)
    assert image.shape == light.shape


def test_developing_refuses_an_exposure_of_nothing():
    with pytest.raises(DataError, match="must be positive"):
        develop(wall(), torch.tensor([0.4, 0]))


def test_vignetting_is_the_cosine_law_and_power_zero_none():
    rays = cameras()["pinhole"].rays(H, W)[None].float()
    share = vignetting(rays, torch.tensor([4.0]))[0, 0]
    slope = (torch.tensor(40 - 23.3) / 40.0) ** 2 + (torch.tensor(30 - 17.6) / 44.0) ** 2
    assert share[30, 40].item() == pytest.approx((1 + slope.item()) ** -2, rel=1e-5)
    assert bool((vignetting(rays, 0.0) == 1).all())


def test_exposure_overshoots_a_step_as_a_damped_spring_does():
    rate, damping = torch.tensor([0.05, 0.08]), torch.tensor([0.3, 0.6])
    state = ExposureState(log_exposure=torch.zeros(2), log_exposure_rate=torch.zeros(2))
    target = torch.full((2,), math.e)
    track = []
    for _ in range(400):
        state = settle(target, state, rate=rate, damping=damping)
        track.append(state.log_exposure)
    track = torch.stack(track)
    overshoot = torch.exp(-math.pi * damping / (1 - damping.square()).sqrt())
    assert_close(track.amax(dim=0) - 1, overshoot, atol=2e-3, rtol=0)
    assert_close(track[-1], torch.ones(2), atol=5e-3, rtol=0)


def test_exposure_without_lag_or_history_is_what_the_meter_asks_for():
    target, zero = torch.tensor([0.5, 3.0]), torch.zeros(2)
    before = ExposureState(log_exposure=torch.ones(2), log_exposure_rate=torch.ones(2))
    at_once = settle(target, before, rate=zero, damping=torch.tensor([0.5, 0.7]))
    first = settle(target, None, rate=torch.ones(2), damping=torch.tensor([0.5, 0.7]))
    assert_close(at_once.log_exposure.exp(), target)
    assert_close(first.log_exposure.exp(), target)


def test_two_half_frames_of_exposure_are_one_frame():
    before = ExposureState(
        log_exposure=torch.tensor([0.7, -1.0]), log_exposure_rate=torch.tensor([0.2, -0.1])
    )
    target, rate, damping = torch.ones(2), torch.tensor([0.6, 0.3]), torch.tensor([0.4, 0.8])
    whole = settle(target, before, rate=rate, damping=damping)
    # In units of half frames, rates and speeds are half as large.
    half = ExposureState(
        log_exposure=before.log_exposure, log_exposure_rate=before.log_exposure_rate / 2
    )
    for _ in range(2):
        half = settle(target, half, rate=rate / 2, damping=damping)
    assert_close(half.log_exposure, whole.log_exposure)
    assert_close(2 * half.log_exposure_rate, whole.log_exposure_rate)


def test_the_shoulder_leaves_the_line_smoothly_and_reaches_one():
    light = torch.linspace(0, 3, H * W * 3, dtype=torch.float64).view(1, 3, H, W).repeat(2, 1, 1, 1)
    out = clipped(light, torch.tensor([0.8, 1.0], dtype=torch.float64)).flatten(start_dim=1)
    x = light[0].flatten()
    assert_close(out[0][x < 0.8], x[x < 0.8])
    assert_close(out[0][x > 1.2], torch.ones_like(x[x > 1.2]))
    assert_close(out[1], x.clamp(max=1))
    slope = out[0].diff() / x.diff()
    assert slope.max().item() <= 1 + 1e-6
    assert slope.diff().abs().max().item() < 0.01  # no corner anywhere


def test_bloom_leaves_what_is_not_saturated_far_from_it():
    light = torch.full((2, 3, H, W), 0.2)
    light[1, :, 10:12, 20:22] = 4
    glowing = bloom(light, torch.tensor([0.5, 0.5]))
    assert_close(glowing[0], light[0])
    assert glowing[1, 0, 13, 21].item() > 0.22
    assert glowing[1, 0, -1, 0].item() == pytest.approx(0.2)
    added = (glowing - light)[1, 0].sum().item()
    assert added == pytest.approx(0.5 * 4 * 3, rel=1e-5)  # strength, pixels, excess


def test_a_power_law_and_srgb_live_in_one_batch():
    light = wall() / 1.1
    out = coded(light, torch.tensor([0.0, 2.2]))
    assert_close(out[0], srgb_from_linear(light)[0])
    assert_close(out[1], light[1] ** (1 / 2.2))
    assert coded(torch.zeros(2, 3, H, W), torch.tensor([2.2, 1.8])).abs().max().item() < 1e-7


def test_sharpening_overshoots_edges_and_leaves_flat_wall():
    image = torch.full((2, 3, H, W), 0.3)
    image[..., W // 2 :] = 0.6
    out = sharpened(image, torch.tensor([0.8, 0.0]))
    assert out[0].max().item() > 0.65
    assert out[0].min().item() < 0.25
    assert_close(out[0, :, :, :10], image[0, :, :, :10])
    assert bool((out[1] == image[1]).all())
