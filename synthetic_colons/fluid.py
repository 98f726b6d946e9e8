"""Pools: a level surface, and what is below it seen through what makes it turbid.

A pool fills a hollow of the colon between two rows whose lowest point lies above its level
(`clinic_draws`). So a point of the wall is in the pool if it lies below the level between those
rows, and a ray that ends there from above has gone through the surface exactly once.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_colons.bubbles import (
    Box,
    Bubbles,
    Grid,
    bubble_grids,
    bubbles_at,
    on_device,
    paint_bubbles,
)
from synthetic_colons.clinic_settings import ClinicDraw, PoolDraw, Triplet, plane_axes
from synthetic_colons.exposure import LUMINANCE
from synthetic_colons.light import Lamps
from synthetic_colons.pixel_lists import Canvas, Rays, dot, in_camera, lit, of_rays, unit

FLUID_LABEL = 210
WATER_FRESNEL = 0.02  # ((1.33 - 1) / (1.33 + 1))^2
MENISCUS_MM = 0.7  # height over which the surface bends up to the wall
SURFACE_ROUGHNESS = 0.13  # a still surface is smoother, but lamps are not points
_SURFACE_WET = 1.0  # the renderer's film is water too
_MENISCUS_TILT, _MENISCUS_GAIN = 0.8, 0.05  # the bent edge turns to the lamps and gathers light
# What the lumen above throws back, seen in the surface: tissue, about so far above it.
_ABOVE_ALBEDO = (0.50, 0.24, 0.18)
_ABOVE_MM = 18.0
_WAVES = ((6.1, 0.3), (9.7, 1.9), (14.3, 4.2))  # length (mm) and direction (rad) of ripples
_WAVE_RAD_PER_S = 4.0
_SWIRLS = ((31.0, 1.1), (19.0, 2.6))  # of stirred sediment
_SWIRL = 0.2  # how much it changes the turbidity
# A camera in the pool sees its own light come back from the first millimetres.
_VEIL_NEAREST_MM = 5.0
_VEIL_SHARE = 0.25
UNSEEN = 0.05  # share of the light below which what is behind is not seen
_CLUSTER_REACH = 1.3  # radii: beyond, nothing of a cluster is left
_POOLS_KEPT = 16  # whose foam is remembered; some 100 kB each
_TINY = 1e-6


class PoolInSight(NamedTuple):
    """Which rays go through a pool's surface, or through the pool if the camera is in it."""

    pool: PoolDraw
    which: Tensor  # (N,), places in the list of all rays
    surface_mm: Tensor  # (N,) along the ray: where it enters the fluid, or leaves it from within
    below_mm: Tensor  # (N,) depth of the wall below the level
    within: bool  # the camera is in the fluid


def pools_in_sight(
    canvas: Canvas, world_from_camera: Tensor, draw: ClinicDraw
) -> list[PoolInSight]:
    """Find the pools that rays meet, while the canvas still shows the wall alone."""
    found: list[PoolInSight] = []
    valid = canvas.get("valid")[0]
    if not draw.pools or not bool(valid.any()):
        return found
    arc = canvas.get("arc_mm")[0]
    low = float(torch.where(valid, arc, torch.inf).min())
    high = float(torch.where(valid, arc, -torch.inf).max())
    up = in_camera(world_from_camera, draw.up)  # (3, B)
    frame = canvas.rays.frame.long()
    tall = _along(world_from_camera[:, :3, 3], draw.up)  # (B,)
    climb = dot(of_rays(up, canvas.rays), canvas.rays.ray)  # mm for each mm
    distance = canvas.get("distance_mm")[0]
    for pool in draw.pools:
        if pool.to_mm <= low or pool.from_mm >= high:
            continue
        above = tall - pool.level_mm  # (B,)
        own = of_rays(above, canvas.rays)
        inside = valid & (arc > pool.from_mm) & (arc < pool.to_mm) & (own + distance * climb < 0)
        dips = torch.zeros_like(above, dtype=torch.bool)
        if bool((above <= 0).any()):
            dips[frame[inside]] = True
            dips &= above <= 0
        which = (inside & (own > 0)).nonzero()[:, 0]
        if len(which):
            found.append(_entering(pool, which, own, climb, distance))
        if bool(dips.any()):
            which = dips[frame].nonzero()[:, 0]
            found.append(_leaving(pool, which, own, climb, distance))
    return found


def paint_pool(
    canvas: Canvas,
    seen: PoolInSight,
    world_from_camera: Tensor,
    lamps: Lamps,
    draw: ClinicDraw,
    time_s: Tensor,
) -> None:
    """Paint a pool over whatever stands behind its surface, and the foam on it."""
    if seen.within:
        _paint_veil(canvas, seen, lamps)
        return
    behind = canvas.get("distance_mm", canvas.rays.pixel[seen.which])[0]
    front = behind > seen.surface_mm
    which, t = seen.which[front], seen.surface_mm[front]
    if not len(which):
        return
    rays, pool = canvas.rays.at(which), seen.pool
    axes = plane_axes(draw.up)
    up, *sides = (
        of_rays(in_camera(world_from_camera, each), rays).expand(3, len(t))
        for each in (draw.up, *axes)
    )
    u, v = (
        of_rays(_along(world_from_camera[:, :3, 3], axis), rays) + t * dot(side, rays.ray)
        for axis, side in zip(axes, sides, strict=True)
    )
    passes = _passes(pool, behind[front] - t, u, v)  # (3, N)
    edge = torch.exp(-seen.below_mm[front] / MENISCUS_MM)
    wall = canvas.get("normals", rays.pixel)
    tilt_u, tilt_v = _ripples(pool, u, v, of_rays(time_s.to(u), rays))
    skin = unit(up + tilt_u * sides[0] + tilt_v * sides[1] + _MENISCUS_TILT * edge * wall)
    fluid = torch.tensor(pool.albedo, device=t.device)[:, None] * (1 - passes)
    ones = torch.ones_like(t)
    diffuse, film, irradiance = lit(
        rays,
        t,
        lamps,
        normal=up,
        skin=skin,
        albedo=fluid + _MENISCUS_GAIN * edge,
        roughness=ones * SURFACE_ROUGHNESS,
        wet=ones * _SURFACE_WET,
    )
    # A film of water does not mirror under water: only the tissue's own light comes up.
    pixel = rays.pixel
    below = canvas.get("light", pixel) - canvas.get("film", pixel)
    grazing = 1 - (-dot(up, rays.ray)).clamp(0, 1)
    mirrors = WATER_FRESNEL + (1 - WATER_FRESNEL) * grazing.square().square() * grazing
    above = torch.tensor(_ABOVE_ALBEDO, device=t.device)[:, None] * of_rays(_powers(lamps), rays)
    above = above / ((t + _ABOVE_MM).square() * math.pi)
    diffuse = (1 - mirrors) * (diffuse + passes * below) + mirrors * above
    valid = torch.ones_like(pixel, dtype=torch.bool)[None]
    albedo = fluid + passes * canvas.get("albedo", pixel)
    canvas.put_light(pixel, diffuse, film, valid)
    canvas.put("albedo", pixel, albedo)
    canvas.put("shading", pixel, irradiance)
    canvas.put_surface(rays, t, up, FLUID_LABEL)
    _paint_foam(canvas, rays, lamps, pool, (u, v), torch.stack(sides))


def _entering(
    pool: PoolDraw, which: Tensor, above: Tensor, climb: Tensor, distance: Tensor
) -> PoolInSight:
    own = above if len(above) == 1 else above[which]
    slope = climb[which]
    return PoolInSight(pool, which, -own / slope, -(own + distance[which] * slope), False)


def _leaving(
    pool: PoolDraw, which: Tensor, above: Tensor, climb: Tensor, distance: Tensor
) -> PoolInSight:
    own = above if len(above) == 1 else above[which]
    slope = climb[which]
    ends = -(own + distance[which] * slope)
    way = torch.where(ends < 0, -own / slope.clamp(min=_TINY), torch.inf)
    return PoolInSight(pool, which, way, ends, True)


def _paint_veil(canvas: Canvas, seen: PoolInSight, lamps: Lamps) -> None:
    """Paint what a camera in the fluid sees: everything through it."""
    rays = canvas.rays.at(seen.which)
    pixel = rays.pixel
    distance = canvas.get("distance_mm", pixel)[0]
    far = torch.where(canvas.get("valid", pixel)[0], distance, torch.inf)
    reach = torch.tensor(seen.pool.turbidity_mm, device=distance.device)[:, None]
    passes = torch.exp(-torch.minimum(far, seen.surface_mm) / reach)
    glow = of_rays(_powers(lamps), rays) / reach.clamp(min=_VEIL_NEAREST_MM).square()
    colour = torch.tensor(seen.pool.albedo, device=distance.device)[:, None]
    film = canvas.get("film", pixel) * passes
    diffuse = (canvas.get("light", pixel) - canvas.get("film", pixel)) * passes
    diffuse = diffuse + (1 - passes) * colour * glow * (_VEIL_SHARE / math.pi)
    known = canvas.get("valid", pixel) & (_luminance(passes) > UNSEEN)
    canvas.put_light(pixel, diffuse, film, known)
    canvas.put("valid", pixel, known)


def _paint_foam(
    canvas: Canvas,
    rays: Rays,
    lamps: Lamps,
    pool: PoolDraw,
    place: tuple[Tensor, Tensor],
    sides: Tensor,
) -> None:
    if not pool.clusters:
        return
    u, v = place
    grids, box = _pool_grids(pool, str(u.device))
    near = (u > box[0]) & (u < box[1]) & (v > box[2]) & (v < box[3])
    which = near.nonzero()[:, 0]
    if not len(which):
        return
    found = bubbles_at(u[which], v[which], grids)
    own = found.found.nonzero()[:, 0]
    if not len(own):
        return
    which = which[own]
    seen = Bubbles(*(each[own] for each in found))
    along, across = sides[:, :, which]
    paint_bubbles(canvas, rays.at(which), lamps, seen, along=along, across=across)


@lru_cache(maxsize=_POOLS_KEPT)
def _pool_grids(pool: PoolDraw, device: str) -> tuple[tuple[Grid, Grid], Box]:
    """Return the foam of a pool, and the box that it floats in."""
    reach = [(each.u_mm, each.v_mm, _CLUSTER_REACH * each.radius_mm) for each in pool.clusters]
    box = (
        min(u - r for u, _, r in reach),
        max(u + r for u, _, r in reach),
        min(v - r for _, v, r in reach),
        max(v + r for _, v, r in reach),
    )

    def cover(u_mm: Tensor, v_mm: Tensor) -> Tensor:
        return _cover(pool, u_mm, v_mm)

    return on_device(bubble_grids(pool.foam, box, cover), device), box


def _cover(pool: PoolDraw, u_mm: Tensor, v_mm: Tensor) -> Tensor:
    """Return how much of a place clusters cover, in [0, 1]."""
    best = torch.zeros_like(u_mm)
    wobble = 0.35 * (0.8 * u_mm + 1.3).sin() * (0.7 * v_mm).cos()
    for each in pool.clusters:
        off_u, off_v = u_mm - each.u_mm, v_mm - each.v_mm
        away = (off_u * off_u + off_v * off_v) / each.radius_mm**2
        best = torch.maximum(best, 1.2 - away + wobble * (away < 1.2))
    return best.clamp(0, 1)


def _passes(pool: PoolDraw, path_mm: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Return the share of light that comes through a path, by Lambert and Beer, (3, N)."""
    swirl = torch.zeros_like(u)
    for length, turn in _SWIRLS:
        swirl = swirl + (2 * math.pi / length * (math.cos(turn) * u + math.sin(turn) * v)).sin()
    stirred = path_mm * (1 + _SWIRL / len(_SWIRLS) * swirl)
    reach = torch.tensor(pool.turbidity_mm, device=u.device)[:, None]
    return torch.exp(-stirred / reach)


def _ripples(pool: PoolDraw, u: Tensor, v: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of the surface along u and v."""
    slope_u, slope_v = torch.zeros_like(u), torch.zeros_like(u)
    for number, (length, turn) in enumerate(_WAVES):
        c, s = math.cos(turn), math.sin(turn)
        phase = 2 * math.pi / length * (c * u + s * v) + pool.ripple_phase_rad * (number + 1)
        wave = pool.ripple_slope * (phase - _WAVE_RAD_PER_S * time).cos()
        slope_u, slope_v = slope_u + c * wave, slope_v + s * wave
    return slope_u, slope_v


def _along(points: Tensor, axis: Triplet) -> Tensor:
    """Return products (B, 3) with an axis, (B,)."""
    return points[:, 0] * axis[0] + points[:, 1] * axis[1] + points[:, 2] * axis[2]


def _powers(lamps: Lamps) -> Tensor:
    """Return the power of all lamps of each frame, (3, B)."""
    return lamps.numbers[..., 6:9].sum(dim=1).T


def _luminance(colour: Tensor) -> Tensor:
    red, green, blue = LUMINANCE
    return (red * colour[0] + green * colour[1] + blue * colour[2])[None]
