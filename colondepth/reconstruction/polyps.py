"""How large a polyp is, with an interval, from its mask and depth; and when that cannot be said.

Size is the longest diameter: the farthest two points of the mask's outline in space. At the rim a
pixel may already be wall, so the distance of the outline is carried on from well inside. Height is
how far the polyp stands out of the wall continued under it (see `relief`). The shape follows from
height over size and is not the Paris classification.

The error of log size is taken as normal with four parts: the scale of the frame's depth, which all
pixels share and which is the larger part; depth's own error between the two ends; the outline, a
pixel at either end; and what one view cannot show, the far side of a polyp and its foot. An
interval is exp(+-1.96 deviations) around the size. Several frames of a clip share their scale
error in part: `combined` says how much of it is taken to be shared.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import erf, exp, hypot, inf, log, nan, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import distance_from_depth
from colondepth.reconstruction.relief import mask_radius_px, relief
from colondepth.shapes import require_bool, require_shapes

Mask = NDArray[np.bool_]
Points = NDArray[np.float64]

SCHEMA = 1
SMALL_MM, LARGE_MM = 5.0, 10.0  # up to 5: diminutive; from 10 on: large. Surveillance turns on them
CLASSES = ("<=5 mm", "6-9 mm", ">=10 mm")
Z95 = 1.96
LEAST_PIXELS = 60  # of the mask: below, the outline's pixel is a tenth of the size
LEAST_KNOWN = 0.7  # of the mask's pixels have depth
WIDEST = 4.0  # upper over lower end of an interval: wider, it holds more than a class on both sides
UNSURE = 0.5  # a class less likely than that is no answer
HIDDEN_SHARE, NEARER = 0.25, 0.12  # of the outline has something nearer beside it, by that much
LOCAL_SHARE = 0.3  # of the scale's standard deviation: between two places of one frame
# Of log size with true depth and true masks, over views from all sides (`bench polyp-sizes`).
VIEW_STD = 0.19
# Sizes err by less than a network's std of log depth, which is that of all views and not of walls
# near by: fitted on other colons than those that the documents tell of (`bench polyp-sizes`).
SCALE_SHARE = 0.6
OUTLINE_PX = 1.0  # standard deviation of an outline drawn by hand or network, at either end
RIM_SHARE = 0.15  # of the mask's radius counts as rim
STEEPEST_RIM = 0.1  # of the distance, that the outline may lie farther than a rim's width inside
FLAT, STALKED = 0.25, 0.9  # height over size: below flat, above as on a stalk
SHARED = 0.8  # of the variance of scale that frames of one clip have in common
SCALE_IF_UNKNOWN = 0.25  # of log depth; the networks' own on scopes that they never saw


class Shape(StrEnum):
    """What height over size says; not the Paris classification, which needs an eye."""

    FLAT = "flat"
    SESSILE = "sessile"
    STALKED = "on a stalk or standing out"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolypSize:
    """One polyp's size. It is an answer only where `why_not` is empty."""

    size_mm: float
    low_mm: float  # of the 95 % interval
    high_mm: float
    height_mm: float  # nan where the wall around it cannot be continued
    shape: Shape
    probabilities: tuple[float, float, float]  # of `CLASSES`
    why_not: tuple[str, ...]  # reasons to abstain, in words
    log_std: float  # of size
    scale_std: float  # the part of it that frames of a clip share
    frames: int = 1

    @property
    def answered(self) -> bool:
        """Whether the size may be told."""
        return not self.why_not

    def table(self) -> dict[str, Any]:
        """Return plain values for JSON, None for what is not known."""
        plain = asdict(self) | {
            "schema": SCHEMA,
            "answered": self.answered,
            "probabilities": dict(zip(CLASSES, self.probabilities, strict=True)),
            "shape": str(self.shape),
        }
        return {
            name: None if isinstance(value, float) and value != value else value
            for name, value in plain.items()
        }

    def words(self) -> str:
        """Return the answer, or why there is none, in a line."""
        if self.size_mm != self.size_mm:
            return f"no size: {'; '.join(self.why_not)}"
        told = f"{self.size_mm:.1f} mm ({self.low_mm:.1f} to {self.high_mm:.1f})"
        if self.why_not:
            return f"no answer ({'; '.join(self.why_not)}); it would be {told}"
        best = int(np.argmax(self.probabilities))
        return f"{told}, {CLASSES[best]} with {self.probabilities[best]:.0%}, {self.shape}"


def polyp_size(
    depth_mm: Tensor,
    camera: Camera,
    polyp: Tensor,
    *,
    log_depth_std: Tensor | None = None,
    scale_std: float | None = None,
    inside: Tensor | None = None,
) -> PolypSize:
    """Return the size of the largest piece of a mask.

    Args:
        depth_mm: z-depth, 0 where unknown, shape (1, H, W).
        camera: of the view; an assumed one gives no answer.
        polyp: the mask, bool, shape (1, H, W).
        log_depth_std: standard deviation of log depth, shape (1, H, W).
        scale_std: of the log of the frame's scale; by default `SCALE_SHARE` of `log_depth_std` on
            the polyp, or `SCALE_IF_UNKNOWN`.
        inside: True inside the scope's aperture, bool, shape (1, H, W); all of it by default.
    """
    pattern = "1 H W"
    maps = {"depth_mm": (depth_mm, pattern), "polyp": (polyp, pattern)}
    if log_depth_std is not None:
        maps["log_depth_std"] = (log_depth_std, pattern)
    inside = torch.ones_like(polyp) if inside is None else inside
    require_shapes(**maps, inside=(inside, pattern))
    require_bool(polyp=polyp, inside=inside)
    on = _largest(polyp[0].cpu().numpy())
    known = (depth_mm > 0)[0].cpu().numpy()
    if on.sum() < LEAST_PIXELS:
        return _no_size(f"the mask has {int(on.sum())} pixels, {LEAST_PIXELS} are needed")
    if (share := known[on].mean()) < LEAST_KNOWN:
        return _no_size(f"depth is known on {share:.0%} of the polyp")
    distance = distance_from_depth(depth_mm.double().cpu(), camera)[0].numpy()  # (H, W)
    ends, outline_px = _outline(on, distance, known, camera)
    first, second = _farthest(ends)
    span = ends[first] - ends[second]
    size = float(np.linalg.norm(span))
    stds = None if log_depth_std is None else log_depth_std[0].double().cpu().numpy()[on & known]
    mean_std = SCALE_IF_UNKNOWN if stds is None else float(np.sqrt(np.square(stds).mean()))
    by_default = SCALE_IF_UNKNOWN if stds is None else SCALE_SHARE * mean_std
    scale = by_default if scale_std is None else scale_std
    # Depth's own error moves the ends along the line of sight: it counts as far as they part there.
    middle = (ends[first] + ends[second]) / 2
    sight = middle / np.linalg.norm(middle)
    slant = abs(float(span @ sight)) / size
    away = float(np.linalg.norm(middle))
    local = LOCAL_SHARE * scale * (1 + sqrt(2) * slant * away / size)
    outline = sqrt(2) * OUTLINE_PX / outline_px
    std = hypot(scale, local, outline, VIEW_STD)
    stands = relief(depth_mm, camera, polyp=_tensor(on), usable=inside.cpu())
    found = PolypSize(
        size_mm=size,
        low_mm=size * exp(-Z95 * std),
        high_mm=size * exp(Z95 * std),
        height_mm=stands.height_mm,
        shape=_shape(stands.height_mm, size),
        probabilities=_probabilities(size, std),
        why_not=(),
        log_std=std,
        scale_std=scale,
    )
    reasons = _where(on, inside[0].cpu().numpy(), distance, known)
    if not camera.calibrated:
        reasons.insert(0, "the camera is not calibrated")
    return _judged(found, reasons)


def combined(sizes: Sequence[PolypSize]) -> PolypSize:
    """Return one size from several frames of one polyp: only those that answer count.

    Each weighs by its own variance; of the variance of scale `SHARED` stays however many frames
    there are. Without an answer the first frame's is returned with its reasons.
    """
    answers = [size for size in sizes if size.answered]
    if not answers:
        return sizes[0] if sizes else _no_size("no frame shows the polyp")
    logs = np.log([size.size_mm for size in answers])
    shared = np.array([SHARED * size.scale_std**2 for size in answers])
    own = np.array([size.log_std**2 for size in answers]) - shared
    weight = 1 / np.maximum(own, 1e-6)
    mean = float((weight * logs).sum() / weight.sum())
    # What frames disagree by more than their own errors say is error as well.
    spread = float((weight * (logs - mean) ** 2).sum() / max(1, len(logs) - 1))
    std = sqrt(float((weight * shared).sum() / weight.sum()) + max(1.0, spread) / weight.sum())
    heights = [size.height_mm for size in answers if size.height_mm == size.height_mm]
    height = float(np.median(heights)) if heights else nan
    found = PolypSize(
        size_mm=exp(mean),
        low_mm=exp(mean - Z95 * std),
        high_mm=exp(mean + Z95 * std),
        height_mm=height,
        shape=_shape(height, exp(mean)),
        probabilities=_probabilities(exp(mean), std),
        why_not=(),
        log_std=std,
        scale_std=sqrt(float((weight * shared).sum() / weight.sum()) / SHARED),
        frames=len(answers),
    )
    return _judged(found, [])


def _judged(found: PolypSize, reasons: list[str]) -> PolypSize:
    if found.high_mm / found.low_mm > WIDEST:
        reasons.append(f"the interval is too wide: {found.low_mm:.1f} to {found.high_mm:.1f} mm")
    elif max(found.probabilities) < UNSURE:
        reasons.append("no size class is more likely than not")
    return replace(found, why_not=tuple(reasons))


def _largest(polyp: Mask) -> Mask:
    pieces, count = ndimage.label(polyp)
    if count < 2:
        return ndimage.binary_fill_holes(polyp)  # type: ignore[no-any-return]
    piece: Mask = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax())
    return ndimage.binary_fill_holes(piece)  # type: ignore[no-any-return]


def _outline(on: Mask, distance: Points, known: Mask, camera: Camera) -> tuple[Points, float]:
    """Return the outline's points (N, 3) in the camera's frame, and its extent in pixels."""
    from skimage.measure import find_contours

    padded = np.pad(on, 1).astype(np.float64)
    contour = max(find_contours(padded, 0.5), key=len)[:-1] - 1  # (N, 2) rows, columns
    depth_in = ndimage.distance_transform_edt(np.pad(on, 1))[1:-1, 1:-1]
    rim = min(RIM_SHARE * mask_radius_px(on), float(depth_in.max()) / 2)
    v, u = np.clip(np.round(contour).astype(int), 0, np.array(on.shape) - 1).T

    def inwards(depth: float) -> Points:
        firm = (depth_in > depth) & known
        _, (row, column) = ndimage.distance_transform_edt(~firm, return_indices=True)
        found = distance[row[v, u], column[v, u]]
        window = max(1, len(found) // 16)
        smooth: Points = ndimage.median_filter(found, size=2 * window + 1, mode="wrap")
        return smooth

    # Carried on from a rim's width inside to the outline, as it falls within the next width.
    near, nearer = inwards(rim), inwards(2 * rim)
    away = near + np.clip(near - nearer, 0, STEEPEST_RIM * near)
    pixels = torch.from_numpy(contour[:, ::-1].copy())  # (u, v)
    rays = camera.to(pixels).rays_at(pixels).numpy()
    extent = contour.max(axis=0) - contour.min(axis=0)
    points: Points = rays * away[:, None]
    return points, float(np.hypot(*extent))


def _farthest(points: Points) -> tuple[int, int]:
    apart = np.linalg.norm(points[:, None] - points, axis=-1)
    first, second = np.unravel_index(int(apart.argmax()), apart.shape)
    return int(first), int(second)


def _shape(height_mm: float, size_mm: float) -> Shape:
    if height_mm != height_mm:
        return Shape.UNKNOWN
    share = height_mm / size_mm
    return Shape.FLAT if share < FLAT else Shape.STALKED if share > STALKED else Shape.SESSILE


def _probabilities(size_mm: float, std: float) -> tuple[float, float, float]:
    def below(limit_mm: float) -> float:
        if std == 0:
            return float(size_mm <= limit_mm)
        return (1 + erf((log(limit_mm) - log(size_mm)) / (sqrt(2) * std))) / 2

    small, medium = below(SMALL_MM), below(LARGE_MM)
    return small, medium - small, 1 - medium


def _where(on: Mask, inside: Mask, distance: Points, known: Mask) -> list[str]:
    """Return reasons that lie in where the polyp is seen."""
    reasons = []
    rim = ndimage.binary_dilation(on, iterations=2)
    edge = np.zeros_like(on)
    edge[:1], edge[-1:], edge[:, :1], edge[:, -1:] = True, True, True, True
    if (on & edge).any():
        reasons.append("the polyp is cut off by the edge of the image")
    elif (rim & ~inside).any():
        reasons.append("the polyp is cut off by the edge of the scope's picture")
    # Beside the outline something lies nearer than the polyp: it hides part of it.
    outer = ndimage.binary_dilation(on, iterations=4) & ~rim & known & inside
    if outer.any():
        firm = ndimage.binary_erosion(on, iterations=2) & known
        _, (row, column) = ndimage.distance_transform_edt(~firm, return_indices=True)
        beside = distance[row[outer], column[outer]]
        hidden = float((distance[outer] < beside * (1 - NEARER)).mean())
        if hidden > HIDDEN_SHARE:
            reasons.append(f"something nearer lies along {hidden:.0%} of the outline")
    return reasons


def _no_size(reason: str) -> PolypSize:
    return PolypSize(
        size_mm=nan,
        low_mm=nan,
        high_mm=nan,
        height_mm=nan,
        shape=Shape.UNKNOWN,
        probabilities=(nan, nan, nan),
        why_not=(reason,),
        log_std=inf,
        scale_std=inf,
    )


def _tensor(on: Mask) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(on))[None]
