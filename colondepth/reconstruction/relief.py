"""Is a masked polyp raised from the wall around it, and by how much?

The wall is continued under the polyp from a ring around its mask: a plane bent by a quadratic form,
fitted to the ring's points in 3D so that folds and the far lumen count little.

What it can tell: whether depth has a bump or a step where the mask is, in the depth's own unit and
against the ring's roughness. What it cannot: whether the height is right (a depth that exaggerates
scores high), anything about the wall farther away, and a tilt of the whole scene, which the plane
takes up. It is metric only where depth and calibration are. A flat lesion has no relief to find,
and a polyp on the crest of a fold has the fold's height too.

On rendered polyps (`colondepth bench etis-scores`) the ratio of height to noise ranks true depth
over a network's and over its blurred, noisy and mirrored copies, not over a tilted one. It did NOT
say which network errs less: an untrained one scores highest. Do not rank networks by it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import unproject
from colondepth.shapes import require_bool, require_shapes

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]

TOP = 0.98  # quantile of height that counts as the polyp's: the last 2 % may be noise at its edge
GAP = 0.15  # of the mask's radius: the polyp's foot and the mask's inexactness
WIDTH = 1.0  # of the mask's radius: how far the wall is looked at beyond the gap
LEAST_WIDTH_PX = 5.0  # for the smallest masks
SECTORS, LEAST_SECTORS = 12, 8  # of directions around the polyp, and with how many it is continued
LEAST_PIXELS = 20  # of mask, and of ring: six numbers are fitted
FARTHEST = 2.0  # times the ring's median distance, and nearest its inverse: the lumen beyond
FINEST = 1e-3  # of the distance: roughness below the steps of a 16-bit map in 0.01 mm is none
_ROUNDS = 12  # of reweighting
_BIWEIGHT = 4.685  # Tukey's biweight with 95 % efficiency on normal noise
_MAD = 1.4826  # from the median absolute deviation to a standard deviation


@dataclass(frozen=True, slots=True, kw_only=True)
class Relief:
    """Height of a polyp; nan where `why_not` says that it cannot be known."""

    height_mm: float  # quantile `TOP` of the heights over the mask
    mean_mm: float  # mean height over the mask
    noise_mm: float  # robust deviation of the ring from the continued wall
    signal_to_noise: float  # height over noise
    why_not: str = ""


def relief(depth_mm: Tensor, camera: Camera, *, polyp: Tensor, usable: Tensor) -> Relief:
    """Return how far a masked polyp stands out of the wall continued from around it.

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
    ring = ring_around(on) & known
    inside = on & known
    if inside.sum() < LEAST_PIXELS:
        return _unknown(f"{int(inside.sum())} pixels of polyp with depth")
    points = unproject(depth_mm.double(), camera).cpu().numpy()  # (H, W, 3)
    distance = np.linalg.norm(points, axis=-1)
    if ring.any():
        middle = float(np.median(distance[ring]))
        ring &= (distance < middle * FARTHEST) & (distance > middle / FARTHEST)
    if ring.sum() < LEAST_PIXELS:
        return _unknown(f"{int(ring.sum())} pixels of wall around the polyp")
    if (covered := _sectors(on, ring)) < LEAST_SECTORS:
        return _unknown(f"wall on {covered} of {SECTORS} sides of the polyp")
    heights, residuals = _above_wall(points[ring], points[inside])
    noise = _MAD * float(np.median(np.abs(residuals - np.median(residuals))))
    noise = max(noise, FINEST * float(np.median(distance[ring])))
    height = float(np.quantile(heights, TOP))
    return Relief(
        height_mm=height,
        mean_mm=float(heights.mean()),
        noise_mm=noise,
        signal_to_noise=height / noise,
    )


def ring_around(polyp: Mask) -> Mask:
    """Return the pixels around a mask (H, W) from which the wall is continued."""
    if not polyp.any():
        return np.zeros_like(polyp)
    radius = mask_radius_px(polyp)
    away: Points = ndimage.distance_transform_edt(~polyp)
    gap = max(1.0, GAP * radius)
    found: Mask = (away > gap) & (away <= gap + max(WIDTH * radius, LEAST_WIDTH_PX))
    return found


def mask_radius_px(polyp: Mask) -> float:
    """Return the radius of the disc that is as large as a mask."""
    return float(np.sqrt(polyp.sum() / np.pi))


def _unknown(why_not: str) -> Relief:
    nan = float("nan")
    return Relief(height_mm=nan, mean_mm=nan, noise_mm=nan, signal_to_noise=nan, why_not=why_not)


def _sectors(polyp: Mask, ring: Mask) -> int:
    """Return on how many of `SECTORS` sides of the mask's centre the ring has pixels."""
    v, u = ndimage.center_of_mass(polyp)
    rows, columns = ring.nonzero()
    angle = np.arctan2(rows - v, columns - u)
    sector = np.floor((angle / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    return len(np.unique(sector))


def _above_wall(ring: Points, inside: Points) -> tuple[Points, Points]:
    """Return heights over the wall's continuation, of the polyp and of the ring itself."""
    centre = np.median(ring, axis=0)
    axes = np.linalg.svd(ring - centre, full_matrices=False)[2]  # (3, 3), the last the flattest
    up = axes[2] * -np.sign(axes[2] @ centre)  # towards the camera, which is at the origin
    along = axes[:2] / np.abs((ring - centre) @ axes[:2].T).max()  # coordinates from -1 to 1
    terms, height = _terms((ring - centre) @ along.T), (ring - centre) @ up
    weight = np.ones(len(ring))
    for turn in range(_ROUNDS):
        root = np.sqrt(weight)
        bend = np.linalg.lstsq(terms * root[:, None], height * root, rcond=None)[0]  # (6,)
        off = np.abs(height - terms @ bend)
        scale = _MAD * float(np.median(off)) + np.finfo(float).eps * np.abs(centre).max()
        if turn < _ROUNDS // 2:
            weight = 1 / np.maximum(off, scale)  # absolute deviations first: no outlier draws it
        else:
            weight = np.clip(1 - (off / (_BIWEIGHT * scale)) ** 2, 0, None) ** 2
    above = (inside - centre) @ up - _terms((inside - centre) @ along.T) @ bend
    return above, height - terms @ bend


def _terms(places: Points) -> Points:
    s, t = places.T
    return np.stack([np.ones_like(s), s, t, s * s, s * t, t * t], axis=-1)
