"""A catheter out of the working channel: a sheath, and cups of a forceps or a loop of wire.

All of it is capsules (a line from a to b with a radius) in the camera's frame, where the channel
stands still; what is out slides along one straight line.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from synthetic_colons.clinic_settings import InstrumentDraw, Tool
from synthetic_colons.light import Lamps
from synthetic_colons.pixel_lists import Canvas, Rays, dot, lit

TOOL_LABEL = 211
CHANNEL_MM = -3.0  # z of the channel's mouth: the sheath comes from behind the lens
CUP_MM, CUP_RADIUS_SHARE = 4.0, 0.75  # length of a cup, its radius in the sheath's
WIRE_MM = 0.28  # radius of a snare's wire; woven, 0.4 to 0.6 mm thick
COLLAR_MM = 3.0  # of metal at the sheath's end
_LOOP_PARTS = 12
# Metal: little diffuse light, of the colour of the tissue that it mirrors, and a broad highlight.
_METAL_ALBEDO, _METAL_ROUGHNESS, _METAL_WET = (0.46, 0.41, 0.40), 0.38, 20.0
_PLASTIC_ROUGHNESS, _PLASTIC_WET = 0.30, 1.6
# Light guides throw their light forward: what has just left the channel beside them gets little,
# half of it so far before the lens.
_BEAM_MM = 8.0
_FARTHEST_MM = 1e6
_SHAFT_PARTS = 2  # of the capsules: sheath and collar, the rest is at their end
_SPARE_MM = 0.05  # by which rays are chosen too many: float32 has the last word on none


@dataclass(frozen=True, slots=True)
class Capsule:
    """All points within a radius of the line from a to b, in the camera's frame."""

    a_mm: tuple[float, float, float]
    b_mm: tuple[float, float, float]
    radius_mm: float
    metal: bool


def out_mm(draw: InstrumentDraw, time_s: float) -> float:
    """Return how far the sheath's end stands before the lens; 0 or less while it is inside."""
    comes, goes = (
        _smooth((time_s - draw.out_s) / draw.thrust_s),
        _smooth((draw.back_s - time_s) / draw.thrust_s),
    )
    turn = 2 * math.pi * time_s / draw.swing_period_s + draw.swing_phase_rad
    return comes * goes * (draw.reach_mm + draw.swing_mm * math.sin(turn))


def axis(draw: InstrumentDraw) -> tuple[float, float, float]:
    """Return the unit direction in which it comes out, in the camera's frame."""
    inward = math.sin(draw.inward_rad)
    return (
        -inward * math.cos(draw.clock_rad),
        -inward * math.sin(draw.clock_rad),
        math.cos(draw.inward_rad),
    )


def capsules(draw: InstrumentDraw, time_s: float) -> tuple[Capsule, ...]:
    """Return what is out at a moment; nothing while the instrument is inside."""
    out = out_mm(draw, time_s)
    if out <= 0:
        return ()
    to = axis(draw)
    mouth = (
        draw.channel_offset_mm * math.cos(draw.clock_rad),
        draw.channel_offset_mm * math.sin(draw.clock_rad),
        CHANNEL_MM,
    )
    # Two directions across: what is at the end is turned by the roll.
    c, s = math.cos(draw.clock_rad), math.sin(draw.clock_rad)
    one = (-s, c, 0.0)
    two = (to[1] * one[2] - to[2] * one[1], to[2] * one[0] - to[0] * one[2])
    two3 = (*two, to[0] * one[1] - to[1] * one[0])
    cr, sr = math.cos(draw.roll_rad), math.sin(draw.roll_rad)
    side = tuple(cr * p + sr * q for p, q in zip(one, two3, strict=True))

    def at(along: float, across: float = 0.0) -> tuple[float, float, float]:
        x, y, z = (m + along * t + across * w for m, t, w in zip(mouth, to, side, strict=True))
        return x, y, z

    end, radius = out - CHANNEL_MM, draw.sheath_radius_mm
    neck = max(0.0, end - COLLAR_MM)
    parts = [
        Capsule(at(-10.0), at(neck), radius, False),
        Capsule(at(neck), at(end), 0.92 * radius, True),
    ]
    if draw.tool is Tool.FORCEPS:
        c, s = math.cos(draw.opening_rad), math.sin(draw.opening_rad)
        for way in (-1.0, 1.0):
            start = at(end, way * 0.3 * radius)
            tip = at(end + CUP_MM * c, way * (0.3 * radius + CUP_MM * s))
            parts.append(Capsule(start, tip, CUP_RADIUS_SHARE * radius, True))
        return tuple(parts)
    spots = []
    for number in range(_LOOP_PARTS + 1):
        share = number / _LOOP_PARTS
        # A drop: narrow where it leaves the sheath, round at the far end.
        along = draw.loop_length_mm * math.sin(math.pi * share)
        width = draw.loop_length_mm * draw.loop_share / 2
        across = width * math.sin(2 * math.pi * share) * math.sin(math.pi * share) * 1.3
        spots.append(at(end + along, across))
    parts += [Capsule(p, q, WIRE_MM, True) for p, q in pairwise(spots)]
    return tuple(parts)


def capsule_hit(ray: Tensor, capsule: Capsule) -> tuple[Tensor, Tensor]:
    """Return where rays from the origin meet a capsule, and the normals there.

    Args:
        ray: unit, (3, N), float64 for a thousandth of a millimetre.
        capsule: not around the origin.

    Returns:
        Distance (N,), inf where there is no hit ahead, and outward normals (3, N).
    """
    a, b = (torch.tensor(v).to(ray)[:, None] for v in (capsule.a_mm, capsule.b_mm))
    line = b - a  # (3, 1)
    square = (line * line).sum()
    ray_line, a_line = dot(line, ray), -(line * a).sum()
    ray_a, a_a = -dot(a, ray), (a * a).sum()
    # The endless cylinder: a quadratic in t.
    two = (square - ray_line * ray_line).clamp(min=1e-9)
    one = square * ray_a - a_line * ray_line
    none = square * a_a - a_line * a_line - capsule.radius_mm**2 * square
    root = one * one - two * none
    t = (-one - root.clamp(min=0).sqrt()) / two
    along = a_line + t * ray_line  # (N,), of 0 to square
    body = (root > 0) & (along > 0) & (along < square) & (t > 0)
    best = torch.where(body, t, torch.inf)
    for end in (a, b):
        middle = dot(end, ray)
        root = middle * middle - ((end * end).sum() - capsule.radius_mm**2)
        t = middle - root.clamp(min=0).sqrt()
        best = torch.minimum(best, torch.where((root > 0) & (t > 0), t, torch.inf))
    point = ray * torch.where(best.isinf(), 0, best)
    share = (dot(line, point - a) / square.clamp(min=1e-9)).clamp(0, 1)
    return best, (point - a - share * line) / capsule.radius_mm


def add_instrument(canvas: Canvas, lamps: Lamps, draw: InstrumentDraw, time_s: Tensor) -> None:
    """Paint the instrument where nothing stands before it."""
    for number, moment in enumerate(time_s.tolist()):
        parts = capsules(draw, moment)
        if parts:
            rays = canvas.frame_rays(number)
            _add_parts(canvas, rays, lamps, draw, parts)


def _add_parts(
    canvas: Canvas, rays: Rays, lamps: Lamps, draw: InstrumentDraw, parts: tuple[Capsule, ...]
) -> None:
    shaft = Capsule(parts[0].a_mm, parts[1].b_mm, parts[0].radius_mm + _SPARE_MM, False)
    of_shaft, of_head = _may_meet(rays.ray, shaft), _in_cone(rays.ray, *_ball(parts[_SHAFT_PARTS:]))
    near = (of_shaft | of_head).nonzero()[:, 0]
    if not len(near):
        return
    rays, of_shaft = rays.at(near), of_shaft[near]
    best = torch.full((len(near),), torch.inf, dtype=torch.float64, device=near.device)
    normal, metal = best.new_zeros(3, len(near)), torch.zeros_like(best, dtype=torch.bool)
    for number, part in enumerate(parts):
        own = of_shaft if number < _SHAFT_PARTS else _in_cone(rays.ray, *_ball((part,)))
        which = own.nonzero()[:, 0]
        t, out = capsule_hit(rays.ray[:, which].double(), part)
        nearer = t < best[which]
        which = which[nearer]
        best[which], normal[:, which], metal[which] = t[nearer], out[:, nearer], part.metal
    behind = canvas.get("distance_mm", rays.pixel)[0]
    behind = torch.where(canvas.get("valid", rays.pixel)[0], behind, _FARTHEST_MM)
    which = (best < behind).nonzero()[:, 0]
    if not len(which):
        return
    rays, t, normal = rays.at(which), best[which].float(), normal[:, which].float()
    metal = metal[which]
    steel, sheath = (
        torch.tensor(colour, device=t.device)[:, None]
        for colour in (_METAL_ALBEDO, draw.sheath_albedo)
    )
    albedo = torch.where(metal, steel, sheath)
    diffuse, film, irradiance = lit(
        rays,
        t,
        lamps,
        normal=normal,
        skin=normal,
        albedo=albedo,
        roughness=torch.where(metal, _METAL_ROUGHNESS, _PLASTIC_ROUGHNESS),
        wet=torch.where(metal, _METAL_WET, _PLASTIC_WET),
    )
    depth = (t * rays.ray[2]).clamp(min=0)
    beam = depth.square() / (depth.square() + _BEAM_MM**2)
    diffuse, film, irradiance = diffuse * beam, film * beam, irradiance * beam
    canvas.put_light(rays.pixel, diffuse, film, torch.ones_like(rays.pixel, dtype=torch.bool)[None])
    canvas.put("albedo", rays.pixel, albedo)
    canvas.put("shading", rays.pixel, irradiance)
    canvas.put_surface(rays, t, normal, TOOL_LABEL)


def _may_meet(ray: Tensor, capsule: Capsule) -> Tensor:
    """Return which rays go through the endless cylinder around a capsule, ahead of the lens."""
    line = torch.tensor(capsule.b_mm) - torch.tensor(capsule.a_mm)
    along = line / line.norm()
    start = torch.tensor(capsule.a_mm)
    off = start - (start @ along) * along  # of the line, from the origin
    of_ray = dot(along.to(ray)[:, None], ray)
    ahead = dot(off.to(ray)[:, None], ray)
    rest = float(off @ off) - capsule.radius_mm**2
    return (ahead > 0) & (ahead * ahead > rest * (1 - of_ray * of_ray))


def _ball(parts: tuple[Capsule, ...]) -> tuple[tuple[float, ...], float]:
    """Return a ball around capsules: its middle and its radius."""
    ends = [end for part in parts for end in (part.a_mm, part.b_mm)]
    low, high = (tuple(pick(values) for values in zip(*ends, strict=True)) for pick in (min, max))
    middle = tuple((p + q) / 2 for p, q in zip(low, high, strict=True))
    radius = max(math.dist(middle, end) for end in ends) + max(part.radius_mm for part in parts)
    return middle, radius + _SPARE_MM


def _in_cone(ray: Tensor, middle: tuple[float, ...], radius: float) -> Tensor:
    """Return which rays pass through a ball ahead."""
    ahead = ray[0] * middle[0] + ray[1] * middle[1] + ray[2] * middle[2]
    away = math.dist(middle, (0.0, 0.0, 0.0))
    if away <= radius:
        return torch.ones_like(ahead, dtype=torch.bool)
    return ahead > math.sqrt(away * away - radius * radius)


def _smooth(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)
