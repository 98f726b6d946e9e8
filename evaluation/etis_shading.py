"""Does predicted geometry, lit anew, look like the image?

A lamp at the lens lights a matt wall by cos / distance^2 (the near-field model). Its logarithm is
correlated with that of the image's linear luminance, away from highlights and from what is clipped
or black, so that neither exposure nor the albedo's level matters. `detail` is the same after both
have lost everything broader than `BROAD` of the shorter side.

What it can tell: whether brightness and depth go together as they must, at large (`correlation`)
and in the relief (`detail`); a scene that is shuffled or mirrored falls behind. What it cannot:
prove depth. A map made of brightness alone, 1 / sqrt(luminance), is the control `trivial`, and
does well by construction, often better than true depth, whose wall has an albedo of its own. Nor
does it see a scale, and the lamps of a real scope sit beside its lens. Read it only above its
controls: `margin` is its lead over the best of the flat, the mirrored and another image's depth.

On rendered polyps (`colondepth bench etis-scores`) `detail` ranked true depth over a network's in
every view, and over its own blurred, tilted, noisy and mirrored copies. `correlation` and `margin`
did NOT rank true depth over a network's for certain. All three prefer a network's depth blurred.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import distance_from_depth, normals_from_depth
from colondepth.shapes import require_bool, require_shapes
from synthetic_colons.exposure import linear_from_srgb, luminance

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

BROAD = 0.06  # of the shorter side, standard deviation: folds are broader, polyps' flanks are not
CLIPPED = 0.96  # of any sRGB channel: beyond, light and value do not go together
DARKEST = 0.02  # of linear luminance: below, a video's noise and its black level rule
LEAST_COSINE = 0.02  # of the angle between wall and lamp: grazing light has no logarithm
LEAST_PIXELS = 100
SMOOTH = 0.01  # of the shorter side, standard deviation: of the trivial depth, so it has normals


@dataclass(frozen=True, slots=True, kw_only=True)
class Shading:
    """Correlations in [-1, 1]; nan where too few pixels can be used or nothing varies."""

    correlation: float
    detail: float
    flat: float  # the controls' correlation: a plane across the axis
    mirrored: float  # the depth itself, left and right exchanged
    other: float  # another image's depth; nan without one
    trivial: float  # 1 / sqrt(luminance)

    @property
    def margin(self) -> float:
        """How far the correlation lies above the best control that knows nothing of brightness."""
        controls = [each for each in (self.flat, self.mirrored, self.other) if each == each]
        return self.correlation - max(controls) if controls else float("nan")


@dataclass(frozen=True, eq=False, kw_only=True)
class Lighting:
    """What shading is compared with in one image, whatever its depth."""

    target: Map  # (H, W), log luminance
    usable: Mask  # (H, W)
    flat: float  # correlations of the controls, see `Shading`
    other: float
    trivial: float


def shading(depth_mm: Tensor, camera: Camera, lighting: Lighting) -> Shading:
    """Return how well the image's brightness follows from geometry and a lamp at the lens.

    Args:
        depth_mm: z-depth, (1, H, W), 0 where unknown.
        camera: of these pixels.
        lighting: of the image, from `lighting_of`.
    """
    require_shapes(depth_mm=(depth_mm, "1 H W"))
    correlation, detail = _correlate(depth_mm, camera, lighting.target, lighting.usable)
    mirrored, _ = _correlate(depth_mm.flip(-1), camera, lighting.target, lighting.usable)
    return Shading(
        correlation=correlation,
        detail=detail,
        mirrored=mirrored,
        flat=lighting.flat,
        other=lighting.other,
        trivial=lighting.trivial,
    )


def lighting_of(
    image: Tensor, camera: Camera, *, usable: Tensor, other_depth_mm: Tensor | None = None
) -> Lighting:
    """Return what the depth of an image is to be compared with.

    Args:
        image: sRGB in [0, 1], (3, H, W).
        camera: of these pixels.
        usable: True inside the aperture and away from highlights and text, bool, (1, H, W).
        other_depth_mm: of another image, of this size, for a control.
    """
    require_shapes(image=(image, "3 H W"), usable=(usable, "1 H W"))
    require_bool(usable=usable)
    light = luminance(linear_from_srgb(image.double())[None])[0]  # (1, H, W)
    seen = usable & (image.amax(dim=0, keepdim=True) < CLIPPED) & (light > DARKEST)
    target = light.clamp(min=DARKEST).log()[0].cpu().numpy()
    where = seen[0].cpu().numpy()

    def control(depth_mm: Tensor) -> float:
        return _correlate(depth_mm, camera, target, where)[0]

    return Lighting(
        target=target,
        usable=where,
        flat=control(torch.ones_like(light)),
        other=float("nan") if other_depth_mm is None else control(other_depth_mm),
        trivial=control(trivial_depth(image, camera)),
    )


def relit(depth_mm: Tensor, camera: Camera) -> tuple[Map, Mask]:
    """Return log(cos / distance^2) of a lamp at the lens (H, W), and where it is defined."""
    depth = depth_mm.double()
    normals = normals_from_depth(depth, camera)  # (3, H, W)
    distance = distance_from_depth(depth, camera)  # (1, H, W)
    rays = camera.to(depth).rays(camera.height, camera.width).movedim(-1, -3)  # (3, H, W)
    cosine = -(normals * rays).sum(dim=-3, keepdim=True)
    lit = (depth > 0) & (distance > 0) & (normals.abs().amax(dim=-3, keepdim=True) > 0)
    distance = torch.where(lit, distance, 1.0)
    logs = cosine.clamp(min=LEAST_COSINE).log() - 2 * distance.log()
    return logs[0].cpu().numpy(), lit[0].cpu().numpy()


def trivial_depth(image: Tensor, camera: Camera) -> Tensor:
    """Return the depth that brightness alone would give, 1 / sqrt(luminance), (1, H, W)."""
    light = luminance(linear_from_srgb(image.double())[None])[0, 0].clamp(min=DARKEST)
    width = SMOOTH * min(image.shape[-2:])
    smooth = ndimage.gaussian_filter(light.cpu().numpy(), width, mode="nearest")
    distance = torch.from_numpy(1 / np.sqrt(smooth))[None].to(image.device)
    axis = camera.to(distance).rays(camera.height, camera.width)[..., 2].clamp(min=0)
    return (distance * axis).to(image.dtype)


def _correlate(depth_mm: Tensor, camera: Camera, target: Map, where: Mask) -> tuple[float, float]:
    """Return Pearson's correlation of relit depth and target, at large and in the detail."""
    logs, lit = relit(depth_mm, camera)
    where = where & lit
    if where.sum() < LEAST_PIXELS:
        return float("nan"), float("nan")
    width = BROAD * min(where.shape)
    fine = [_without_broad(each, where, width)[where] for each in (logs, target)]
    return _pearson(logs[where], target[where]), _pearson(*fine)


def _without_broad(values: Map, where: Mask, width: float) -> Map:
    """Return values less their weighted mean around, over the pixels that count."""
    counts = ndimage.gaussian_filter(where.astype(np.float64), width, mode="constant")
    sums = ndimage.gaussian_filter(np.where(where, values, 0.0), width, mode="constant")
    mean: Map = sums / np.maximum(counts, np.finfo(float).tiny)
    return values - mean


def _pearson(a: Map, b: Map) -> float:
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / spread) if spread > np.finfo(np.float32).eps else float("nan")
