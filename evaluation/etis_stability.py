"""How much does predicted depth move when the image changes and the scene does not?

The image is mirrored, cropped, made brighter or darker, compressed, or its colours are turned; the
network answers again; the answer is brought back onto the first one's pixels and given the first
one's scale (the median ratio). What is left is the median |log ratio|: 0.05 means that half of the
pixels moved by 5 % or more.

What it can tell: that depth is not to be trusted, where it moves. What it cannot: that depth is
right, where it does not. A network that gives the same map for every image is perfectly stable
under all changes of light, and a smooth one more so than a sharp one. Compare networks with it only
together with another score.

On rendered polyps (`colondepth bench etis-scores`) it told a network from its tilted and mirrored
answers, but it preferred blurred ones and an untrained network's, and did NOT follow the true
error: it is a fault finder, no measure of quality.
"""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.remapping import crop_view, flip_view
from colondepth.shapes import require_bool, require_shapes

Predict = Callable[[Tensor, Camera], Tensor]  # image (3, H, W) and camera to z-depth (1, H, W)

CROP = 0.85  # of height and width that is kept, towards the lower right: the centre moves too
DARKER, BRIGHTER = 0.8, 1.2  # times the file's values, clamped at white
GAMMA = 1.25
JPEG_QUALITY = 50
HUE_RAD = 0.15  # in the plane of colour differences: a wrong white balance
LEAST_PIXELS = 100
# To luminance and two colour differences (ITU-R BT.601); its inverse leads back.
_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stability:
    """Median |log ratio| after each change; nan where too few pixels are known in both."""

    moved: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The mean over the changes that could be measured, nan where none could."""
        known = [each for each in self.moved.values() if each == each]
        return float(np.mean(known)) if known else float("nan")


def stability(
    depth_mm: Tensor, image: Tensor, camera: Camera, *, usable: Tensor, predict: Predict
) -> Stability:
    """Return how much depth moves under every change of the image.

    Args:
        depth_mm: what the network said about the image itself, (1, H, W), 0 where unknown.
        image: sRGB in [0, 1], (3, H, W).
        camera: of these pixels.
        usable: True where depth may be looked at, bool, (1, H, W).
        predict: the network.
    """
    pattern = "1 H W"
    require_shapes(depth_mm=(depth_mm, pattern), image=(image, "3 H W"), usable=(usable, pattern))
    require_bool(usable=usable)
    moved = {}
    for name, axis in (("mirrored", -1), ("upside down", -2)):
        view = flip_view({"image": image, "camera": camera}, ["image"], axis=axis, kinds={})
        back = predict(view["image"], view["camera"]).flip(axis)
        moved[name] = moved_by(depth_mm, back, usable)
    moved["cropped"] = _cropped(depth_mm, image, camera, usable, predict)
    for name, change in LIGHT_CHANGES.items():
        moved[name] = moved_by(depth_mm, predict(change(image), camera), usable)
    return Stability(moved=moved)


def moved_by(before_mm: Tensor, after_mm: Tensor, usable: Tensor) -> float:
    """Return the median |log ratio| of two depths of the same pixels after their median ratio."""
    known = usable & (before_mm > 0) & (after_mm > 0)
    if int(known.sum()) < LEAST_PIXELS:
        return float("nan")
    ratio = (after_mm[known].double() / before_mm[known].double()).log()
    return float((ratio - ratio.median()).abs().median())


def _cropped(
    depth_mm: Tensor, image: Tensor, camera: Camera, usable: Tensor, predict: Predict
) -> float:
    height, width = (round(CROP * side) for side in image.shape[-2:])
    top, left = image.shape[-2] - height, image.shape[-1] - width
    box = {"top": top, "left": left, "height": height, "width": width}
    view = crop_view({"image": image, "camera": camera}, ["image"], **box)
    kept = (..., slice(top, None), slice(left, None))
    return moved_by(depth_mm[kept], predict(view["image"], view["camera"]), usable[kept])


def _compressed(image: Tensor) -> Tensor:
    pixels = (image.movedim(0, -1) * 255).round().clamp(0, 255).byte().cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=JPEG_QUALITY)
    read = np.array(Image.open(file).convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(read).movedim(-1, 0).contiguous().to(image)


def _turned_hue(image: Tensor) -> Tensor:
    there = torch.tensor(_YIQ, dtype=torch.float64)
    c, s = np.cos(HUE_RAD), np.sin(HUE_RAD)
    turn = torch.tensor([[1, 0, 0], [0, c, -s], [0, s, c]], dtype=torch.float64)
    mixing = (torch.linalg.inv(there) @ turn @ there).to(image)
    return torch.einsum("ij,jhw->ihw", mixing, image).clamp(0, 1)


LIGHT_CHANGES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "darker": lambda image: image * DARKER,
    "brighter": lambda image: (image * BRIGHTER).clamp(max=1),
    "gamma": lambda image: image.clamp(min=0) ** GAMMA,
    "JPEG": _compressed,
    "hue": _turned_hue,
}
