"""Errors of many frames as one number: three orders of averaging, over batches and processes."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.testing import assert_close

from colondepth.errors import DataError
from evaluation.alignment import Alignment, fit
from evaluation.depth_errors import DEPTH_ERRORS, depth_errors
from evaluation.metrics import MeanOverClips, MeanOverFrames, MeanOverPixels, label

H, W = 5, 8


def frames(count=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    true = torch.rand(count, 1, H, W, generator=generator) * 40 + 5
    spread = torch.linspace(0.1, 1, count)[:, None, None, None]
    found = true * (spread * torch.randn(true.shape, generator=generator)).exp() * 2
    known = torch.rand(true.shape, generator=generator) < 0.6
    found[torch.rand(true.shape, generator=generator) < 0.1] = 0
    return found, true, known


def unlabelled(numbers, over, alignment=Alignment.NONE):
    names = [*DEPTH_ERRORS, "frames", "frames left out"]
    found = {name: label(name, alignment=alignment, over=over) for name in names}
    return {name: numbers[key].item() for name, key in found.items() if key in numbers}


def every(alignment=Alignment.NONE, **more):
    return (
        MeanOverFrames(alignment=alignment, **more),
        MeanOverClips(alignment=alignment, clips=2, **more),
        MeanOverPixels(alignment=alignment, **more),
    )


def fill(metric, found, true, known, clip):
    more = (clip,) if isinstance(metric, MeanOverClips) else ()
    metric.update(found, true, known, *more)


def test_frames_clips_and_pixels_are_averaged_as_worked_by_hand():
    true = torch.full((3, 1, 1, 4), 10.0)
    found = true + torch.tensor([1.0, 2.0, 6.0])[:, None, None, None]
    known = torch.ones_like(true, dtype=torch.bool)
    known[2, ..., 1:] = False  # 4 + 4 pixels in the clip of two frames, 1 in the other
    values = {}
    for metric, over in zip(every(), ("frames", "clips", "pixels"), strict=True):
        fill(metric, found, true, known, torch.tensor([0, 0, 1]))
        values[over] = unlabelled(metric.compute(), over)
        assert (values[over]["frames"], values[over]["frames left out"]) == (3, 0)
    assert values["frames"]["abs_rel"] == pytest.approx((0.1 + 0.2 + 0.6) / 3)
    assert values["clips"]["abs_rel"] == pytest.approx(((0.1 + 0.2) / 2 + 0.6) / 2)
    assert values["pixels"]["abs_rel"] == pytest.approx((4 * 0.1 + 4 * 0.2 + 0.6) / 9)
    assert values["frames"]["rmse_mm"] == pytest.approx((1 + 2 + 6) / 3)
    assert values["clips"]["rmse_mm"] == pytest.approx((1.5 + 6) / 2)
    assert values["pixels"]["rmse_mm"] == pytest.approx(math.sqrt((4 * 1 + 4 * 4 + 36) / 9))


def test_a_number_is_called_by_how_it_was_made():
    metric = MeanOverFrames(alignment=Alignment.MEDIAN)
    metric.update(*frames())
    assert "abs_rel | alignment median | over frames" in metric.compute()


@pytest.mark.parametrize("alignment", Alignment)
def test_every_frame_is_aligned_by_itself_first(alignment):
    found, true, known = frames()
    aligned = fit(found, true, known, alignment=alignment).applied(found)
    wanted = {name: v.mean().item() for name, v in depth_errors(aligned, true, known).items()}
    metric = MeanOverFrames(alignment=alignment)
    metric.update(found, true, known)
    numbers = unlabelled(metric.compute(), "frames", alignment)
    assert numbers == pytest.approx(wanted | {"frames": 6, "frames left out": 0})


def test_over_pixels_is_the_error_of_one_large_frame_without_its_median():
    found, true, known = frames()
    metric = MeanOverPixels(alignment=Alignment.NONE)
    metric.update(found, true, known)
    whole = depth_errors(*(m.reshape(1, 1, -1, W) for m in (found, true, known)))
    wanted = {name: value.item() for name, value in whole.items() if name != "median_rel"}
    numbers = unlabelled(metric.compute(), "pixels")
    assert numbers == pytest.approx(wanted | {"frames": 6, "frames left out": 0})


@pytest.mark.parametrize("number", range(3))
def test_batches_of_any_size_give_one_answer_and_forward_the_batchs_own(number):
    found, true, known = frames()
    clip = torch.tensor([0, 1, 0, 1, 1, 1])
    whole, cut = every()[number], every()[number]
    fill(whole, found, true, known, clip)
    for part in (slice(0, 1), slice(1, 5)):
        fill(cut, found[part], true[part], known[part], clip[part])
    of_batch = cut(found[5:], true[5:], known[5:], *((clip[5:],) if number == 1 else ()))
    assert_close(cut.compute(), whole.compute())
    alone = every()[number]
    fill(alone, found[5:], true[5:], known[5:], clip[5:])
    assert_close(of_batch, alone.compute())
    cut.reset()
    fill(cut, found[5:], true[5:], known[5:], clip[5:])
    assert_close(cut.compute(), alone.compute())


def test_a_frame_without_an_error_is_left_out_and_counted():
    found, true, known = frames()
    clip = torch.tensor([0, 0, 0, 0, 1, 1])
    known[4:] = False  # all of clip 1
    found[0] = 0  # known and not answered
    for metric, over in zip(every(), ("frames", "clips", "pixels"), strict=True):
        fill(metric, found, true, known, clip)
        numbers = unlabelled(metric.compute(), over)
        assert (numbers["frames"], numbers["frames left out"]) == (3, 3)
        kept = every()[("frames", "clips", "pixels").index(over)]
        fill(kept, found[1:4], true[1:4], known[1:4], clip[1:4])
        wanted = unlabelled(kept.compute(), over)
        assert numbers["abs_rel"] == pytest.approx(wanted["abs_rel"])
        assert numbers["answered"] < wanted["answered"]


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_nothing_at_all_gives_nan():
    found, true, known = frames()
    for fed in (False, True):
        for metric, over in zip(every(), ("frames", "clips", "pixels"), strict=True):
            if fed:
                fill(metric, found, true, torch.zeros_like(known), torch.zeros(6).long())
            numbers = unlabelled(metric.compute(), over)
            assert (numbers.pop("frames"), numbers.pop("frames left out")) == (0, 6 * fed)
            assert all(math.isnan(value) for value in numbers.values())


def test_half_precision_changes_nothing_about_the_sums():
    metric = MeanOverFrames(alignment=Alignment.NONE).half()
    metric.update(*frames())
    assert {value.dtype for value in metric.compute().values()} == {torch.float64, torch.int64}


def test_a_clip_that_does_not_exist_is_refused():
    given = frames(2)
    metric = MeanOverClips(alignment=Alignment.NONE, clips=2)
    with pytest.raises(DataError, match="numbers from 1 to 2, expected 0 to 1"):
        metric.update(*given, torch.tensor([1, 2]))
    with pytest.raises(DataError, match=r"clip has shape \(3,\).*expected \(2,\) whole numbers"):
        metric.update(*given, torch.tensor([0, 1, 1]))
    with pytest.raises(DataError, match="clips is 0, expected 1 or more"):
        MeanOverClips(alignment=Alignment.NONE, clips=0)


def test_two_processes_find_what_one_does():
    clip = torch.tensor([0, 1, 0, 1, 1, 1])
    parts = (slice(0, 2), slice(2, 6))  # clip 1 is in both
    for number, whole in enumerate(every(Alignment.MEDIAN)):
        fill(whole, *frames(), clip)
        meeting, shown = Barrier(2, timeout=20), [torch.zeros(0)] * 2

        def answer(rank, number=number, meeting=meeting, shown=shown):
            def gathered(state, group=None):
                """What torch.distributed.all_gather does, between threads."""
                shown[rank] = state.clone()
                meeting.wait()
                everyones = list(shown)
                meeting.wait()
                return everyones

            metric = every(
                Alignment.MEDIAN, dist_sync_fn=gathered, distributed_available_fn=lambda: True
            )[number]
            fill(metric, *(m[parts[rank]] for m in (*frames(), clip)))
            return metric.compute()

        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(answer, range(2)))
        for found in answers:
            assert_close(found, whole.compute())
