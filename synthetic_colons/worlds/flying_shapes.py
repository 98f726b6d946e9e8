"""Flying shapes: optical flow with exact truth, after FlyingChairs (Dosovitskiy et al. 2015).

A textured background and 16 to 24 textured shapes move by 2-D maps of their own: a shift, a turn
and a zoom about the shape's centre; the background's motion is added to every shape's, as if the
camera moved too. Instead of photographs and rendered chairs there are procedural textures and
outlines, made on the device.

Every number of a motion is drawn from one family (the paper's appendix): with probability p it is
sign(g) |g|^k, clipped, where g is normal; else the motion's neutral value. Small motions are
frequent and large ones reach across the image. The family and its limits are the paper's as far as
memory goes, and were not compared with it; the spreads and sizes are ours. At 512 pixels width the
flow is 13 px long on average, 7 px in the median and above 80 px in one percent; lengths scale with
the width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, radians
from typing import TypedDict

import torch
from torch import Tensor

from colondepth.errors import DataError
from synthetic_colons.worlds.draws import Draws
from synthetic_colons.worlds.layers import Layers, composed, see_layers
from synthetic_colons.worlds.textures import draw_texture

PUBLISHED_WIDTH_PX = 512  # of FlyingChairs: its sizes and motions are given for this

_MEAN_SIZE_PX, _SIZE_SPREAD_PX = 90.0, 70.0  # of shapes across, normal
_SMALLEST_PX, _LARGEST_PX = 24.0, 300.0  # and clipped to this
_WAVES, _WAVE_SHARE = 4, 0.12  # around round shapes: number, and size as shares of the radius
_FEWEST_SIDES, _MOST_SIDES = 3, 7
_UNEVEN = 0.12  # of a step between sides, either way: a triangle's corners reach 3 times as far
_HOLLOW, _RIM = 0.3, (0.15, 0.4)  # chance of a hole, width of the rim in half sizes: chair legs
_PARALLEL = 1e-9  # sine of the angle between sides that are one and the same
_WAVELENGTH_PX = (12.0, 160.0)  # largest blotch of a texture


@dataclass(frozen=True, slots=True, kw_only=True)
class _Motion:
    """One number's distribution: p chance of sign(g) |g|^power, g normal, clipped."""

    mean: float
    spread: float
    low: float
    high: float
    power: float
    chance: float

    def draw(self, draws: Draws, name: str, *shape: int) -> Tensor:
        g = self.mean + self.spread * draws.normal(name, *shape)
        moved = (g.sign() * g.abs() ** self.power).clamp(self.low, self.high)
        return torch.where(
            draws.chance(f"{name} moves", *shape, probability=self.chance), moved, self.mean
        )


# Shifts in pixels, turns in degrees, zooms as factors.
_MOTIONS = {
    "background shift": _Motion(mean=0, spread=1.0, low=-40, high=40, power=4, chance=1),
    "background turn": _Motion(mean=0, spread=0.8, low=-10, high=10, power=2, chance=0.3),
    "background zoom": _Motion(mean=1, spread=0.02, low=0.93, high=1.07, power=2, chance=0.6),
    "shape shift": _Motion(mean=0, spread=1.15, low=-120, high=120, power=4, chance=1),
    "shape turn": _Motion(mean=0, spread=2.0, low=-30, high=30, power=2, chance=0.7),
    "shape zoom": _Motion(mean=1, spread=0.06, low=0.8, high=1.2, power=2, chance=0.7),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FlyingShapesSettings:
    """What all pairs of a set have in common."""

    height: int
    width: int
    fewest_shapes: int = 16
    most_shapes: int = 24

    def __post_init__(self) -> None:
        """Refuse sizes and numbers that no set has."""
        if min(self.height, self.width) < 1 or not 0 <= self.fewest_shapes <= self.most_shapes:
            raise DataError(
                f"{self.fewest_shapes} to {self.most_shapes} shapes on {self.height}x{self.width}"
                " pixels; expected pixels, and the fewest not above the most"
            )


class FlowPair(TypedDict):
    """A batch of image pairs and where every pixel goes, both ways."""

    image: Tensor  # (B, 3, H, W)
    next: Tensor  # (B, 3, H, W)
    flow_px: Tensor  # (B, 2, H, W) from `image` to `next`, known everywhere
    flow_back_px: Tensor  # (B, 2, H, W) from `next` to `image`
    occluded: Tensor  # (B, 1, H, W) bool, of `image`: hidden in `next`, or outside it
    occluded_back: Tensor  # (B, 1, H, W) bool, of `next`
    layer: Tensor  # (B, 1, H, W) int64, 0 is the background, higher ones lie before lower ones
    next_layer: Tensor  # (B, 1, H, W) int64


def flying_shapes(
    settings: FlyingShapesSettings,
    indices: Sequence[int],
    *,
    seed: int,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> FlowPair:
    """Make image pairs with their flow; pair k of a seed is always the same.

    Args:
        settings: of the set.
        indices: which pairs.
        seed: of the set.
        device: where to render.
        dtype: of the numbers.
    """
    layers = draw_flying_shapes(settings, indices, seed=seed).to(device, dtype)
    first, second = see_layers(layers, settings.height, settings.width)
    return FlowPair(
        image=first.image,
        next=second.image,
        flow_px=first.flow_px,
        flow_back_px=second.flow_px,
        occluded=first.occluded,
        occluded_back=second.occluded,
        layer=first.layer,
        next_layer=second.layer,
    )


def draw_flying_shapes(
    settings: FlyingShapesSettings, indices: Sequence[int], *, seed: int
) -> Layers:
    """Draw the layers of pairs, float64 on the CPU."""
    draws = Draws(seed=seed, indices=tuple(indices))
    scale = settings.width / PUBLISHED_WIDTH_PX
    count = settings.most_shapes
    number = draws.whole("number of shapes", 1, low=settings.fewest_shapes, high=count)
    present = torch.arange(count) < number  # (B, count)
    corner = torch.tensor([settings.width, settings.height], dtype=torch.float64) - 1
    middle = (corner / 2).expand(len(draws.indices), 1, 2)
    centre = draws.uniform("places", count, 2) * corner
    size = _MEAN_SIZE_PX + _SIZE_SPREAD_PX * draws.normal("sizes", count)
    half = size.clamp(_SMALLEST_PX, _LARGEST_PX) * (scale / 2)
    hollow = draws.chance("hollow", count, probability=_HOLLOW)
    rim = half * draws.uniform("rim", count, low=_RIM[0], high=_RIM[1])
    sides = _draw_sides(draws, half)
    low, high = _WAVELENGTH_PX
    wavelength = scale * draws.log_uniform("wavelengths", count + 1, low=low, high=high)
    background = _draw_motion(draws, "background", middle, scale)  # (B, 1, 2, 3)
    shapes = composed(background, _draw_motion(draws, "shape", centre, scale))

    def with_background(shapes: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(shapes[:, :1]), shapes], dim=1)

    return Layers(
        present=with_background(present),
        centre_px=torch.cat([middle, centre], dim=1),
        next_from_first=torch.cat([background, shapes], dim=1),
        radius_px=with_background(half),
        waves=with_background(_WAVE_SHARE * draws.normal("waves", count, _WAVES, 2) / 2),
        sides=with_background(sides),
        corner_px=with_background(_farthest_corner(sides)),
        rim_px=with_background(torch.where(hollow, rim, torch.inf)),
        texture=draw_texture(draws, "texture", wavelength),
    )


def _draw_motion(draws: Draws, name: str, centre_px: Tensor, scale: float) -> Tensor:
    """Draw shifts, turns and zooms about centres (B, L, 2), as affine maps (B, L, 2, 3)."""
    count = centre_px.shape[1]
    shift = scale * _MOTIONS[f"{name} shift"].draw(draws, f"{name} shift", count, 2)
    angle = radians(1) * _MOTIONS[f"{name} turn"].draw(draws, f"{name} turn", count)
    zoom = _MOTIONS[f"{name} zoom"].draw(draws, f"{name} zoom", count)
    a, b = zoom * angle.cos(), zoom * angle.sin()
    x, y = centre_px.unbind(dim=-1)
    s, t = shift.unbind(dim=-1)
    entries = [a, -b, x + s - a * x + b * y, b, a, y + t - b * x - a * y]
    affine: Tensor = torch.stack(entries, dim=-1).unflatten(-1, (2, 3))
    return affine


def _draw_sides(draws: Draws, half_px: Tensor) -> Tensor:
    """Draw convex polygons: sides at uneven angles and distances, (B, L, M, 3)."""
    count = half_px.shape[1]
    number = draws.whole("sides", count, 1, low=_FEWEST_SIDES, high=_MOST_SIDES)
    # Spare sides repeat the first. Steps stay below half a turn, or the polygon would be open.
    which = torch.arange(_MOST_SIDES) * (torch.arange(_MOST_SIDES) < number)  # (B, L, M)
    uneven = _UNEVEN * draws.uniform("angles", count, _MOST_SIDES, low=-1)
    uneven = uneven.gather(-1, which)
    start = draws.uniform("orientations", count, 1, high=2 * pi)
    angle = start + 2 * pi / number * (which + uneven)
    away = half_px[..., None] * draws.uniform("distances", count, _MOST_SIDES, low=0.5, high=1)
    sides: Tensor = torch.stack([angle.cos(), angle.sin(), away.gather(-1, which)], dim=-1)
    return sides


def _farthest_corner(sides: Tensor) -> Tensor:
    """Return how far the corners of polygons reach, (B, L, M, 3) -> (B, L)."""
    normal, away = sides[..., :2], sides[..., 2]
    x, y = normal.unbind(dim=-1)
    # Where sides i and j cross, and whether no other side cuts that corner off.
    cross = x[..., :, None] * y[..., None, :] - y[..., :, None] * x[..., None, :]  # (B, L, M, M)
    apart = cross.abs() > _PARALLEL
    inverse = 1 / torch.where(apart, cross, torch.ones_like(cross))
    u = (away[..., :, None] * y[..., None, :] - away[..., None, :] * y[..., :, None]) * inverse
    v = (away[..., None, :] * x[..., :, None] - away[..., :, None] * x[..., None, :]) * inverse
    outside = u[..., None] * x[..., None, None, :] + v[..., None] * y[..., None, None, :]
    kept = apart & (outside <= away[..., None, None, :] * (1 + _PARALLEL)).all(dim=-1)
    farthest: Tensor = torch.where(kept, torch.hypot(u, v), 0).flatten(start_dim=2).amax(dim=-1)
    return farthest
