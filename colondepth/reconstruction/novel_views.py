"""One view seen from places nearby, for teaching: what depth says of a picture, shown and not told.

Every pixel is lifted to its depth, moved, and drawn where it falls; the nearest wins. What the view
did not show is filled in from around it (Telea 2004, OpenCV's: fronts that march inwards), and is
said to be filled in. No measurement may be made on such pictures.
"""

from collections.abc import Iterator
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import reproject
from colondepth.motion import rigid_motion
from colondepth.shapes import require_shapes

REACH = 0.12  # of the median depth: how far a sweep goes sideways
FORWARD = 0.5  # of that, along the axis
BASELINE = 0.04  # of the median depth, between the two eyes of an anaglyph
_FILL_PX = 4.0  # radius that Telea's fronts look back
_THICK = 0.03  # of depth, that points of one wall may lie apart within a pixel


def novel_view(
    image: Tensor, depth_mm: Tensor, camera: Camera, target_from_source: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the picture from another place, and where it was seen and not filled in.

    Args:
        image: (3, H, W) in [0, 1].
        depth_mm: z-depth, 0 where unknown, shape (1, H, W).
        camera: of the view, without batch axes.
        target_from_source: rigid, (4, 4).

    Returns:
        Picture (3, H, W), and `seen` (1, H, W), False where it was filled in.
    """
    size = require_shapes(image=(image, "3 H W"), depth_mm=(depth_mm, "1 H W"))
    if not bool((depth_mm > 0).any()):
        raise DataError("the view has no depth; a picture from elsewhere needs some")
    height, width = size["H"], image.shape[-1]
    pixels, z, lands = reproject(depth_mm.float(), camera, target_from_source)
    keep = lands[0] & (z[0] > 0)
    u, v = pixels[keep].unbind(dim=-1)
    near, colour = z[0][keep], image[:, keep].float()  # (P,), (3, P)
    # Each point is drawn on the four pixels around it, so that a wall stays whole as it grows.
    left, top = u.floor().long(), v.floor().long()
    spots, weights = [], []
    for right in (0, 1):
        for low in (0, 1):
            column, row = left + right, top + low
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            weight = (1 - (u - column).abs()) * (1 - (v - row).abs())
            spots.append(torch.where(inside, row * width + column, height * width))
            weights.append(torch.where(inside, weight.clamp(min=1e-4), 0.0))
    spot, weight = torch.stack(spots), torch.stack(weights)  # (4, P)
    nearest = torch.full((height * width + 1,), torch.inf)
    nearest.scatter_reduce_(0, spot.flatten(), near.expand_as(spot).flatten(), "amin")
    # A wall of slanted pixels is several depths thick within one; what is behind it is not drawn.
    front = near <= nearest[spot] * (1 + _THICK)
    weight = weight * front
    total = torch.zeros(height * width + 1).scatter_add_(0, spot.flatten(), weight.flatten())
    summed = torch.zeros(3, height * width + 1)
    for channel in range(3):
        summed[channel].scatter_add_(0, spot.flatten(), (weight * colour[channel]).flatten())
    seen = (total[:-1] > 0.05).reshape(1, height, width)
    picture = (summed[:, :-1] / total[:-1].clamp(min=1e-6)).reshape(3, height, width)
    return _filled(picture, seen), seen


def sweep(
    image: Tensor, depth_mm: Tensor, camera: Camera, *, frames: int, reach: float = REACH
) -> Iterator[Tensor]:
    """Give the pictures of a round of places that begins and ends where the view was taken.

    Args:
        image: (3, H, W).
        depth_mm: (1, H, W).
        camera: of the view.
        frames: how many pictures.
        reach: how far to the sides, as a share of the median depth.
    """
    middle = _middle(depth_mm)
    for number in range(frames):
        turn = 2 * pi * number / frames
        swing = (
            reach
            * middle
            * np.array([np.sin(turn), 0.5 * np.sin(2 * turn), FORWARD * (1 - np.cos(turn))])
        )
        yield novel_view(image, depth_mm, camera, _shifted(-swing))[0]


def anaglyph(
    image: Tensor, depth_mm: Tensor, camera: Camera, *, baseline_mm: float | None = None
) -> Tensor:
    """Return the view for red-cyan glasses: red from the left eye, green and blue from the right.

    Args:
        image: (3, H, W).
        depth_mm: (1, H, W).
        camera: of the view.
        baseline_mm: between the eyes; by default `BASELINE` of the median depth.
    """
    half = (BASELINE * _middle(depth_mm) if baseline_mm is None else baseline_mm) / 2
    left, _ = novel_view(image, depth_mm, camera, _shifted(np.array([half, 0.0, 0.0])))
    right, _ = novel_view(image, depth_mm, camera, _shifted(np.array([-half, 0.0, 0.0])))
    return torch.cat([left[:1], right[1:]])


def _shifted(by_mm: NDArray[np.float64]) -> Tensor:
    return rigid_motion(torch.eye(3, dtype=torch.float64), torch.from_numpy(by_mm).double())


def _middle(depth_mm: Tensor) -> float:
    known = depth_mm[depth_mm > 0]
    if not known.numel():
        raise DataError("the view has no depth; a picture from elsewhere needs some")
    return float(known.median())


def _filled(picture: Tensor, seen: Tensor) -> Tensor:
    import cv2

    if bool(seen.all()):
        return picture
    pixels = (picture.clamp(0, 1) * 255).round().byte().movedim(0, -1).contiguous().numpy()
    holes = (~seen[0]).byte().numpy()
    filled = torch.from_numpy(cv2.inpaint(pixels, holes, _FILL_PX, cv2.INPAINT_TELEA))
    return torch.where(seen, picture, filled.movedim(-1, 0).float() / 255)
