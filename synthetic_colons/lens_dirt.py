"""What lies on the scope's lens or drifts before it: smear, drops of water, haze.

Dirt stays for a clip and is drawn once as maps of the image's size; `look_through` applies them
to linear light. It scatters and bends the scene's own light, so a black scene stays black.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from colondepth.shapes import require_shapes
from synthetic_colons.lens_blur import binomial, doubled, halved

# Cells of the random grid behind a smooth field: nothing finer lies out of focus on a lens.
_SMEAR_CELLS = (5, 6)
_HAZE_CELLS = (3, 3)
# A smear covers this share of the lens: the field is cut there, so most of the lens is clean.
_SMEAR_START = 0.55
# Of the light that a smear blurs, this much is also scattered over the whole image.
_SMEAR_VEIL = 0.35
# A drop is a strong lens: it shows its surroundings upside down, smaller by this factor.
_DROP_SHRINKS = 1.4
_DROP_BLUR = 0.45  # share of light that a drop blurs: it lies out of focus
# Its rim takes light from all around and from the lamps' side most: so wide, of its radius.
_RIM_AT, _RIM_WIDE, _RIM_VEIL = 0.85, 0.15, 0.45
_DROP_SHIFT_MAX_SIDE = 0.25  # no drop brings in light from further than this


@dataclass(frozen=True, kw_only=True)
class Dirt:
    """Maps of what is on the lens of each image; all 0 on a clean one."""

    blurred: Tensor  # (B, 1, H, W), share of light that is smeared, in [0, 1]
    veil: Tensor  # (B, 1, H, W), share replaced by the mean light of the image, in [0, 1]
    shift_px: Tensor  # (B, 2, H, W), where drops look instead of straight on


def draw_dirt(
    generator: torch.Generator,
    height: int,
    width: int,
    *,
    smear: Tensor,
    haze: Tensor,
    drops: Tensor,
    drop_radius_side: tuple[float, float],
) -> Dirt:
    """Draw the dirt of a batch of lenses.

    Args:
        generator: gives the places; its device is that of the maps.
        height: of the images, px.
        width: of the images, px.
        smear: greatest share of light that the smear blurs, shape (B,).
        haze: greatest share of light that haze replaces, shape (B,).
        drops: how many drops, whole numbers, shape (B,).
        drop_radius_side: least and greatest radius, as a share of the shorter side.
    """
    require_shapes(smear=(smear, "B"), haze=(haze, "B"), drops=(drops, "B"))
    batch, side = len(smear), min(height, width)
    most = int(drops.max()) if batch else 0
    field = _smooth_field(generator, batch, _SMEAR_CELLS, (height, width))
    patch = ((field - _SMEAR_START) / (1 - _SMEAR_START)).clamp(0, 1)
    blurred = smear[:, None, None, None] * patch
    veil = haze[:, None, None, None] * _smooth_field(generator, batch, _HAZE_CELLS, (height, width))
    veil = veil + (1 - veil) * _SMEAR_VEIL * blurred
    shift_px = torch.zeros(batch, 2, height, width, device=generator.device)
    v = torch.arange(height, device=generator.device)[:, None]  # (H, 1)
    u = torch.arange(width, device=generator.device)  # (W,)
    for number in range(most):
        random = torch.rand(batch, 5, generator=generator, device=generator.device)
        low, high = drop_radius_side
        radius = side * (low + (high - low) * random[:, 0].square())[:, None, None]  # small ones
        across = u - random[:, 1, None, None] * width  # (B, 1, W)
        down = v - random[:, 2, None, None] * height  # (B, H, 1)
        stretch = 0.75 + 0.5 * random[:, 3, None, None]  # drops are not round
        square = (across / stretch).square() + (down * stretch).square()  # (B, H, W), px^2
        share = square / radius.square()  # of the radius, squared
        # Nearly all of a drop is its inverted picture; only near the rim does that swing round.
        there_is = (number < drops)[:, None, None]
        inside = (1 - share.square()).clamp(0, 1) * there_is
        ring = torch.exp(-(((share.sqrt() - _RIM_AT) / _RIM_WIDE) ** 2)) * there_is
        turn = 2 * math.pi * random[:, 4, None, None]
        lit = (across * turn.cos() + down * turn.sin()) / (square.sqrt() + 1)  # -1 to 1
        rim = _RIM_VEIL * ring * (0.6 + 0.4 * lit)
        veil = torch.maximum(veil, rim[:, None])
        there = torch.stack(torch.broadcast_tensors(across, down), dim=1)  # (B, 2, H, W)
        shift_px = shift_px - (1 + _DROP_SHRINKS) * there * inside[:, None]
        blurred = torch.maximum(blurred, _DROP_BLUR * inside[:, None])
    limit = _DROP_SHIFT_MAX_SIDE * side
    return Dirt(blurred=blurred, veil=veil, shift_px=shift_px.clamp(-limit, limit))


def look_through(light: Tensor, blurred: Tensor, veil: Tensor) -> Tensor:
    """Smear and veil linear light; drops' bending is left to the lookup along the motion.

    Args:
        light: linear, shape (B, 3, H, W).
        blurred: see `Dirt`, shape (B, 1, H, W).
        veil: see `Dirt`, shape (B, 1, H, W).
    """
    require_shapes(light=(light, "B 3 H W"), blurred=(blurred, "B 1 H W"), veil=(veil, "B 1 H W"))
    half = halved(light)
    quarter = halved(half)
    mean = quarter.mean(dim=(2, 3), keepdim=True)  # (B, 3, 1, 1)
    wide = doubled(binomial(binomial(halved(quarter))), quarter.shape[-2:])
    wide = doubled(doubled(wide, half.shape[-2:]), light.shape[-2:])
    return torch.lerp(torch.lerp(light, wide, blurred), mean, veil)


def _smooth_field(
    generator: torch.Generator, batch: int, cells: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Return a field between 0 and 1 that is smooth over the cells, shape (B, 1, H, W)."""
    grid = torch.rand(batch, 1, *cells, generator=generator, device=generator.device)
    return interpolate(grid, size, mode="bicubic", align_corners=False).clamp(0, 1)
