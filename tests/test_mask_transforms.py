"""The masks as transforms of a view; `test_masks` and `test_overlays` hold them to their truth."""

import numpy as np
import pytest
import torch
from monai.transforms import Compose
from tissue import behind, glinting, recorded, tissue, write

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.mask_transforms import ApertureMaskd, SpecularMaskd, TextMaskd
from colondepth.masks import find_aperture, find_specular, find_text
from colondepth.views import View, require_view

ALL = Compose([ApertureMaskd("image"), SpecularMaskd("image"), TextMaskd("image")])


@pytest.fixture(scope="module")
def view() -> View:
    wall = glinting(tissue())
    height, width = wall.shape[1:]
    v, u = np.mgrid[:height, :width]
    circle = np.hypot(u - 210, v - 145) < 150
    lettered, _ = write(behind(circle, wall), (8, 8, "PATIENT 0007"), size=20, colour="white")
    return View(image=recorded(lettered), camera=Camera.assumed(height, width))


def test_each_mask_is_what_the_function_finds_and_valid_is_what_is_left(view):
    new = ALL(view)
    inside = find_aperture(view["image"])
    assert torch.equal(new["inside"], inside)
    assert torch.equal(new["specular"], find_specular(view["image"], inside=inside))
    assert torch.equal(new["overlay"], find_text(view["image"], inside=inside))
    assert torch.equal(new["valid"], inside & ~new["specular"] & ~new["overlay"])
    assert 0.3 < new["valid"].float().mean() < 0.9
    assert new["specular"].any()
    assert new["overlay"][0, 10:26, 10:120].float().mean() > 0.5
    require_view(new)


def test_what_was_not_valid_before_stays_so(view):
    known = torch.zeros(1, *view["image"].shape[-2:], dtype=torch.bool)
    known[:, 50:250, 100:300] = True
    new = ALL({**view, "valid": known})
    assert not (new["valid"] & ~known).any()
    assert new["valid"].any()


def test_the_view_that_came_in_is_untouched(view):
    before = view["image"].clone()
    ALL(view)
    assert set(view) == {"image", "camera"}
    assert torch.equal(view["image"], before)


@pytest.mark.parametrize("mask", [ApertureMaskd, SpecularMaskd, TextMaskd])
def test_a_view_without_the_image_says_so(mask):
    with pytest.raises(DataError, match=r"lacks \['image'\]"):
        mask("image")({"camera": Camera.assumed(4, 5)})
    assert mask("image", allow_missing_keys=True)({"a": 1}) == {"a": 1}
