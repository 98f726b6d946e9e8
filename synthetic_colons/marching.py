"""Rays to the wall: safe strides first for bundles of rays, then for each ray, then Newton's root.

A compiled step goes over the flat list of the rays that are still on their way, so that no time is
spent on those that have arrived.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from synthetic_colons.field import (
    Triple,
    free_mm,
    locate,
    safe_step_mm,
    values_along,
)
from synthetic_colons.kernels import compiled
from synthetic_colons.wall_tables import WallTables

BUNDLE_PX = 4  # rays are bundled by squares of so many pixels
BUNDLE_STEPS = 20
# Between rounds of steps, rays that have arrived leave the list.
FEW_STEPS, MANY_STEPS, SHORT_LIST = 2, 6, 4096
MOST_STEPS = 120
# After so many steps, one ray in fifty still grazes the wall. From then on it takes crumbs of at
# least this, mm: a piece of wall that is thinner along the ray may be passed, and no thicker one.
CRUMBS_MM = {24: 0.04, 60: 0.1}
ARRIVED_SHARE = 5e-5  # of the distance, between the bounds: four times below what tests ask for
# A ray that grazes the wall is there when the field is this share of the distance: 0.1 um at 50 mm.
TOUCH_SHARE = 2e-6
# Rays are padded to lists of whole multiples: a vector's last lanes must not be another kernel.
LIST_MULTIPLE = 64
_WORTH_SHRINKING = 0.75  # copying a list costs a third of a round


class Hits(NamedTuple):
    """Where rays (R,) meet the wall."""

    distance_mm: Tensor
    arc_mm: Tensor
    arrived: Tensor  # bool, False for the few that were given up


def stride(
    origin: Tensor,
    direction: Tensor,
    distance: Tensor,
    arc: Tensor,
    colon: Tensor,
    spread: Tensor,
    tables: WallTables,
) -> tuple[Tensor, Tensor]:
    """Take one safe stride with each bundle; stop where its width fills what is free."""
    o, d = (origin[0], origin[1], origin[2]), (direction[0], direction[1], direction[2])
    point = (o[0] + distance * d[0], o[1] + distance * d[1], o[2] + distance * d[2])
    place = locate(point, arc, colon, tables)
    place = locate(point, place.arc_mm, colon, tables)
    free = free_mm(place, point, colon, tables)[0]
    step = ((free - spread * distance) / (1 + spread)).clamp(min=0)
    guess = place.arc_mm + step * _along(d, place)
    return distance + step, guess


def approach(
    origin: Tensor,
    direction: Tensor,
    distance: Tensor,
    arc: Tensor,
    colon: Tensor,
    arrived: Tensor,
    least_mm: Tensor,
    tables: WallTables,
) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step with each ray: a safe stride or the root of the lower parabola.

    `least_mm`, (), is 0 but for rays that have grazed the wall for long: see `CRUMBS_MM`.
    """
    o, d = (origin[0], origin[1], origin[2]), (direction[0], direction[1], direction[2])
    point = (o[0] + distance * d[0], o[1] + distance * d[1], o[2] + distance * d[2])
    place = locate(point, arc, colon, tables)
    free, bends = free_mm(place, point, colon, tables)
    values = values_along(point, d, place, colon, tables)
    step, gap = safe_step_mm(values, bends)
    here = (gap < ARRIVED_SHARE * distance) | (values.field.abs() < TOUCH_SHARE * distance)
    # A crumb may end behind the wall. On the way out of it again, the wall is within that crumb;
    # on the way in, a ray that has been taking crumbs goes back to where the wall's slope says.
    behind = values.field < 0
    passed = behind & (values.change >= 0)
    fetched = behind & ~passed & (least_mm > 0)
    back = -torch.minimum(values.field / values.change, least_mm)
    here, step = here | passed | fetched, torch.where(passed, 0, step)
    step = torch.where(fetched, back, step)
    step = torch.where((step > 0) & ~here, torch.maximum(step, free).maximum(least_mm), step)
    step = torch.where(arrived, 0, step)
    return distance + step, place.arc_mm + step * _along(d, place), arrived | here


def cast(
    origin: Tensor,
    direction: Tensor,
    distance: Tensor,
    arc: Tensor,
    colon: Tensor,
    tables: WallTables,
) -> Hits:
    """Follow rays to the wall.

    Args:
        origin: (3, R) world.
        direction: (3, R) unit.
        distance: (R,) where to begin; nothing is nearer.
        arc: (R,) arc length there, to a few mm.
        colon: (R,) int32, which colon of the tables.
        tables: of all colons.
    """
    step = compiled(approach)
    count = len(distance)
    out = Hits(torch.empty_like(distance), torch.empty_like(arc), torch.zeros_like(arc).bool())
    index = torch.arange(count + (-count % LIST_MULTIPLE), device=arc.device).clamp(max=count - 1)
    rays = [each.index_select(-1, index) for each in (origin, direction, distance, arc, colon)]
    origin, direction, distance, arc, colon = rays
    arrived = torch.zeros_like(index, dtype=torch.bool)
    crumbs = {after: origin.new_tensor(crumb) for after, crumb in CRUMBS_MM.items()}
    least, done = origin.new_zeros(()), 0
    while done < MOST_STEPS:
        for _ in range(FEW_STEPS if len(index) > SHORT_LIST else MANY_STEPS):
            least = crumbs.get(done, least)
            done += 1
            distance, arc, arrived = step(
                origin, direction, distance, arc, colon, arrived, least, tables
            )
        left = (~arrived).nonzero()[:, 0]
        if len(left) > _WORTH_SHRINKING * len(index):
            continue
        out.distance_mm[index], out.arc_mm[index], out.arrived[index] = distance, arc, arrived
        if len(left) == 0:
            return out
        # The last ray again and again fills the list up to whole vectors.
        left = torch.cat([left, left[-1:].expand(-len(left) % LIST_MULTIPLE)])
        rays = [each.index_select(-1, left) for each in (origin, direction, distance, arc, colon)]
        origin, direction, distance, arc, colon = rays
        index, arrived = index[left], arrived[left]
    out.distance_mm[index], out.arc_mm[index], out.arrived[index] = distance, arc, arrived
    return out


def _along(direction: Triple, place: Any) -> Tensor:
    t = place.tangent
    forward = direction[0] * t[0] + direction[1] * t[1] + direction[2] * t[2]
    speed: Tensor = forward / (1 - place.inward).clamp(min=0.3)
    return speed
