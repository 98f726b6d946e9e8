"""From linear light to an image file's values: exposure, white balance, vignetting, the sRGB curve.

This is the whole sensor of levels 1 to 5; level 6 adds `sensor.py`. Light is linear RGB >= 0 in
the renderer's own unit, shape (B, 3, H, W); exposure turns it into shares of what saturates.
Developed images are sRGB in [0, 1]. Primaries and luminance are those of BT.709.
"""

from typing import Final

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_bool, require_float, require_shapes

# Luminance of BT.709's (and so sRGB's) primaries, ITU-R BT.709-6, item 3.2.
LUMINANCE: Final = (0.2126, 0.7152, 0.0722)
# IEC 61966-2-1: slope of the straight toe, where it ends, and the power law beyond.
_TOE_SLOPE, _TOE_END, _TOE_END_CODED = 12.92, 0.0031308, 0.04045
_POWER, _OFFSET = 2.4, 0.055
# Real frames (ETIS-Larib) have a 90th percentile of linear luminance from 0.36 to 0.5.
METERED_SHARE = 0.9
TARGET_LUMINANCE = 0.42
# Rows and columns that the meter looks at: 1/64 of the shorter side is finer than any zone meter.
_METER_CELLS = 64
# Metering weights are whole numbers up to this, so that sums do not depend on their order.
_WEIGHT_STEPS = 255
# Luminance below which a frame counts as black: no exposure lifts it.
_BLACK = 1e-12


def srgb_from_linear(linear: Tensor) -> Tensor:
    """Return sRGB values in [0, 1] of linear ones, which are clamped to [0, 1] first."""
    linear = linear.clamp(0, 1)
    # Toe and power law meet at `_TOE_END`: their sum, each stopped there, needs no selection.
    toe = linear.clamp(max=_TOE_END).sub(_TOE_END).mul(_TOE_SLOPE)
    power = linear.clamp(min=_TOE_END).pow(1 / _POWER).mul(1 + _OFFSET).sub(_OFFSET)
    return (toe + power).clamp(0, 1)


def linear_from_srgb(coded: Tensor) -> Tensor:
    """Return the linear light in [0, 1] of sRGB values, which are clamped to [0, 1] first."""
    coded = coded.clamp(0, 1)
    power = ((coded.clamp(min=_TOE_END_CODED) + _OFFSET) / (1 + _OFFSET)).pow(_POWER)
    return torch.where(coded <= _TOE_END_CODED, coded / _TOE_SLOPE, power)


def luminance(light: Tensor) -> Tensor:
    """Return the luminance of linear RGB, shape (B, 3, H, W) -> (B, 1, H, W)."""
    require_shapes(light=(light, "B 3 H W"))
    red, green, blue = LUMINANCE
    return red * light[:, 0:1] + green * light[:, 1:2] + blue * light[:, 2:3]


def metered_luminance(
    light: Tensor, *, inside: Tensor | None = None, weight: Tensor | None = None
) -> Tensor:
    """Return what a light meter says of each image: a high percentile of luminance, shape (B,).

    A percentile, because highlights are hundreds of times brighter than the wall and would rule a
    mean. An image with nothing inside, or with weight nowhere, is metered as 0.

    Args:
        light: linear, shape (B, 3, H, W).
        inside: bool, True inside the aperture, shape (B, 1, H, W) or (1, 1, H, W).
        weight: how much each pixel counts, in [0, 1], shape (B, 1, H, W) or (1, 1, H, W).
    """
    size = require_shapes(light=(light, "B 3 H W"))
    require_float(light=light)
    step = max(1, min(size["H"], size["W"]) // _METER_CELLS)
    first = step // 2
    seen = luminance(light[..., first::step, first::step]).flatten(start_dim=1)  # (B, N)
    counts = torch.full_like(seen, _WEIGHT_STEPS, dtype=torch.int64)
    if weight is not None:
        require_shapes(weight=(weight, "N 1 H W"), light=(light, "B 3 H W"))
        cells = weight[..., first::step, first::step].clamp(0, 1).mul(_WEIGHT_STEPS)
        counts = cells.round().long().flatten(start_dim=1).expand_as(seen)
    if inside is not None:
        require_bool(inside=inside)
        require_shapes(inside=(inside, "N 1 H W"), light=(light, "B 3 H W"))
        counts = counts * inside[..., first::step, first::step].flatten(start_dim=1)
    ordered, order = seen.sort(dim=1)
    reached = counts.gather(1, order).cumsum(dim=1)  # (B, N)
    total = reached[:, -1:]
    index = torch.searchsorted(reached, (total * METERED_SHARE).ceil().long().clamp(min=1))
    found = ordered.gather(1, index.clamp(max=seen.shape[1] - 1))
    return torch.where(total > 0, found, 0)[:, 0]


def automatic_exposure(
    light: Tensor,
    *,
    inside: Tensor | None = None,
    weight: Tensor | None = None,
    target: float | Tensor = TARGET_LUMINANCE,
) -> Tensor:
    """Return the factor (B,) that brings each image's metered luminance to `target`.

    Without history: the same image always gets the same factor, whatever came before it. A black
    image gets 1.

    Args:
        light: linear, shape (B, 3, H, W).
        inside: see `metered_luminance`.
        weight: see `metered_luminance`.
        target: luminance as a share of what saturates, one or (B,).
    """
    metered = metered_luminance(light, inside=inside, weight=weight)
    dark = metered <= _BLACK
    return torch.where(dark, 1, target / torch.where(dark, 1, metered))


def vignetting(rays: Tensor, power: float | Tensor) -> Tensor:
    """Return the share of light, cos^power of the angle to the axis, shape (B, 1, H, W).

    A thin lens without stops has power 4 (natural vignetting); fisheyes are built to lose less.
    Beyond 90 degrees the light is that of a ray at 90 degrees: none, unless the power is 0.

    Args:
        rays: unit rays as `Camera.rays` gives them, shape (B, H, W, 3) or (1, H, W, 3).
        power: one for all, or (B,).
    """
    require_shapes(rays=(rays, "B H W 3"))
    cosine = rays[..., 2].clamp(min=0)[:, None]  # (B, 1, H, W)
    if isinstance(power, Tensor):
        power = power.to(cosine)[:, None, None, None]
    return cosine**power


def develop(
    light: Tensor,
    exposure: Tensor,
    *,
    white_balance: Tensor | None = None,
    vignette: Tensor | None = None,
) -> Tensor:
    """Return the sRGB image of linear light, shape (B, 3, H, W), in [0, 1].

    Args:
        light: linear, >= 0, shape (B, 3, H, W).
        exposure: factor that makes 1 what just saturates, shape (B,).
        white_balance: factors of red, green and blue, shape (B, 3).
        vignette: share of light that arrives, from `vignetting`, shape (B, 1, H, W) or
            (1, 1, H, W).
    """
    require_shapes(light=(light, "B 3 H W"), exposure=(exposure, "B"))
    require_float(light=light, exposure=exposure)
    factor = exposure[:, None]  # (B, 1)
    if white_balance is not None:
        require_shapes(light=(light, "B 3 H W"), white_balance=(white_balance, "B 3"))
        factor = factor * white_balance
    if not bool((factor > 0).all()):
        raise DataError(f"exposure times white balance must be positive, got {factor.tolist()}")
    exposed = light * factor[:, :, None, None]
    if vignette is not None:
        require_shapes(vignette=(vignette, "N 1 H W"), light=(light, "B 3 H W"))
        exposed = exposed * vignette
    return srgb_from_linear(exposed)
