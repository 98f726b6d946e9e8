"""Do the breaks in predicted depth and normals lie on the border of the polyp's mask?

A break of depth is where log depth bends within a pixel; a break of normals is where they turn.
Each is thinned to its crests and compared with the mask's border at the threshold that suits it
best (F of Martin, Fowlkes and Malik 2004, within a tolerance, without one-to-one matching), in the
neighbourhood of the polyp alone: folds elsewhere have edges that no mask knows.

What it can tell: whether the polyp's outline is in the geometry at the right place. What it cannot:
how high the step is, its sign, or anything where a polyp rises gently, as most of its foot does
when seen from above. A copy of the image's own contours would score as well as true depth. Compare
it with `chance`, what calling every pixel a break would get.

On rendered polyps (`colondepth bench etis-scores`) both rank true depth over a network's and over
its blurred, noisy and mirrored copies; a tilt they cannot see. The F of normals did NOT tell a
network's depth from its own mirror image and hardly followed the true error.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import normals_from_depth
from colondepth.reconstruction.relief import mask_radius_px
from colondepth.shapes import require_bool, require_shapes

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Standard deviation, of depth alone, as in Canny's detector. Normals of smoothed depth turn beside
# a step and not at it: their F of true depth fell from 0.68 to 0.34 on rendered polyps (seed 11).
SMOOTH_PX = 1.0
TOLERANCE = 0.0075  # of the diagonal, as the Berkeley benchmark has it
LEAST_TOLERANCE_PX = 1.5
REACH = 1.0  # of the mask's radius: how far from the border breaks are looked for
LEAST_REACH_PX = 6.0
THRESHOLDS = 40
LEAST_BORDER_PX = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Borders:
    """Boundary F in [0, 1]; nan where the mask has no border inside the picture."""

    depth_f: float
    normals_f: float
    chance: float  # F of calling every pixel a break


def borders(depth_mm: Tensor, camera: Camera, *, polyp: Tensor, usable: Tensor) -> Borders:
    """Return how well breaks of geometry and the border of a mask lie on each other.

    Args:
        depth_mm: z-depth, (1, H, W), 0 where unknown.
        camera: of these pixels.
        polyp: True on one polyp, bool, (1, H, W).
        usable: True where depth may be looked at, bool, (1, H, W).
    """
    pattern = "1 H W"
    require_shapes(depth_mm=(depth_mm, pattern), polyp=(polyp, pattern), usable=(usable, pattern))
    require_bool(polyp=polyp, usable=usable)
    on, known = polyp[0].cpu().numpy(), (usable & (depth_mm > 0))[0].cpu().numpy()
    border = _border(on) & known
    if border.sum() < LEAST_BORDER_PX:
        return Borders(depth_f=float("nan"), normals_f=float("nan"), chance=float("nan"))
    away: Map = ndimage.distance_transform_edt(~border)
    near = known & (away <= max(LEAST_REACH_PX, REACH * mask_radius_px(on)))
    tolerance = max(LEAST_TOLERANCE_PX, TOLERANCE * float(np.hypot(*on.shape)))
    log_depth = _smooth(np.log(np.where(known, depth_mm[0].double().cpu().numpy(), 1.0)), known)
    normals = normals_from_depth(depth_mm.double(), camera).cpu().numpy()  # (3, H, W)
    turning = known & (np.abs(normals).max(axis=0) > 0)
    return Borders(
        depth_f=_best_f(_bend(log_depth[None], known), near, border, away, tolerance),
        normals_f=_best_f(_turn(normals, turning), near, border, away, tolerance),
        chance=_chance(near, border, away, tolerance),
    )


def _smooth(values: Map, known: Mask) -> Map:
    """Return the Gaussian mean of the known values around every pixel, (H, W)."""
    weight = ndimage.gaussian_filter(known.astype(np.float64), SMOOTH_PX, mode="nearest")
    sums = ndimage.gaussian_filter(np.where(known, values, 0.0), SMOOTH_PX, mode="nearest")
    mean: Map = sums / np.maximum(weight, np.finfo(float).tiny)
    return mean


def _border(polyp: Mask) -> Mask:
    """Return the mask's outermost pixels, without those on the edge of the picture."""
    grown = np.pad(polyp, 1, mode="edge")  # beyond the edge of a picture the polyp may go on
    inner = ndimage.binary_erosion(grown, iterations=1)[1:-1, 1:-1]
    found: Mask = polyp & ~inner
    return found


def _bend(values: Map, known: Mask) -> Map:
    """Return |second difference| across or down, whichever is larger, on its crests, (H, W)."""
    return _crests(
        [
            np.abs(ahead - 2 * values + behind).max(axis=0) * (known & both)
            for ahead, behind, both in _neighbours(values, known)
        ]
    )


def _turn(normals: Map, known: Mask) -> Map:
    """Return the sine of half the turn of normals across two pixels, on its crests, (H, W)."""
    return _crests(
        [
            np.linalg.norm(ahead - behind, axis=0) / 2 * (known & both)
            for ahead, behind, both in _neighbours(normals, known)
        ]
    )


def _neighbours(values: Map, known: Mask) -> list[tuple[Map, Map, Mask]]:
    """Return the next and the previous values (C, H, W) down and across, and where both are."""
    found = []
    for axis in (0, 1):
        ahead, behind = np.roll(values, -1, axis + 1), np.roll(values, 1, axis + 1)
        both = np.roll(known, -1, axis) & np.roll(known, 1, axis)
        edge = [slice(None), slice(None)]
        edge[axis] = slice(None, None, max(1, known.shape[axis] - 1))  # the first and the last
        both[tuple(edge)] = False
        found.append((ahead, behind, both))
    return found


def _crests(strengths: list[Map]) -> Map:
    """Keep each strength where it is the largest of three along its own axis, and join them."""
    kept = []
    for axis, strength in enumerate(strengths):
        size = (3, 1) if axis == 0 else (1, 3)
        largest = ndimage.maximum_filter(strength, size=size, mode="nearest")
        kept.append(np.where(strength >= largest, strength, 0.0))
    return np.maximum(*kept)


def _best_f(strength: Map, near: Mask, border: Mask, away: Map, tolerance: float) -> float:
    """Return F at the best of `THRESHOLDS` thresholds; 0 where nothing breaks at all."""
    strength = np.where(near, strength, 0.0)
    found = strength > np.finfo(np.float32).eps
    if not found.any():
        return 0.0
    reached = ndimage.maximum_filter(strength, footprint=_disc(tolerance))[border]
    values, right = strength[found], away[found] <= tolerance
    steps = np.unique(np.quantile(values, np.linspace(0, 1, THRESHOLDS, endpoint=False)))
    return max(_f(right[values >= step], reached >= step) for step in steps)


def _chance(near: Mask, border: Mask, away: Map, tolerance: float) -> float:
    return _f(away[near] <= tolerance, near[border])


def _f(right: Mask, reached: Mask) -> float:
    """Return F of what was found, right or not, and of the border, reached or not."""
    precision, recall = float(right.mean()), float(reached.mean())
    return 2 * precision * recall / max(precision + recall, np.finfo(float).tiny)


def _disc(radius_px: float) -> Mask:
    reach = int(radius_px)
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    found: Mask = np.hypot(u, v) <= radius_px
    return found
