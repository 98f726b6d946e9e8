"""The errors of depth in parts of a frame: by depth, by angle from the optical axis, lit or dark.

One number a frame hides where a network fails. A part is a bool map that says which pixels belong
to it, shape (B, 1, H, W), or (1, 1, H, W) for all frames alike; depth is aligned over the whole
frame before, not part by part, or a part would forgive itself its own scale. The parts of one kind
do not overlap. Errors of a part that has no pixel in a frame are nan; `part_shares` says how much
of a frame each part is, without which a large error in a small corner looks like a large error.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf, nan

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.shapes import require_bool, require_float, require_shapes
from evaluation.depth_errors import depth_errors

# Where a polyp is measured, where the scope is steered to, and the lumen beyond.
DEPTH_EDGES_MM = (20.0, 40.0, 80.0)
# From the axis, near the thirds of the 70 degrees that a scope of a 140 degree field sees.
RING_EDGES_DEG = (25.0, 50.0)
# Of the largest channel, sRGB in [0, 1]. Of six images of ETIS-Larib it takes 0 to 24 %.
DARK_BELOW = 0.25

Parts = Mapping[str, Tensor]


def breakdown(
    found_mm: Tensor, true_mm: Tensor, known: Tensor, *, parts: Parts
) -> dict[str, dict[str, Tensor]]:
    """Return for each part the errors of `depth_errors`, (B,) each.

    Args:
        found_mm: z-depth, aligned already if it is to be, shape (B, 1, H, W).
        true_mm: z-depth, 0 where unknown, shape (B, 1, H, W).
        known: bool, where to measure, shape (B, 1, H, W).
        parts: from the functions below, of one kind or of several together.
    """
    _require_parts(known, parts)
    return {name: depth_errors(found_mm, true_mm, known & inside) for name, inside in parts.items()}


def part_shares(known: Tensor, *, parts: Parts) -> dict[str, Tensor]:
    """Return for each part which share of the known pixels is in it, (B,); nan if none is known.

    Args:
        known: bool, shape (B, 1, H, W).
        parts: as for `breakdown`.
    """
    _require_parts(known, parts)
    pixels = known.sum(dim=(1, 2, 3)).double()
    pixels = torch.where(pixels > 0, pixels, nan)
    return {name: (known & inside).sum(dim=(1, 2, 3)) / pixels for name, inside in parts.items()}


def depth_ranges(true_mm: Tensor, *, edges_mm: Sequence[float] = DEPTH_EDGES_MM) -> Parts:
    """Divide pixels by true depth: from each edge up to, and without, the next.

    Args:
        true_mm: z-depth, 0 where unknown, which is in no part, shape (B, 1, H, W).
        edges_mm: above 0, increasing.
    """
    require_shapes(true_mm=(true_mm, "B 1 H W"))
    require_float(true_mm=true_mm)
    parts = {}
    for low, high in _intervals(edges_mm, "edges_mm"):
        name = f"{low:g}-{high:g} mm" if high < inf else f"{low:g} mm and farther"
        parts[name] = (true_mm > 0) & (true_mm >= low) & (true_mm < high)
    return parts


def angle_rings(camera: Camera, *, edges_deg: Sequence[float] = RING_EDGES_DEG) -> Parts:
    """Divide pixels by the angle of their rays from the optical axis: centre, middle and rim.

    Args:
        camera: of the frames; a pixel that no light reaches is in no part.
        edges_deg: two, where the middle begins and where it ends.
    """
    if len(edges_deg) != 2:
        raise DataError(f"edges_deg has {len(edges_deg)} numbers, expected 2 between 3 rings")
    rays = camera.rays(camera.height, camera.width)  # (*B, H, W, 3)
    off_axis = torch.linalg.vector_norm(rays[..., :2], dim=-1)
    angle_deg = torch.atan2(off_axis, rays[..., 2]).rad2deg()  # (*B, H, W)
    seen = (rays != 0).any(dim=-1)
    names = ("centre", "middle", "rim")
    return {
        name: (seen & (angle_deg >= low) & (angle_deg < high)).reshape(
            -1, 1, camera.height, camera.width
        )
        for name, (low, high) in zip(names, _intervals(edges_deg, "edges_deg"), strict=True)
    }


def lit_and_dark(image: Tensor, *, dark_below: float = DARK_BELOW) -> Parts:
    """Divide pixels by the largest of their three channels.

    Args:
        image: sRGB in [0, 1], shape (B, 3, H, W).
        dark_below: the least that is lit.
    """
    require_shapes(image=(image, "B 3 H W"))
    require_float(image=image)
    dark = image.amax(dim=1, keepdim=True) < dark_below  # (B, 1, H, W)
    return {"lit": ~dark, "dark": dark}


def _intervals(edges: Sequence[float], name: str) -> list[tuple[float, float]]:
    bounds = [0.0, *edges, inf]
    pairs = list(pairwise(bounds))
    if not all(low < high for low, high in pairs):
        raise DataError(f"{name} is {tuple(edges)}, expected increasing numbers above 0")
    return pairs


def _require_parts(known: Tensor, parts: Parts) -> None:
    size = require_shapes(known=(known, "B 1 H W"))
    require_bool(known=known, **parts)
    for name, inside in parts.items():
        require_shapes(known=(known, "B 1 H W"), **{name: (inside, "P 1 H W")})
        if len(inside) not in (1, size["B"]):
            raise DataError(f"part {name!r} is for {len(inside)} frames, expected 1 or {size['B']}")
