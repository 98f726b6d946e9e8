"""The limits are what was measured (in brackets) with some room."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import ImageDraw
from tissue import (
    APERTURES,
    H,
    U,
    V,
    W,
    behind,
    glinting,
    glints,
    overlap,
    pil,
    recorded,
    tissue,
    write,
)
from torch import Tensor

from colondepth.errors import DataError, ShapeError
from colondepth.masks import find_aperture, find_specular, find_static_overlay, find_text

FINDERS = [find_aperture, find_specular, find_text, find_static_overlay]
PER_IMAGE = FINDERS[:3]
Finder = Callable[[Tensor], Tensor]


@pytest.mark.parametrize("shape", APERTURES)
@pytest.mark.parametrize(
    ("quality", "gain", "border"), [(90, 1.0, 0.0), (60, 1.0, 0.06), (80, 0.25, 0.03)]
)
def test_an_aperture_is_found_as_it_was_drawn(
    shape: str, quality: int, gain: float, border: float
) -> None:
    frame = behind(APERTURES[shape], tissue(gain=gain), border=border)
    lines = (4, 8, "ID 0471"), (4, 26, "M 63y"), (280, 285, "12:04:55")
    frame, _ = write(frame, *lines, size=13, colour="white")
    inside = find_aperture(recorded(frame, quality=quality))[0]
    assert overlap(inside, APERTURES[shape]) > 0.98


def test_the_black_lumen_stays_inside() -> None:
    inside = find_aperture(recorded(behind(APERTURES["octagon"], tissue())))[0].numpy()
    lumen = np.hypot(U - 0.57 * W, V - 0.44 * H) < 0.1 * H
    assert tissue().max(axis=0)[lumen].mean() < 0.15
    assert inside[lumen].all()


def test_a_second_picture_beside_the_view_is_outside() -> None:
    view = np.hypot(U - 250, V - 150) <= 140
    second = (U >= 8) & (U < 92) & (V >= 190) & (V < 260)
    inside = find_aperture(recorded(behind(view | second, np.maximum(tissue(), 0.1))))[0]
    assert overlap(inside, view) > 0.98


def test_a_detector_box_across_the_edge_moves_no_edge() -> None:
    drawn = pil(behind(APERTURES["octagon"], tissue()))
    ImageDraw.Draw(drawn).rectangle((320, 90, 398, 200), outline=(10, 40, 255), width=3)
    ImageDraw.Draw(drawn).rectangle((320, 72, 408, 90), fill=(10, 40, 255))
    inside = find_aperture(recorded(np.asarray(drawn).transpose(2, 0, 1) / 255))[0]
    assert overlap(inside, APERTURES["octagon"]) > 0.98


def test_letterbox_bars_are_outside() -> None:
    bars = (V >= 40) & (V < 255)
    bright = np.maximum(tissue(), 0.12)
    assert overlap(find_aperture(recorded(behind(bars, bright)))[0], bars) > 0.98


def test_an_image_without_a_border_is_inside_everywhere() -> None:
    assert find_aperture(recorded(np.maximum(tissue(), 0.2))).all()


def test_a_black_image_has_nothing_inside() -> None:
    black = torch.full((2, 3, H, W), 12 / 255)
    assert not find_aperture(black).any()
    assert not find_aperture(black, shared=True).any()


def test_a_part_that_is_dark_in_one_frame_is_learnt_from_the_others() -> None:
    shade = np.linspace(-1.2, 1.2, W)[None]
    lights = [np.clip(0.5 + sign * shade, 0, 1) for sign in (-1, 1, -1, 1, 1, -1)]
    aperture = APERTURES["octagon"]
    clip = torch.stack([recorded(behind(aperture, tissue(i) * x)) for i, x in enumerate(lights)])
    inside = find_aperture(clip, shared=True)
    assert inside.shape == (1, H, W)
    assert overlap(inside[0], aperture) > 0.98
    assert overlap(find_aperture(clip[0])[0], aperture) < 0.9


def test_a_clip_without_frames_has_no_shared_aperture() -> None:
    with pytest.raises(DataError, match="no frame"):
        find_aperture(torch.zeros(0, 3, H, W), shared=True)
    assert find_aperture(torch.zeros(0, 3, H, W)).shape == (0, 1, H, W)


def test_a_lit_ring_around_a_black_lumen_is_enough() -> None:
    aperture = APERTURES["circle"]
    ring = aperture & (np.hypot(U - 215, V - 141) >= 132 - 14)
    frame = recorded(behind(ring, np.maximum(tissue(), 0.3)))
    assert overlap(find_aperture(frame)[0], aperture) > 0.97


def test_an_aperture_cut_off_by_the_image_reaches_its_edge() -> None:
    frame = behind(APERTURES["octagon cut off by the image"], np.maximum(tissue(), 0.2))
    inside = find_aperture(recorded(frame))[0]
    assert inside[100:200, -1].all()
    assert inside[0, 240:330].all()
    assert inside[-1, 240:330].all()


def test_one_dark_corner_is_no_border() -> None:
    frame = np.maximum(tissue(), 0.2)
    frame[:, U + V < 26] = 0.02
    assert find_aperture(recorded(frame)).all()


@pytest.mark.parametrize("gain", [0.3, 1.0, 1.6])
def test_highlights_are_found_at_every_exposure(gain: float) -> None:
    light = glints()
    wall = np.maximum(tissue(), 0.05)
    image = (wall * (1 - 0.6 * light) + 0.6 * light) * gain
    specular = find_specular(recorded(image, noise=0.006))[0].numpy()
    assert specular[light > 0.5].mean() > 0.95  # sensitivity [0.97 to 1.00]
    assert (~specular)[light < 0.02].mean() > 0.98  # specificity [0.99 to 1.00]


def test_an_over_exposed_wall_is_not_specular() -> None:
    en_face = np.exp(-((np.hypot(U - 150, V - 160) / 75) ** 4))
    image = (tissue() + 1.5 * en_face).clip(0, 1)
    specular = find_specular(recorded(image))[0].numpy()
    assert (image.min(axis=0) == 1).mean() > 0.1
    assert specular[image.min(axis=0) == 1].mean() < 0.03


def test_wall_without_highlights_has_none() -> None:
    for gain in (0.2, 1.0, 1.8):
        frame = recorded(behind(APERTURES["circle"], tissue(gain=gain)))
        assert find_specular(frame).float().mean() < 0.001  # [0]


def test_a_pale_wall_at_the_edge_of_the_aperture_is_not_specular() -> None:
    pale = np.array([0.8, 0.7, 0.65])[:, None, None] * np.ones((3, H, W))
    assert find_specular(recorded(behind(APERTURES["circle"], pale))).float().mean() < 0.001  # [0]


@pytest.mark.parametrize("find", FINDERS)
def test_what_is_not_an_image_is_an_error(find: Finder) -> None:
    good = torch.rand(2, 3, 20, 30)
    with pytest.raises(ShapeError, match="expected"):
        find(good[:, :2])
    with pytest.raises(ShapeError, match="no pixel"):
        find(good[..., :0])
    with pytest.raises(DataError, match="uint8"):
        find((good * 255).byte())
    with pytest.raises(DataError, match="divide 8-bit"):
        find(good * 255)
    with pytest.raises(DataError, match="divide 8-bit"):
        find(good - 1)
    with pytest.raises(DataError, match="NaN"):
        find(torch.where(good > 0.9, torch.nan, good))


@pytest.mark.parametrize("find", PER_IMAGE[1:])
def test_an_aperture_of_another_size_or_kind_is_an_error(find: Callable[..., Tensor]) -> None:
    images = torch.rand(2, 3, 20, 30)
    with pytest.raises(ShapeError, match="W=30"):
        find(images, inside=torch.ones(2, 1, 20, 29, dtype=torch.bool))
    with pytest.raises(ShapeError, match="at most"):
        find(images[0], inside=torch.ones(2, 1, 20, 30, dtype=torch.bool))
    with pytest.raises(DataError, match="bool"):
        find(images, inside=torch.ones(2, 1, 20, 30))


@pytest.mark.parametrize("find", FINDERS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (8, 8), (9, 2), (23, 31)])
def test_tiny_images_have_masks_too(find: Finder, size: tuple[int, int]) -> None:
    for images in (torch.rand(4, 3, *size), torch.zeros(4, 3, *size), torch.ones(4, 3, *size)):
        found = find(images)
        assert found.dtype == torch.bool
        assert found.shape == ((1, *size) if find is find_static_overlay else (4, 1, *size))


@pytest.mark.parametrize("find", PER_IMAGE)
def test_a_batch_gives_what_its_images_give_and_leaves_them_alone(find: Finder) -> None:
    lines = (100, 60, "Caption 123"), (4, 5, "ID")
    frames = [
        recorded(write(behind(aperture, glinting(tissue(i))), *lines, size=20, colour="lime")[0])
        for i, aperture in enumerate(APERTURES.values())
    ][:4]
    batch = torch.stack(frames).reshape(2, 2, 3, H, W).double()
    before = batch.clone()
    found = find(batch)
    assert torch.equal(batch, before)
    assert found.shape == (2, 2, 1, H, W)
    assert found.flatten(0, 1).any(dim=-1).any(dim=-1).all()
    for one, image in zip(found.flatten(0, 1), frames, strict=True):
        assert torch.equal(one, find(image))


def test_a_given_aperture_gives_the_same_as_the_found_one() -> None:
    clip = torch.stack([recorded(behind(APERTURES["circle"], glinting(tissue(i)))) for i in (0, 1)])
    for find in (find_specular, find_text):
        assert torch.equal(find(clip), find(clip, inside=find_aperture(clip)))
        assert find(clip, inside=find_aperture(clip, shared=True)).shape == (2, 1, H, W)
