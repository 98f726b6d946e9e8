"""Some of a rendering's pixels as a list: read, worked on, and put back into maps of its own.

A list's values are (C, N), its pixels are places in the flat (B, H, W). The maps that nothing was
put into stay the rendering's; the others are copied once, so that the rendering is left as it was.
"""

from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor

from synthetic_colons.field import Triple
from synthetic_colons.kernels import compiled
from synthetic_colons.light import LAMPS_EACH, Lamps
from synthetic_colons.renderer import HIGHLIGHT_SHARE, Rendering
from synthetic_colons.shading import Surface, dark, shade
from synthetic_colons.sight import Sight

# How far away the rest of a lumen is that throws light back on what lies in it.
_LUMEN_MM = 20.0
_VECTOR = 32  # float32 numbers in the widest vector register, twice


class Rays(NamedTuple):
    """Some rays of a batch of frames, in the camera's frame."""

    pixel: Tensor  # (N,) int64
    frame: Tensor  # (N,) int32
    ray: Tensor  # (3, N) unit

    def at(self, which: Tensor) -> "Rays":
        """Return those at places of the list."""
        return Rays(self.pixel[which], self.frame[which], self.ray[:, which])


class Canvas:
    """A rendering that is painted on."""

    def __init__(self, rendering: Rendering, view: Sight) -> None:
        """Begin with a rendering and the sight that it came from."""
        self._maps: dict[str, Tensor] = {
            field.name: getattr(rendering, field.name) for field in fields(rendering)
        }
        self._own: set[str] = set()
        self._per_frame = view.height * view.width
        self.frames = view.frames
        device = rendering.light.device
        self.rays = Rays(view.pixel.to(device), view.frame.to(device), view.ray.to(device))
        # Rays of frames stand behind each other.
        self._every = len(view.pixel) == view.frames * self._per_frame

    def frame_rays(self, number: int) -> Rays:
        """Return the rays of one frame."""
        if self.frames == 1:
            return self.rays
        ends = torch.tensor([number, number + 1], dtype=torch.int32, device=self.rays.frame.device)
        first, last = torch.searchsorted(self.rays.frame, ends).tolist()
        return Rays(*(each[..., first:last] for each in self.rays))

    def get(self, name: str, pixel: Tensor | None = None) -> Tensor:
        """Return values (C, N) of a map, of all rays by default."""
        values = self._maps[name]
        if pixel is None:
            if values.shape[1] == 1 and self._every:
                return values.reshape(1, -1)
            pixel = self.rays.pixel
        if self.frames == 1:
            return values[0].flatten(start_dim=1).index_select(1, pixel)
        return values.reshape(-1)[self._places(pixel, values.shape[1])]

    def put(self, name: str, pixel: Tensor, values: Tensor) -> None:
        """Write values (C, N)."""
        if name not in self._own:
            self._maps[name] = self._maps[name].clone(memory_format=torch.contiguous_format)
            self._own.add(name)
        own = self._maps[name]
        if self.frames == 1:
            own[0].view(own.shape[1], -1).index_copy_(1, pixel, values.to(own.dtype))
            return
        own.view(-1)[self._places(pixel, own.shape[1])] = values.to(own.dtype)

    def put_light(self, pixel: Tensor, diffuse: Tensor, film: Tensor, valid: Tensor) -> None:
        """Write light (3, N) and what of it is highlights; True where a pixel counts."""
        bright, rest = film.sum(dim=0, keepdim=True), diffuse.sum(dim=0, keepdim=True)
        self.put("light", pixel, diffuse + film)
        self.put("film", pixel, film)
        self.put("specular", pixel, valid & (bright > HIGHLIGHT_SHARE * rest))

    def put_surface(self, rays: Rays, distance: Tensor, normal: Tensor, label: int) -> None:
        """Write the geometry of what now ends rays: not the wall, so without its coordinates."""
        pixel = rays.pixel
        self.put("distance_mm", pixel, distance[None])
        self.put("depth_mm", pixel, (distance * rays.ray[2].clamp(min=0))[None])
        self.put("normals", pixel, normal)
        self.put("label", pixel, torch.full_like(pixel, label)[None])
        self.put("valid", pixel, torch.ones_like(pixel, dtype=torch.bool)[None])
        for name in ("arc_mm", "angle_rad", "axis_mm"):
            self.put(name, pixel, torch.zeros_like(distance)[None])

    def rendering(self) -> Rendering:
        """Return the painted rendering."""
        return Rendering(**self._maps)

    def _places(self, pixel: Tensor, channels: int) -> Tensor:
        if channels == 1:
            return pixel[None]
        frame = torch.div(pixel, self._per_frame, rounding_mode="floor")
        first = pixel + frame * ((channels - 1) * self._per_frame)
        number = torch.arange(channels, device=pixel.device)[:, None]
        return first + number * self._per_frame


def lit(
    rays: Rays,
    distance: Tensor,
    lamps: Lamps,
    *,
    normal: Tensor,
    skin: Tensor,
    albedo: Tensor,
    roughness: Tensor,
    wet: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Light surfaces as the renderer lights the wall.

    Args:
        rays: that end on them.
        distance: along the rays, (N,).
        lamps: of the frames.
        normal: of the surface, (3, N), in the camera's frame.
        skin: the normal that mirrors, (3, N).
        albedo: (3, N).
        roughness: of the mirror, (N,).
        wet: how much it mirrors, in films of water, (N,).

    Returns:
        Diffuse light and mirrored light (3, N), and irradiance (1, N).
    """
    count = len(distance)
    # Whole vectors: last bits do not depend on a list's length, and no list is 1 long, which a
    # compiler would make a kernel of its own for.
    spare = -count % _VECTOR
    lists = (rays.ray, normal, skin, albedo, distance, roughness, wet, rays.frame)
    filled = [torch.cat([x, x[..., -1:].expand(*x.shape[:-1], spare)], dim=-1) for x in lists]
    ray, normal, skin, albedo, distance, roughness, wet, frame = filled
    nothing = torch.zeros_like(distance)
    end = Surface(
        normal=_triple(normal),
        lit=_triple(normal),
        skin=_triple(skin),
        arc_mm=nothing,
        angle_rad=nothing,
        axis_mm=nothing + _LUMEN_MM,
        albedo=_triple(albedo),
        roughness=roughness,
        glow=nothing,
        wet=wet,
        stalked=nothing.int() - 1,
    )
    numbers = lamps.numbers.to(distance)
    origin, seen = torch.zeros_like(ray), dark(distance)
    for lamp in range(LAMPS_EACH):
        if bool((numbers[:, lamp, 6:9] > 0).any()):
            own = numbers[:, lamp].flatten()
            seen = compiled(shade)(origin, ray, distance, frame, end, own, seen)
    diffuse, film = torch.stack(seen.diffuse), torch.stack(seen.film)
    return diffuse[:, :count], film[:, :count], seen.irradiance[None, :count]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Return products (3, N) (3, N) -> (N,), summed in one order."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def unit(v: Tensor) -> Tensor:
    """Return unit vectors (3, N)."""
    return v * dot(v, v).clamp(min=1e-12).rsqrt()


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Return vector products (3, N)."""
    return torch.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def of_rays(values: Tensor, rays: Rays) -> Tensor:
    """Return each ray's own of the values of frames, (*C, B); of one frame, one for all."""
    return values if values.shape[-1] == 1 else values[..., rays.frame.long()]


def in_camera(world_from_camera: Tensor, direction: tuple[float, float, float]) -> Tensor:
    """Return a direction of the world in each camera's frame, (B, 4, 4) -> (3, B)."""
    turn = world_from_camera[:, :3, :3]  # its transpose leads home
    x, y, z = direction
    return (turn[:, 0] * x + turn[:, 1] * y + turn[:, 2] * z).T.contiguous()


def _triple(values: Tensor) -> Triple:
    return values[0].contiguous(), values[1].contiguous(), values[2].contiguous()
