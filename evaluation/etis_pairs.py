"""Do two near-duplicate views of one polyp get the same depth?

How pairs are found, without any label: images that stand at most `NEIGHBOURS` apart in the order of
their names (ETIS-Larib and CVC-ClinicDB number frames of one video in a row; in Kvasir-SEG names
mean nothing, so hardly a pair is found), whose masks differ in area by no more than `AREAS` times.
The mask of one is laid on the other's by a similarity, which is then refined to an affinity on the
grey values around the polyp (ECC; Evangelidis and Psarakis 2008). A pair counts if the images then
correlate by `LEAST_CORRELATION` there and the masks overlap by `LEAST_OVERLAP` (intersection over
union). The same polyp seen from elsewhere is missed; that is meant.

Depth of the second view is then laid on the first, given its scale (the median ratio) and compared
in the polyp and the ring around it: `moved` is the median |log ratio|, `relief_ratio` is |log| of
the ratio of the two heights after that scale, nan where either is not raised.

What it can tell: that depth is not the same for what looks the same. What it cannot: which of two
is right, and it forgives an error that both views share. Two views of a moved camera differ in true
depth as well, which sets a floor above zero.

On rendered pairs (`colondepth bench etis-scores`) `moved` saw noise, and did NOT rank true depth
over a network's nor follow the true error. It finds networks that waver, no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from colondepth.reconstruction.relief import Relief, mask_radius_px, ring_around
from colondepth.shapes import require_shapes
from evaluation.etis_stability import moved_by

Map = NDArray[np.float32]
Mask = NDArray[np.bool_]

NEIGHBOURS = 3
AREAS = 2.0
LEAST_CORRELATION = 0.7
LEAST_OVERLAP = 0.7
LEAST_RADIUS_PX = 4.0
_ROUNDS, _STEP = 60, 1e-4  # of ECC: steps at most, and the gain at which it stops


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Seen:
    """What is kept of an image to find its near-duplicates and to compare depth with them."""

    frame: str
    grey: Map  # (H, W)
    polyp: Mask  # (H, W)
    depth_mm: Tensor  # (1, H, W)
    relief: Relief | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Duplicate:
    """How a second view lies on a first one."""

    second_from_first: NDArray[np.float32]  # (2, 3), an affinity of pixels (u, v, 1)
    correlation: float
    overlap: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Two views of one polyp, how alike they look and how far their depths differ."""

    first: str
    second: str
    correlation: float
    overlap: float
    moved: float
    relief_ratio: float


def agreements(seen: Sequence[Seen]) -> list[Agreement]:
    """Return all near-duplicate pairs of images in the order of their names, of one size each."""
    found = []
    for place, first in enumerate(seen):
        for second in seen[place + 1 : place + 1 + NEIGHBOURS]:
            if first.grey.shape == second.grey.shape and (pair := agreement(first, second)):
                found.append(pair)
    return found


def agreement(first: Seen, second: Seen, duplicate: Duplicate | None = None) -> Agreement | None:
    """Return how far two views agree, None if they are no near-duplicates of one polyp.

    Args:
        first: one view.
        second: of the same size.
        duplicate: how they lie on each other; found if absent.
    """
    require_shapes(first=(first.depth_mm, "1 H W"), second=(second.depth_mm, "1 H W"))
    duplicate = duplicate or find_duplicate(first, second)
    if duplicate is None:
        return None
    depth = second.depth_mm[0].cpu().numpy().astype(np.float32)
    laid = torch.from_numpy(_warped(depth, duplicate.second_from_first, nearest=True))[None]
    own = first.depth_mm.cpu().float()
    usable = torch.from_numpy(first.polyp | ring_around(first.polyp))[None]
    return Agreement(
        first=first.frame,
        second=second.frame,
        correlation=duplicate.correlation,
        overlap=duplicate.overlap,
        moved=moved_by(own, laid, usable),
        relief_ratio=_relief_ratio(first.relief, second.relief, _scale(own, laid, usable)),
    )


def find_duplicate(first: Seen, second: Seen) -> Duplicate | None:
    """Return how the second view lies on the first, None if it is no near-duplicate."""
    areas = float(first.polyp.sum()), float(second.polyp.sum())
    small = min(mask_radius_px(each.polyp) for each in (first, second)) < LEAST_RADIUS_PX
    if small or max(areas) > AREAS * min(areas):
        return None
    around = first.polyp | ring_around(first.polyp)
    moved = _laid_on(first, second, around)
    if moved is None:
        return None
    second_from_first, correlation = moved
    polyp = _warped(second.polyp.astype(np.float32), second_from_first) > 0.5
    overlap = float((polyp & first.polyp).sum() / (polyp | first.polyp).sum())
    if correlation < LEAST_CORRELATION or overlap < LEAST_OVERLAP:
        return None
    return Duplicate(second_from_first=second_from_first, correlation=correlation, overlap=overlap)


def grey_of(image: Tensor) -> Map:
    """Return what pairs are found by: the mean of the channels, slightly smoothed, (H, W)."""
    require_shapes(image=(image, "3 H W"))
    smooth: Map = ndimage.gaussian_filter(image.mean(dim=0).cpu().numpy().astype(np.float32), 1.0)
    return smooth


def _laid_on(first: Seen, second: Seen, around: Mask) -> tuple[NDArray[np.float32], float] | None:
    """Return the affinity (2, 3) from pixels of the first to the second, and the correlation."""
    import cv2

    scale = float(np.sqrt(second.polyp.sum() / first.polyp.sum()))
    (v, u), (to_v, to_u) = (ndimage.center_of_mass(each.polyp) for each in (first, second))
    start = np.array([[scale, 0, to_u - scale * u], [0, scale, to_v - scale * v]], np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, _STEP)
    try:
        found = cv2.findTransformECC(
            first.grey,
            second.grey,
            start,
            cv2.MOTION_AFFINE,
            criteria,
            around.astype(np.uint8) * 255,
            5,
        )
    except cv2.error:  # it did not converge: these are no near-duplicates
        return None
    correlation, second_from_first = found
    return np.asarray(second_from_first, dtype=np.float32), float(correlation)


def _warped(values: Map, second_from_first: NDArray[np.float32], *, nearest: bool = False) -> Map:
    """Lay values (H, W) of the second view on the first; 0 where it does not show them."""
    import cv2

    height, width = values.shape
    how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    laid: Map = np.asarray(
        cv2.warpAffine(
            values, second_from_first, (width, height), flags=how | cv2.WARP_INVERSE_MAP
        ),
        dtype=np.float32,
    )
    return laid


def _scale(own: Tensor, laid: Tensor, usable: Tensor) -> float:
    known = usable & (own > 0) & (laid > 0)
    return float((own[known] / laid[known]).median()) if bool(known.any()) else float("nan")


def _relief_ratio(first: Relief | None, second: Relief | None, scale: float) -> float:
    if first is None or second is None:
        return float("nan")
    heights = first.height_mm, second.height_mm * scale
    if not all(height > 0 for height in heights):
        return float("nan")
    return abs(float(np.log(heights[0] / heights[1])))
