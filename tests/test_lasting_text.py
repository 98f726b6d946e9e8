"""Moving boxes leave no trail of black behind them, and captions that come and go do not show."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import ImageDraw
from scipy import ndimage
from tissue import H, Map, Mask, W, pil, recorded, tissue, write

from colondepth.deidentification import Blanking, Removed, blank_frames
from colondepth.lasting_text import lasting_marks

NAME = "ERIKA MUSTERMANN 1964"
EVERYWHERE = Blanking(torch.ones(1, H, W, dtype=torch.bool), torch.zeros(1, H, W, dtype=torch.bool))
WALL, BOX = tissue(3), (110, 90, 70, 60)  # left, top, width, height
LETTERS = write(WALL, (80, 130, NAME), size=18, colour="white")[1]


def boxed(left: int, top: int) -> tuple[Map, Mask]:
    """A detector's box with its filled label, and the pixels of both."""
    frame, place = pil(WALL), pil(np.zeros_like(WALL))
    _, _, width, height = BOX
    for image, colour in ((frame, (20, 40, 250)), (place, (255, 255, 255))):
        draw = ImageDraw.Draw(image)
        draw.rectangle((left, top, left + width, top + height), outline=colour, width=2)
        draw.rectangle((left, top - 14, left + width, top), fill=colour)
    ImageDraw.Draw(frame).text((left + 3, top - 12), "id:2 0.93", fill="white")
    return np.asarray(frame).transpose(2, 0, 1) / 255, np.asarray(place)[..., 0] > 127


def captioned(opacity: float) -> Map:
    """The wall with the name on it, as opaque as that."""
    return WALL + opacity * LETTERS * (0.95 - WALL)


def blanked(frames: Sequence[Map]) -> list[Mask]:
    """Return what is black in the copies."""
    images = [recorded(frame).clamp(min=0.01) for frame in frames]
    return [(each.amax(dim=0) == 0).numpy() for each in blank_frames(images, EVERYWHERE, Removed())]


def test_a_box_that_moves_is_blanked_where_it_is_and_not_where_it_was():
    drawn = [boxed(60 + 16 * number, 60 + 10 * number) for number in range(12)]
    for black, (_, place) in zip(blanked([frame for frame, _ in drawn]), drawn, strict=True):
        assert black[place].all()
        trail = black & ~ndimage.binary_dilation(place, iterations=8)
        assert trail.sum() < 0.5 * place.sum()  # [0.14 to 0.35; all places together: 13]


def test_a_caption_that_a_detector_misses_now_and_then_never_shows():
    # At a fifth of its contrast no detector finds it, but who knows the name can read it.
    opacity = [1, 1, 0.2, 1, 1, 1, 0.2, 0.2, 1, 1]
    for number, black in enumerate(blanked([captioned(each) for each in opacity])):
        assert black[LETTERS].mean() > 0.97, number


def test_a_caption_is_blanked_while_it_fades_in_and_out():
    opacity = [0, 0, 0, 0, 0, 0.2, 0.4, 0.7, 1, 1, 1, 0.7, 0.4, 0.2, 0, 0, 0, 0, 0]
    for number, black in enumerate(blanked([captioned(each) for each in opacity])):
        if opacity[number]:
            assert black[LETTERS].mean() > 0.95, number
        elif opacity[max(0, number - 2) : number + 3] == [0] * 5:
            assert black[LETTERS].mean() < 0.2, number  # nothing to hide, the wall is seen


def test_a_moving_box_that_is_missed_in_one_frame_is_blanked_where_its_neighbours_have_it():
    (before, was), (here, place), (after, will) = (boxed(100 + 3 * k, 90) for k in range(3))
    nothing = np.zeros_like(place)
    found = lasting_marks(
        here.astype(np.float32),
        nothing,
        before=[(before.astype(np.float32), was)],
        after=[(after.astype(np.float32), will)],
    )
    assert (found == (was | will)).all()


@pytest.mark.parametrize("side", ["before", "after"])
def test_marks_of_one_side_alone_are_not_taken_over_where_the_wall_is_bare(side):
    frame, place = boxed(100, 90)
    around = {"before": [], "after": [], side: [(frame.astype(np.float32), place)]}
    nothing = np.zeros_like(place)
    found = lasting_marks(WALL.astype(np.float32), nothing, **around)
    assert found[place].mean() < 0.1
