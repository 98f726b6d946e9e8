"""How bright the wall looks along each ray: wet tissue under lamps, number by number.

Diffuse light is Lambert's; under it glows what thin tissue lets through, and what the rest of the
lumen throws back. Above lies a film of mucus: a GGX lobe (Walter 2007) with Schlick's Fresnel term.
The looks come from maps over the wall (`tissue.py`), packed texel by texel.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from colondepth.centre_line import NODE_STEP_MM
from synthetic_colons.charts import END_FROM_MM, end_texel, head_texel
from synthetic_colons.field import (
    CAP_BOWL_MM,
    STALK_BLEND_MM,
    Place,
    Triple,
    from_stalk_mm,
    gradient,
    locate,
    stalk_at,
    take,
)
from synthetic_colons.light import LAMP_NUMBERS
from synthetic_colons.wall_tables import WallTables

# Albedo r g b, relief's slope along the chart's two axes, roughness, glow or shelter, spare. On
# heads, whose relief has slopes along the world's three axes, the third is in the glow's place.
TEXEL_NUMBERS = 8
FILM_REFLECTANCE = 0.028  # of water at a right angle: ((1.4 - 1) / (1.4 + 1))^2
# Share of the light that the lumen sends back once, against Lambert's own; a sphere of albedo a
# gives a / (1 - a), a tube that is open ahead about a third of it.
RETURNED = 0.18
GLOW_WRAP = 0.5  # light enters a fold up to 120 degrees from its normal
GLOW_STRENGTH = 0.35  # of Lambert's light, for the thinnest crest
# Of a lamp beside the lens, this share is behind the next fold for the deepest cleft: by eye.
SHADOW = 0.45
NEAREST_LAMP_MM = 0.5  # nearer than this the lamp's own width counts
GLOW_TINT = (1.0, 0.32, 0.22)  # what a few mm of mucosa let through: red
STALKED_MM = 1.5  # over which the wall becomes a stalk's own colour
# Where stalk and wall are equally far, the smooth minimum that joins them stands at this.
STALK_FROM_MM = STALK_BLEND_MM / 4
ON_STALK_MM = 0.2  # nearer than this, a point of the surface is the polyp's and not the wall's
# The relief shows in the film; light that went through the tissue is smoothed on its way.
RELIEF_IN_TISSUE = 0.35
_TINY = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """What the walls of several colons look like, behind each other."""

    texels: Tensor  # (rows of all * columns * TEXEL_NUMBERS,), see `charts.py`
    row_start: Tensor  # (C,) int32
    row_last: Tensor  # (C,) int32, number of the wall's last row
    columns: int
    texel_mm: float
    stalked: Tensor  # (polyps of all * 4,) of polyps on stalks: albedo r g b, number in its colon
    wet: Tensor  # (C,) 1 where a film of mucus lies on the wall, 0 where it is dry


class Surface(NamedTuple):
    """What the wall is at the end of each ray."""

    normal: Triple  # of the surface, in the world, towards the lumen
    lit: Triple  # the normal that light in the tissue sees
    skin: Triple  # the normal of the film
    arc_mm: Tensor
    angle_rad: Tensor
    axis_mm: Tensor  # distance from the centre line
    albedo: Triple
    roughness: Tensor
    glow: Tensor  # share of light that thin tissue lets through; below 0, how sheltered it lies
    wet: Tensor
    stalked: Tensor  # number of the polyp on a stalk that the ray ends on, -1 for the wall


class Shade(NamedTuple):
    """Light that goes back along each ray."""

    diffuse: Triple  # from the tissue
    film: Triple  # from the film above it
    irradiance: Tensor  # of the lamps, before the albedo: the shading


def surface(
    origin: Tensor,
    direction: Tensor,
    distance: Tensor,
    arc: Tensor,
    colon: Tensor,
    tables: WallTables,
    looks: Looks,
) -> Surface:
    """Look up the ends of rays; arguments as in `marching.cast`."""
    p: Triple = (
        origin[0] + distance * direction[0],
        origin[1] + distance * direction[1],
        origin[2] + distance * direction[2],
    )
    place = locate(p, arc, colon, tables)
    n = _unit(gradient(p, place, colon, tables))
    angle = torch.atan2(place.y, place.x)
    rho = (place.x * place.x + place.y * place.y).sqrt()
    number = stalk_at(place, colon, tables)
    away = from_stalk_mm(p, number, tables)
    on_stalk = away < STALK_FROM_MM
    texel, on_end = _texel(place, angle, rho, n, on_stalk, number, colon, tables, looks)
    red, green, blue, along, around, roughness, third = texel
    # Towards its foot a stalk loses its pattern, and the wall its own.
    inside = (1 - away * (1 / STALK_FROM_MM)).clamp(0, 1)
    beside = ((away - STALK_FROM_MM) * (1 / (STALKED_MM - STALK_FROM_MM))).clamp(0, 1)
    own = torch.where(on_stalk, inside, beside)
    first = (number * 4).long()
    foot = [looks.stalked[k:].gather(0, first) for k in range(3)]
    red = torch.addcmul(foot[0], own, red - foot[0])
    green = torch.addcmul(foot[1], own, green - foot[1])
    blue = torch.addcmul(foot[2], own, blue - foot[2])
    # The relief tilts the normals that are lit; the surface's own stays what it is.
    u, v, t = place.normal, place.side, place.tangent
    c, s = place.x / rho.clamp(min=_TINY), place.y / rho.clamp(min=_TINY)
    along, around, third = own * along, own * around, torch.where(on_stalk, own, 1) * third
    # Along T and around the wall, or along U and T x U, as weights of T, U and T x U.
    wt = torch.where(on_end, 0, along)
    wu, wv = torch.where(on_end, along, -s * around), torch.where(on_end, around, c * around)
    bx = torch.where(on_stalk, along, wt * t[0] + wu * u[0] + wv * v[0])
    by = torch.where(on_stalk, around, wt * t[1] + wu * u[1] + wv * v[1])
    bz = torch.where(on_stalk, third, wt * t[2] + wu * u[2] + wv * v[2])
    glow = torch.where(on_stalk, 0, third)
    k = RELIEF_IN_TISSUE
    return Surface(
        n,
        _unit((n[0] - k * bx, n[1] - k * by, n[2] - k * bz)),
        _unit((n[0] - bx, n[1] - by, n[2] - bz)),
        place.arc_mm,
        angle,
        rho,
        (red, green, blue),
        roughness,
        glow,
        take(looks.wet, colon),
        torch.where(away < ON_STALK_MM, number, -1),
    )


def shade(
    origin: Tensor,
    direction: Tensor,
    distance: Tensor,
    frame: Tensor,
    end: Surface,
    lamps: Tensor,
    before: Shade,
) -> Shade:
    """Add the light of one lamp a frame, (F * LAMP_NUMBERS,), to what there was before."""
    d: Triple = (direction[0], direction[1], direction[2])
    m = [take(lamps, frame * LAMP_NUMBERS + k) for k in range(LAMP_NUMBERS)]
    lx = m[0] - (origin[0] + distance * d[0])
    ly = m[1] - (origin[1] + distance * d[1])
    lz = m[2] - (origin[2] + distance * d[2])
    square = (lx * lx + ly * ly + lz * lz).clamp(min=NEAREST_LAMP_MM**2)
    inverse = square.rsqrt()
    lx, ly, lz = lx * inverse, ly * inverse, lz * inverse
    ahead = (-(lx * m[3] + ly * m[4] + lz * m[5])).clamp(min=1e-3)
    power = torch.exp(m[9] * ahead.log()) / square
    n, lit, skin = end.normal, end.lit, end.skin
    facing = lit[0] * lx + lit[1] * ly + lit[2] * lz
    # A fold's far side is dark where the surface itself turns away from the lamp.
    shown = ((n[0] * lx + n[1] * ly + n[2] * lz) * 12 + 0.6).clamp(0, 1)
    cosine = facing.clamp(min=0) * shown
    through = ((facing + GLOW_WRAP) / (1 + GLOW_WRAP)).clamp(min=0)
    sheltered = (-end.glow).clamp(min=0)
    cosine = cosine * (1 - SHADOW * sheltered)
    back = RETURNED * power * square / (square + end.axis_mm * end.axis_mm) * (1 - sheltered)
    # The film's lobe, with alpha = roughness^2 and Hammon's visibility term.
    alpha = (end.roughness * end.roughness).clamp(min=0.01)
    nv = (-(skin[0] * d[0] + skin[1] * d[1] + skin[2] * d[2])).clamp(min=0.02)
    hx, hy, hz = lx - d[0], ly - d[1], lz - d[2]
    half = (hx * hx + hy * hy + hz * hz).clamp(min=_TINY).rsqrt()
    nh = ((skin[0] * hx + skin[1] * hy + skin[2] * hz) * half).clamp(0, 1)
    vh = ((-(d[0] * hx + d[1] * hy + d[2] * hz)) * half).clamp(0, 1)
    lobe = nh * nh * (alpha * alpha - 1) + 1
    lobe = alpha * alpha / (math.pi * lobe * lobe)
    seen = 0.5 / (2 * cosine * nv * (1 - alpha) + (cosine + nv) * alpha).clamp(min=_TINY)
    bent = (1 - vh) * (1 - vh)
    fresnel = FILM_REFLECTANCE + (1 - FILM_REFLECTANCE) * bent * bent * (1 - vh)
    mirror = end.wet * lobe * seen * fresnel * cosine * power
    glow = end.glow.clamp(min=0) * GLOW_STRENGTH * through * power
    direct, share = cosine * power, 1 / math.pi
    red, green, blue = end.albedo
    return Shade(
        (
            before.diffuse[0] + m[6] * share * red * (direct + GLOW_TINT[0] * glow + back * red),
            before.diffuse[1]
            + m[7] * share * green * (direct + GLOW_TINT[1] * glow + back * green),
            before.diffuse[2] + m[8] * share * blue * (direct + GLOW_TINT[2] * glow + back * blue),
        ),
        (
            before.film[0] + m[6] * mirror,
            before.film[1] + m[7] * mirror,
            before.film[2] + m[8] * mirror,
        ),
        before.irradiance + direct * ((m[6] + m[7] + m[8]) / 3),
    )


def dark(like: Tensor) -> Shade:
    """Return no light, for rays like these (R,)."""
    nothing = torch.zeros_like(like)
    return Shade((nothing,) * 3, (nothing,) * 3, nothing)


def _texel(
    place: Place,
    angle: Tensor,
    rho: Tensor,
    normal: Triple,
    on_stalk: Tensor,
    number: Tensor,
    colon: Tensor,
    tables: WallTables,
    looks: Looks,
) -> tuple[list[Tensor], Tensor]:
    """Look the maps up between texels, bilinearly; also say where an end's chart was asked."""
    last = take(looks.row_last, colon)
    length = take(tables.node_last, colon) * NODE_STEP_MM
    ahead = torch.minimum(place.arc_mm, length - place.arc_mm)
    on_end = (ahead - rho * rho * (0.5 / CAP_BOWL_MM) < END_FROM_MM) & ~on_stalk
    on_wall = ~(on_end | on_stalk)
    below = last + 2
    row = (place.arc_mm * (1 / looks.texel_mm)).clamp(min=0).minimum(last)
    column = angle * (looks.columns / (2 * math.pi))
    end_row, end_column = end_texel(place.x, place.y, place.arc_mm > 0.5 * length)
    head_row, head_column = head_texel(normal, take(looks.stalked, number * 4 + 3))
    row = torch.where(on_wall, row, below + torch.where(on_end, end_row, head_row))
    column = torch.where(on_wall, column, torch.where(on_end, end_column, head_column))
    top, left = row.floor(), column.floor()
    down, across = row - top, column - left
    wrap = looks.columns - 1
    high = (take(looks.row_start, colon) + top.int()) * looks.columns
    a, b = left.int() & wrap, (left.int() + 1) & wrap
    places = [
        ((r + q) * TEXEL_NUMBERS).long() for r in (high, high + looks.columns) for q in (a, b)
    ]
    both = down * across
    weights = (1 - down - across + both, across - both, down - both, both)
    found = []
    for k in range(TEXEL_NUMBERS - 1):
        table = looks.texels[k:]
        one, *others = (table.gather(0, each) for each in places)
        value = weights[0] * one
        for weight, other in zip(weights[1:], others, strict=True):
            value = torch.addcmul(value, weight, other)
        found.append(value)
    return found, on_end


def _unit(v: Triple) -> Triple:
    inverse = (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]).clamp(min=_TINY).rsqrt()
    return v[0] * inverse, v[1] * inverse, v[2] * inverse
