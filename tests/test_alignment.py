"""What is fitted to the truth before depth is judged, beside numpy and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize
from torch.testing import assert_close

from colondepth.errors import ShapeError
from evaluation.alignment import CLIP_SAMPLE_STEP, LEAST_DEPTH_MM, Alignment, Pooling, clip_fit, fit
from evaluation.depth_errors import depth_errors

B, H, W = 3, 6, 11
FITTED = [alignment for alignment in Alignment if alignment is not Alignment.NONE]
FACTORS = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)


def frames(seed=0, count=B, height=H, width=W):
    """Frames with gaps in truth, in the mask and in the prediction, off by scale and shift."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(count, 1, height, width, generator=generator) * 60 + 5
    found = true * (torch.rand(true.shape, generator=generator) * 0.4 + 0.8) * 0.6 + 2
    known = torch.rand(true.shape, generator=generator) < 0.7
    true[torch.rand(true.shape, generator=generator) < 0.1] = 0
    found[torch.rand(true.shape, generator=generator) < 0.1] = 0
    found[torch.rand(true.shape, generator=generator) < 0.1] = math.nan
    return found, true, known


def pixels(found, true, known):
    """The pixels that a fit may look at, found and true, as numpy sees them."""
    inside = known & (true > 0) & (found > 0)
    return found[inside].double().numpy(), true[inside].double().numpy()


def each(found, true, known):
    return [pixels(*frame) for frame in zip(found, true, known, strict=True)]


@pytest.mark.parametrize("alignment", FITTED)
def test_what_was_scaled_comes_back(alignment):
    _, true, known = frames()
    true = true.double()
    fitted = fit(true / FACTORS[:, None, None, None], true, known, alignment=alignment)
    assert_close(fitted.scale, FACTORS, rtol=1e-7, atol=0)
    assert_close(fitted.shift_mm, torch.zeros(B, dtype=torch.float64), rtol=0, atol=1e-9)
    brought = fitted.applied(true / FACTORS[:, None, None, None])
    assert_close(brought, true, rtol=1e-7, atol=0)


def test_without_alignment_nothing_moves_even_in_an_empty_frame():
    found, true, known = frames()
    fitted = fit(found, true, torch.zeros_like(known), alignment=Alignment.NONE)
    assert fitted.scale.tolist() == [1] * B
    assert fitted.shift_mm.tolist() == [0] * B
    assert_close(fitted.applied(found), found.double().nan_to_num(nan=0), atol=0, rtol=0)


def test_median_is_numpys_ratio_of_medians():
    found, true, known = frames()
    scale = fit(found, true, known, alignment=Alignment.MEDIAN).scale
    for k, (f, t) in enumerate(each(found, true, known)):
        assert float(scale[k]) == pytest.approx(np.median(t) / np.median(f), rel=1e-6)


def test_least_squares_are_those_of_numpy():
    found, true, known = frames()
    one = fit(found, true, known, alignment=Alignment.LEAST_SQUARES)
    two = fit(found, true, known, alignment=Alignment.SCALE_SHIFT)
    for k, (f, t) in enumerate(each(found, true, known)):
        wanted = np.linalg.lstsq(f[:, None], t, rcond=None)[0]
        assert float(one.scale[k]) == pytest.approx(wanted[0], rel=1e-12)
        wanted = np.linalg.lstsq(np.stack([f, np.ones_like(f)], axis=1), t, rcond=None)[0]
        assert [float(two.scale[k]), float(two.shift_mm[k])] == pytest.approx(wanted, rel=1e-9)
    assert (two.shift_mm.abs() > 0.5).all()


@pytest.mark.parametrize("seed", range(4))
def test_robust_is_as_good_as_what_scipy_finds_anywhere(seed):
    found, true, known = frames(seed, height=15, width=21)
    scale = fit(found, true, known, alignment=Alignment.ROBUST).scale
    for k, (f, t) in enumerate(each(found, true, known)):

        def cost(s, f=f, t=t):
            return float(np.median((s * f - t) ** 2))

        ratios = t / f
        starts = np.linspace(ratios.min(), ratios.max(), 2000)
        best = starts[np.argmin([cost(s) for s in starts])]
        step = starts[1] - starts[0]
        local = optimize.minimize_scalar(cost, bounds=(best - step, best + step), method="bounded")
        # so few pixels make many dips, nearly as deep
        assert cost(float(scale[k])) <= min(local.fun, cost(best)) * 1.06
        assert cost(np.median(t) / np.median(f)) > cost(float(scale[k]))


def test_robust_stands_just_under_half_of_the_pixels_wrong_and_median_does_not():
    _, true, known = frames(height=15, width=21)
    true, known = true.double() + 1, torch.ones_like(known)
    spoilt = true / FACTORS[:, None, None, None]
    spoilt[..., :10] *= 5  # 10 of 21 columns
    robust, median = (
        fit(spoilt, true, known, alignment=a).scale for a in (Alignment.ROBUST, Alignment.MEDIAN)
    )
    assert_close(robust, FACTORS, rtol=1e-6, atol=0)
    assert (median < 0.9 * FACTORS).all()


def test_robust_looks_at_every_pixel_of_a_large_frame_in_the_end():
    found, true, known = frames(count=1, height=180, width=240)
    found = found.nan_to_num(nan=0)
    ((f, t),) = each(found, true, known)
    assert len(f) > 4 * 2048

    def cost(s):
        return np.median(np.abs(s * f - t))

    near = [cost(s) for s in np.linspace(1, 2, 200)]
    assert (
        cost(float(fit(found, true, known, alignment=Alignment.ROBUST).scale)) <= min(near) * 1.01
    )


@pytest.mark.parametrize("alignment", FITTED)
def test_found_in_another_unit_gives_the_same_depth(alignment):
    found, true, known = frames()
    fitted = fit(found, true, known, alignment=alignment)
    tenth = fit(found.double() / 10, true, known, alignment=alignment)
    assert_close(tenth.scale, 10 * fitted.scale, rtol=1e-5, atol=0)
    assert_close(tenth.applied(found.double() / 10), fitted.applied(found), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("alignment", FITTED)
def test_a_frame_with_nothing_to_look_at_gives_nan_and_its_neighbours_do_not(alignment):
    found, true, known = frames()
    known[1] = False
    found[2] = 0
    fitted = fit(found, true, known, alignment=alignment)
    assert fitted.scale.isnan().tolist() == [False, True, True]
    assert fitted.shift_mm.isnan().tolist() == [False, True, True]
    errors = depth_errors(fitted.applied(found), true, known)
    assert errors["abs_rel"].isnan().tolist() == [False, True, True]
    assert errors["answered"][2] == 0


@pytest.mark.parametrize("alignment", FITTED)
def test_one_pixel_is_enough(alignment):
    found, true, known = frames()
    known[:] = False
    known[:, :, 2, 4] = True
    found[:, :, 2, 4], true[:, :, 2, 4] = 8, 20
    fitted = fit(found, true, known, alignment=alignment)
    assert_close(fitted.applied(found)[:, 0, 2, 4], torch.full((B,), 20.0).double())


def test_pixels_off_the_mask_and_without_an_answer_do_not_pull_at_the_fit():
    found, true, known = frames()
    wild = torch.where(known, found, 1e6)
    wild_true = torch.where(known & (found > 0), true, 1e6)
    for alignment in FITTED:
        calm = fit(found, true, known, alignment=alignment)
        assert_close(fit(wild, true, known, alignment=alignment).scale, calm.scale)
        assert_close(fit(found, wild_true, known, alignment=alignment).scale, calm.scale)


def test_an_answer_stays_one_and_silence_stays_silent():
    true = torch.tensor([[[[10.0, 20, 30, 40]]], [[[40.0, 30, 20, 10]]]])
    found = torch.tensor([[[[30.0, 31, 32, 33]]], [[[1.0, 2, 3, 4]]]])
    fitted = fit(
        found, true, torch.ones_like(true, dtype=torch.bool), alignment=Alignment.SCALE_SHIFT
    )
    assert_close(fitted.scale, torch.tensor([10.0, -10.0]).double())  # the second runs against it
    assert_close(fitted.shift_mm, torch.tensor([-290.0, 50.0]).double())
    other = torch.tensor([[[[20.0, 0.0, math.nan, 30.0]]], [[[6.0, -1.0, math.inf, 1.0]]]])
    assert fitted.applied(other)[0, 0, 0].tolist() == pytest.approx([LEAST_DEPTH_MM, 0, 0, 10])
    assert fitted.applied(other)[1, 0, 0].tolist() == pytest.approx([LEAST_DEPTH_MM, 0, 0, 40])


def test_constant_depth_is_shifted_to_the_mean_of_the_truth():
    _, true, known = frames()
    flat = torch.full_like(true, 17.3)
    fitted = fit(flat, true, known, alignment=Alignment.SCALE_SHIFT)
    means = torch.tensor([t.mean() for _, t in each(flat, true, known)])
    assert fitted.scale.tolist() == [0] * B
    assert_close(fitted.applied(flat)[:, 0, 0, 0], means)


def batches(found, true, known, *sizes):
    return zip(*(m.split(sizes) for m in (found, true, known)), strict=True)


def test_least_squares_of_a_clip_are_numpys_over_all_its_pixels_however_it_is_cut():
    clip = frames(5, count=7)
    clip[2][3] = False
    f, t = pixels(*clip)
    one, two = (
        clip_fit(batches(*clip, 3, 1, 3), alignment=a, pooling=Pooling.PIXELS)
        for a in (Alignment.LEAST_SQUARES, Alignment.SCALE_SHIFT)
    )
    wanted = np.linalg.lstsq(np.stack([f, np.ones_like(f)], axis=1), t, rcond=None)[0]
    assert [two.scale.item(), two.shift_mm.item()] == pytest.approx(wanted, rel=1e-9)
    assert one.scale.item() == pytest.approx((f @ t) / (f @ f), rel=1e-12)
    assert one.scale.shape == one.shift_mm.shape == (1,)
    again = clip_fit(batches(*clip, 7), alignment=Alignment.LEAST_SQUARES, pooling=Pooling.PIXELS)
    assert_close(again.scale, one.scale)


def test_median_of_a_clip_is_near_that_of_all_its_pixels():
    clip = frames(6, count=12, height=64, width=80)
    f, t = pixels(*clip)
    fitted = clip_fit(batches(*clip, 5, 7), alignment=Alignment.MEDIAN, pooling=Pooling.PIXELS)
    # 35,000 pixels, of which 2,000 are looked at: a median of n has a deviation of 1 / sqrt(n)
    assert fitted.scale.item() == pytest.approx(np.median(t) / np.median(f), rel=0.03)
    exact = np.median(t) / np.median(f)
    assert fitted.scale.item() != exact
    repeated = [clip] * CLIP_SAMPLE_STEP
    assert clip_fit(
        iter(repeated), alignment=Alignment.MEDIAN, pooling=Pooling.PIXELS
    ).scale.item() == pytest.approx(fitted.scale.item(), rel=0.02)


def test_robust_of_a_clip_stands_frames_that_are_wrong():
    _, true, known = frames(7, count=9, height=16, width=20)
    true = true.double() + 1
    found = true / 1.7
    found[:4] *= 4
    clip = batches(found, true, known, 4, 5)
    fitted = clip_fit(clip, alignment=Alignment.ROBUST, pooling=Pooling.PIXELS)
    assert fitted.scale.item() == pytest.approx(1.7, rel=1e-6)


def test_frame_means_are_fitted_as_the_simcol3d_challenge_does():
    found, true, _ = (m[:, :, 1:] for m in frames(8, count=5))
    found, true = found.nan_to_num(nan=0) + 1, true + 1  # its script has no mask
    fitted = clip_fit(
        batches(found, true, torch.ones_like(true, dtype=torch.bool), 2, 3),
        alignment=Alignment.LEAST_SQUARES,
        pooling=Pooling.FRAME_MEANS,
    )
    preds, truths = (m.double().numpy().mean(axis=(1, 2, 3)) for m in (found, true))
    wanted = np.sum(preds * truths) / np.sum(preds * preds)
    assert fitted.scale.item() == pytest.approx(wanted, rel=1e-12)
    over_pixels = clip_fit(
        [(found, true, true > 0)], alignment=Alignment.LEAST_SQUARES, pooling=Pooling.PIXELS
    )
    assert fitted.scale.item() != pytest.approx(over_pixels.scale.item(), rel=1e-3)


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("alignment", FITTED)
def test_empty_frames_do_not_count_in_a_clip_and_an_empty_clip_gives_nan(alignment, pooling):
    found, true, known = frames(9, count=4, height=20, width=30)
    nowhere = torch.zeros_like(known)
    own = clip_fit([(found, true, known)], alignment=alignment, pooling=pooling)
    padded = [(found, true, nowhere), (found, true, known), (found * 0, true, known)]
    assert_close(clip_fit(padded, alignment=alignment, pooling=pooling).scale, own.scale)
    for empty in ([], [(found, true, nowhere)]):
        fitted = clip_fit(empty, alignment=alignment, pooling=pooling)
        assert fitted.scale.isnan().tolist() == fitted.shift_mm.isnan().tolist() == [True]


def test_a_fit_is_for_maps_with_a_channel():
    found, true, known = frames()
    fitted = fit(found, true, known, alignment=Alignment.MEDIAN)
    with pytest.raises(ShapeError, match=r"depth_mm has shape \(6, 11\), expected \(B 1 H W\)"):
        fitted.applied(found[0, 0])
