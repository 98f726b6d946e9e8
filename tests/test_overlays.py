"""Captions of known pixels, what could be taken for text, and real frames where they are at hand.

The limits are what was measured (in brackets) with some room.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy import ndimage
from tissue import (
    APERTURES,
    H,
    Map,
    U,
    V,
    W,
    behind,
    glinting,
    overlap,
    pil,
    recorded,
    tissue,
    write,
)
from torch import Tensor

from colondepth.masks import find_aperture, find_static_overlay, find_text

SAMPLES = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.parametrize("colour", ["white", "lime", "yellow", "cyan"])
@pytest.mark.parametrize("size", [15, 24])
def test_captions_are_found_and_little_else(colour: str, size: int) -> None:
    frame = behind(APERTURES["octagon"], tissue(2))
    lines = (100, 50, "Sigmoid 12:04:55"), (130, 220, "Patient A. Smith")
    frame, letters = write(frame, *lines, size=size, colour=colour)
    overlay = find_text(recorded(frame))[0].numpy()
    near = ndimage.binary_dilation(letters, iterations=5)
    assert overlay[letters].mean() > 0.9  # recall [0.998 to 1.000]
    assert near[overlay].mean() > 0.97  # precision [0.992 to 1.000]


def test_icons_in_the_border_are_overlay() -> None:
    frame = behind(APERTURES["circle"], tissue(2))
    frame[:, 20:40, 10:50] = 0.7
    overlay = find_text(recorded(frame))[0].numpy()
    assert overlay[20:40, 10:50].all()
    assert overlay.sum() < 1.6 * 20 * 40


def test_a_detector_box_is_overlay_and_its_content_is_not() -> None:
    drawn = pil(behind(APERTURES["octagon"], tissue()))
    ImageDraw.Draw(drawn).rectangle((120, 90, 220, 200), outline=(0, 255, 0), width=3)
    overlay = find_text(recorded(np.asarray(drawn).transpose(2, 0, 1) / 255))[0].numpy()
    assert overlay[91, 120:220].all()
    assert overlay[90:200, 219].all()
    assert not overlay[100:190, 130:210].any()


def _dyed(image: Map) -> Map:
    """Indigo carmine: blue pools with soft edges."""
    pools = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((H, W)), 7)
    amount = (0.5 + 0.5 * pools / pools.std()).clip(0, 1)[None]
    return image * (1 - amount) + amount * image[:1] * np.array([0.35, 0.45, 0.8])[:, None, None]


def _narrow_band(image: Map) -> Map:
    return image[[1, 0, 2]] * np.array([1.2, 0.75, 1.1])[:, None, None]


@pytest.mark.parametrize("look", [np.copy, glinting, _dyed, _narrow_band])
def test_tissue_is_not_mistaken_for_text(look: Callable[[Map], Map]) -> None:
    frame = recorded(behind(APERTURES["octagon"], look(tissue(4))))
    assert find_text(frame).float().mean() < 0.005  # [0]


def _moving(count: int) -> Map:
    wide = np.maximum(tissue(6, width=W + 8 * count), 0.05)
    return np.stack([wide[:, :, 8 * i : 8 * i + W] for i in range(count)])


def test_what_stands_still_in_a_moving_clip_is_overlay() -> None:
    blank = np.zeros((3, H, W))
    _, letters = write(blank, (120, 200, "LOGO"), size=30, colour="white")
    frames = _moving(12)
    frames[:, :, letters] = 0.6 * frames[:, :, letters] + 0.4  # half transparent
    clip = torch.stack([recorded(behind(APERTURES["octagon"], frame)) for frame in frames])
    overlay = find_static_overlay(clip)
    assert overlay.shape == (1, H, W)
    near = ndimage.binary_dilation(letters, iterations=8)
    assert overlay[0].numpy()[letters].mean() > 0.9
    assert near[overlay[0].numpy()].mean() > 0.9


def test_a_moving_clip_without_overlay_has_none() -> None:
    clip = [recorded(behind(APERTURES["octagon"], frame)) for frame in _moving(12)]
    assert not find_static_overlay(torch.stack(clip)).any()


def test_a_frozen_clip_proves_nothing() -> None:
    frame, _ = write(tissue(), (120, 200, "LOGO"), size=30, colour="white")
    frozen = recorded(frame)[None]
    assert not find_static_overlay(frozen).any()
    assert not find_static_overlay(frozen.expand(6, 3, H, W)).any()


def test_a_row_of_glints_is_not_text() -> None:
    u = (U - 90) % 16 - 8
    dots = (np.hypot(u / 4, (V - 200) / 5) <= 1) & (U > 90) & (U < 90 + 16 * 10)
    frame = behind(APERTURES["octagon"], tissue())
    frame[:, dots] = 0.95
    assert not find_text(recorded(frame)).any()


def _sample(pattern: str) -> Tensor:
    paths = sorted(SAMPLES.glob(pattern))
    if not paths:
        pytest.skip(f"no {pattern} in {SAMPLES}; these samples are not part of the project")
    image = np.asarray(Image.open(paths[0]).convert("RGB")).transpose(2, 0, 1) / 255
    return torch.from_numpy(image).float()


def _frames(name: str, *numbers: int) -> Tensor:
    path = SAMPLES / "real_video" / name
    if not path.is_file():
        pytest.skip(f"no {path}; these samples are not part of the project")
    av = pytest.importorskip("av")
    with av.open(str(path)) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    return torch.from_numpy(np.stack([frames[i] for i in numbers])).movedim(-1, 1).float() / 255


def test_real_frames_without_text_have_next_to_none() -> None:
    for pattern in ("etis_larib/images/2.png", "simcol3d/**/FrameBuffer_0000.png"):
        assert find_text(_sample(pattern)).float().mean() < 0.001


def test_a_real_caption_and_detector_box_are_found() -> None:
    clean, boxed, captioned = find_text(_frames("colonoscopy_overlay.mp4", 0, 105, 200))
    assert not clean.any()
    blue = _frames("colonoscopy_overlay.mp4", 105)[0]
    assert boxed[0][(blue[2] > 0.8) & (blue[0] < 0.2)].all()
    assert captioned[0, 20:32, 60:400].float().mean() > 0.5


def test_the_aperture_of_a_real_clip_is_one_octagon() -> None:
    clip = _frames("colonoscopy_overlay.mp4", *range(0, 250, 20))
    shared = find_aperture(clip, shared=True)[0].numpy()
    assert all(overlap(one[0], shared) > 0.97 for one in find_aperture(clip))
