"""Charts of what the wall's own map cannot show: the colon's two ends and the heads of polyps.

Arc length and angle pinch where the colon ends and do not reach what stands on a stalk. So below
the wall's map lie squares of `CHART` texels, two beside each other:

    row 0 .. last            the wall, and one row more to look between
    then CHART rows          the end at s = 0 and, right of it, the end in the caecum
    then CHART rows a pair   heads of polyps on stalks, in their order

An end is seen along the line: its chart's axes are the frame's normal and side, `END_TEXEL_MM`
apart. A head is a sphere, unfolded as an octahedron (Praun and Hoppe 2003) by its normals.
"""

import torch
from torch import Tensor

from synthetic_colons.field import CAP_BLEND_MM, Triple

CHART = 256  # half the columns of the wall's map
END_REACH_MM = 44.0  # the widest caecum, haustra and all
END_TEXEL_MM = 2 * END_REACH_MM / CHART
# Where wall and bowl are equally far, the smooth minimum that joins them stands at this.
END_FROM_MM = CAP_BLEND_MM / 4
_TINY = 1e-6


def end_texel(x: Tensor, y: Tensor, far: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row below the wall's map and the column of places on an end, texels.

    Args:
        x: along the frame's normal, mm.
        y: along its side, mm.
        far: bool, True for the caecum's end.
    """
    most = CHART - 1 - 1e-3  # there is a texel beside the last one that is asked for
    row = (x * (1 / END_TEXEL_MM) + CHART / 2).clamp(0, most)
    column = (y * (1 / END_TEXEL_MM) + CHART / 2).clamp(0, most)
    return row, torch.where(far, column + CHART, column)


def head_texel(normal: Triple, number: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row below the wall's map and the column for the normals of heads, texels.

    Args:
        normal: of the surface, unit.
        number: of the polyp in its colon, from 0; whole numbers.
    """
    x, y, z = normal
    ax, ay = x.abs(), y.abs()
    inverse = 1 / (ax + ay + z.abs()).clamp(min=_TINY)
    u, v = x * inverse, y * inverse
    below = z < 0
    u, v = (
        torch.where(below, (1 - ay * inverse).copysign(x), u),
        torch.where(below, (1 - ax * inverse).copysign(y), v),
    )
    half = (CHART - 1) / 2
    most = CHART - 1 - 1e-3
    pair = (number * 0.5).floor()
    row = (u * half + half).clamp(0, most) + (pair + 1) * CHART
    return row, (v * half + half).clamp(0, most) + (number - 2 * pair) * CHART
