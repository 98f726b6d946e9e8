"""The black border of an endoscope's picture: octagons, circles, rectangles with cut corners.

Every shape is the part that four limits have in common, so one distance serves them all: a
half-width, a half-height, a cut (|x| + |y|) and a radius, in px from the centre.
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from colondepth.shapes import require_shapes

# A limit that no pixel reaches.
_UNLIMITED_PX = 1e6
# Octagon, as shares of half the shorter side; the diagonals cut |x| + |y|. A regular one has a
# cut of 1.41, those of scopes are wider than high with smaller cuts.
_OCTAGON_WIDTH, _OCTAGON_HEIGHT, _OCTAGON_CUT = (1.0, 1.25), (0.88, 0.98), (1.4, 1.65)
# Circle: ETIS-Larib's is 1.3 half-heights in radius, cut by the picture above and below; others
# lie whole inside the picture.
_CIRCLE_RADIUS = (0.88, 1.25)
# Rectangle with cut corners.
_CUT_HEIGHT, _CUT_ASPECT, _CUT_CORNER = (0.85, 0.97), (0.95, 1.25), (0.08, 0.3)
_CENTRE_SIDE = 0.06  # the window may lie this far off the middle: text stands beside it


class BorderShape(StrEnum):
    """Which outline the picture has."""

    FULL = "full"  # no border at all
    OCTAGON = "octagon"
    CIRCLE = "circle"
    CUT_CORNERS = "cut corners"


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where the picture is; pixels from (0, 0) at the first pixel's centre."""

    centre_px: Tensor  # (B, 2), (u, v)
    half_size_px: Tensor  # (B, 2), along u and v
    cut_px: Tensor  # (B,), greatest |u| + |v| from the centre
    radius_px: Tensor  # (B,)
    edge_px: Tensor  # (B,), width of the soft edge


def draw_window(
    generator: torch.Generator,
    height: int,
    width: int,
    *,
    shapes: list[BorderShape],
    edge_px: Tensor,
) -> Window:
    """Draw the window of a batch of pictures, one shape for each.

    Args:
        generator: gives sizes and places; its device is that of the window.
        height: of the image, px.
        width: of the image, px.
        shapes: one for each image.
        edge_px: width of the soft edge, shape (B,).
    """
    require_shapes(edge_px=(edge_px, "B"))
    random = torch.rand(len(shapes), 5, generator=generator, device=generator.device)
    half = min(height, width) / 2
    middle = torch.tensor([(width - 1) / 2, (height - 1) / 2], device=generator.device)
    rows = []
    for shape, share in zip(shapes, random, strict=True):
        first, second, third = (float(x) for x in share[:3])
        limits = [_UNLIMITED_PX] * 4  # half-width, half-height, cut, radius
        if shape is BorderShape.OCTAGON:
            high = _between(_OCTAGON_HEIGHT, first)
            wide = min(_between(_OCTAGON_WIDTH, second), 0.98 * width / 2 / half)
            cut = min(_between(_OCTAGON_CUT, third), 0.86 * (wide + high))
            limits[:3] = [wide * half, high * half, cut * half]
        elif shape is BorderShape.CIRCLE:
            limits[3] = _between(_CIRCLE_RADIUS, first) * half
        elif shape is BorderShape.CUT_CORNERS:
            high = _between(_CUT_HEIGHT, first)
            wide = min(high * _between(_CUT_ASPECT, second), 0.97 * width / 2 / half)
            limits[:3] = [
                wide * half,
                high * half,
                (wide + high - _between(_CUT_CORNER, third)) * half,
            ]
        rows.append(limits)
    limits_px = torch.tensor(rows, device=generator.device).view(-1, 4)  # (B, 4)
    spare = torch.where(
        limits_px[:, :2] < _UNLIMITED_PX, (middle - limits_px[:, :2]).clamp(min=0), 2 * half
    )
    reach = (_CENTRE_SIDE * 2 * half * (2 * random[:, 3:5] - 1)).clamp(-spare, spare)
    return Window(
        centre_px=middle + reach,
        half_size_px=limits_px[:, :2],
        cut_px=limits_px[:, 2],
        radius_px=limits_px[:, 3],
        edge_px=edge_px,
    )


def window_share(window: Window, height: int, width: int) -> Tensor:
    """Return how much of each pixel is picture, 1 inside and 0 on the border, (B, 1, H, W)."""
    across, down = _offsets_px(window, height, width)
    across, down = across.abs(), down.abs()
    half_size = window.half_size_px[:, :, None, None]
    beyond = torch.maximum(across - half_size[:, 0], down - half_size[:, 1])  # (B, H, W), px
    beyond = torch.maximum(beyond, (across + down - window.cut_px[:, None, None]) * 0.5**0.5)
    beyond = torch.maximum(beyond, torch.hypot(across, down) - window.radius_px[:, None, None])
    soft = window.edge_px.clamp(min=torch.finfo(beyond.dtype).tiny)[:, None, None]
    return (0.5 - beyond / soft).clamp(0, 1)[:, None]


def from_centre_px(window: Window, height: int, width: int) -> Tensor:
    """Return the distance of every pixel from the window's centre, shape (B, 1, H, W)."""
    across, down = _offsets_px(window, height, width)
    return torch.hypot(across, down)[:, None]


def _offsets_px(window: Window, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the distances right (B, 1, W) and down (B, H, 1) from the window's centre."""
    centre = window.centre_px[:, :, None, None]  # (B, 2, 1, 1)
    across = torch.arange(width, device=centre.device) - centre[:, 0]
    down = torch.arange(height, device=centre.device)[:, None] - centre[:, 1]
    return across, down


def _between(limits: tuple[float, float], share: float) -> float:
    low, high = limits
    return low + (high - low) * share
