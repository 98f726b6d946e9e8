"""Frames that were spoilt on purpose are found out, and sound ones are not."""

import pytest
import torch
from tissue import glinting, tissue
from torch.nn.functional import avg_pool2d

from colondepth.data.quality import (
    Fault,
    Limits,
    fault_counts,
    judge_frames,
    measured_names,
    usable_share,
)
from colondepth.errors import DataError, ShapeError

SEEDS = range(12)


def sound(seed: int) -> torch.Tensor:
    return torch.from_numpy(glinting(tissue(seed))).float().clamp(0, 1)


def blurred(image: torch.Tensor) -> torch.Tensor:
    for width in (11, 9):
        image = avg_pool2d(image[None], width, 1, width // 2, count_include_pad=False)[0]
    return image


SPOILT = {
    Fault.BLURRED: blurred,
    Fault.DARK: lambda image: image * 0.08,
    Fault.BRIGHT: lambda image: (image * 6).clamp(0, 1),
    Fault.HAZE: lambda image: 0.3 * image + 0.6,
    Fault.OUTSIDE: lambda image: image.flip(0),  # a blue room
}


def faults(image: torch.Tensor) -> tuple[Fault, ...]:
    (quality,) = judge_frames([image], inside=torch.ones(1, *image.shape[-2:], dtype=torch.bool))
    return quality.faults


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_frame_has_the_fault_it_was_given(fault):
    found = [fault in faults(SPOILT[fault](sound(seed))) for seed in SEEDS]
    assert sum(found) >= 11


def test_a_sound_frame_is_usable():
    wrong = [faults(sound(seed)) for seed in SEEDS]
    assert sum(bool(set(each) - {Fault.EN_FACE}) for each in wrong) <= 1


def test_a_wall_without_a_lumen_is_en_face_and_still_usable():
    flat = 0.5 + 0.05 * sound(0)
    flat[0] += 0.2
    (quality,) = judge_frames([flat], inside=torch.ones(1, *flat.shape[-2:], dtype=torch.bool))
    assert Fault.EN_FACE not in faults(sound(0))
    assert Fault.EN_FACE in quality.faults
    assert quality.usable


def test_glare_is_the_share_of_highlights():
    image = sound(0)
    for row in range(20, 280, 24):
        for column in range(20, 380, 24):
            image[:, row : row + 10, column : column + 10] = 1
    assert Fault.GLARE in faults(image)
    assert Fault.GLARE not in faults(sound(0))


def test_a_repeated_frame_is_frozen_and_the_first_never_is():
    a, b = sound(0), sound(1)
    qualities = list(judge_frames([a, a, b, b + 1e-5, a]))
    assert [Fault.FROZEN in quality.faults for quality in qualities] == [0, 1, 0, 1, 0]
    assert qualities[0].change == float("inf")


def test_frames_are_taken_one_at_a_time():
    taken: list[int] = []

    def video():
        for number in range(5):
            taken.append(number)
            yield sound(number)

    judge = judge_frames(video())
    next(judge)
    assert taken == [0]


def test_a_black_start_does_not_settle_the_aperture():
    black = torch.zeros_like(sound(0))
    qualities = list(judge_frames([black, sound(0)]))
    assert qualities[0].faults == (Fault.DARK,)
    assert qualities[1].usable


def test_the_summary_counts_every_fault():
    images = [sound(0), sound(0), blurred(sound(1)), sound(2)]
    qualities = list(judge_frames(images))
    counts = fault_counts(qualities)
    assert counts[Fault.FROZEN] == 1
    assert counts[Fault.BLURRED] == 1
    assert usable_share(qualities) == 0.5
    assert usable_share([]) == 0
    assert "sharpness" in measured_names()


def test_limits_can_be_moved():
    image = sound(0)
    (strict,) = judge_frames([image], limits=Limits(sharpness_min=9.0))
    assert Fault.BLURRED in strict.faults


def test_a_frame_of_another_size_or_kind_is_refused():
    with pytest.raises(DataError, match="one size"):
        list(judge_frames([sound(0), sound(0)[:, :50]]))
    with pytest.raises(ShapeError, match="image has shape"):
        list(judge_frames([sound(0)[:1]]))
    with pytest.raises(DataError, match="uint8"):
        list(judge_frames([(sound(0) * 255).byte()]))
    tiny = torch.rand(3, 1, 1)
    assert len(list(judge_frames([tiny]))) == 1
