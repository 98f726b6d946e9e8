"""Flat textured layers that move by 2-D affine maps: images, and exact flow and occlusion.

Pixels are (u, v), whole numbers are pixel centres. Layer 0 is the background and fills the plane;
layer k + 1 lies before layer k. In images the outlines are a pixel soft; in the truth a pixel
belongs to the front-most layer whose outline has its centre inside.

Outlines are signed functions in pixels of the first image: below 0 inside. Layers 1, 3, ... are
round, with waves around them; layers 2, 4, ... are convex polygons; either may be hollow.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from colondepth.cameras import pixel_grid
from colondepth.errors import DataError
from colondepth.shapes import require_shapes
from synthetic_colons.worlds.planes import chosen, flagged, rows
from synthetic_colons.worlds.scenes import picked
from synthetic_colons.worlds.textures import Texture, paint

Plane2 = tuple[Tensor, Tensor]

_LOWEST_WAVE = 2  # waves around a round outline: one would only shift it
_COLUMNS = (9, 9, 3)  # of what a pixel asks of its layer: place in cells, colours, the rest


@dataclass(frozen=True, eq=False, kw_only=True)
class Layers:
    """The layers of some image pairs; L counts the background."""

    present: Tensor  # (B, L) bool
    centre_px: Tensor  # (B, L, 2) in the first image
    next_from_first: Tensor  # (B, L, 2, 3) where a layer's pixels go
    radius_px: Tensor  # (B, L) of a round outline
    waves: Tensor  # (B, L, K, 2) cosines and sines of K waves around it, shares of the radius
    sides: Tensor  # (B, L, M, 3) of a polygon: outward unit normal and distance from the centre
    corner_px: Tensor  # (B, L) from a polygon's centre to its farthest corner
    rim_px: Tensor  # (B, L) width of a hollow layer's rim, infinite for a full one
    texture: Texture  # (B, L) in pixels instead of millimetres

    def __post_init__(self) -> None:
        """Refuse parts that do not belong together."""
        size = require_shapes(
            present=(self.present, "B L"),
            centre_px=(self.centre_px, "B L 2"),
            next_from_first=(self.next_from_first, "B L 2 3"),
            radius_px=(self.radius_px, "B L"),
            waves=(self.waves, "B L K 2"),
            sides=(self.sides, "B L M 3"),
            corner_px=(self.corner_px, "B L"),
            rim_px=(self.rim_px, "B L"),
            cells_per_mm=(self.texture.cells_per_mm, "B L"),
        )
        if size["L"] < 1:
            raise DataError("there is no layer; expected the background at least")

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """Return these layers on a device, their numbers of a floating type."""

        def there(part: Tensor) -> Tensor:
            return part.to(device, part.dtype if part.dtype == torch.bool else dtype)

        parts = {
            part.name: there(getattr(self, part.name))
            for part in fields(self)
            if part.name != "texture"
        }
        return type(self)(**parts, texture=self.texture.map(there))


@dataclass(frozen=True, eq=False, kw_only=True)
class LayeredView:
    """One of the two images, and where its pixels are in the other."""

    image: Tensor  # (B, 3, H, W)
    layer: Tensor  # (B, 1, H, W) int64
    flow_px: Tensor  # (B, 2, H, W) to the other image
    occluded: Tensor  # (B, 1, H, W) bool: hidden in the other image, or outside it


def see_layers(layers: Layers, height: int, width: int) -> tuple[LayeredView, LayeredView]:
    """Show layers before and after their motion, and follow each image's pixels to the other."""
    forward = layers.next_from_first
    still = torch.eye(2, 3).to(forward).expand_as(forward)
    backward = inverted(forward)
    first = _view(layers, height, width, first_from_here=still, there_from_here=forward)
    second = _view(layers, height, width, first_from_here=backward, there_from_here=backward)
    first_hidden = _hidden(layers, first, first_from_there=backward)
    second_hidden = _hidden(layers, second, first_from_there=still)
    return first_hidden, second_hidden


def inverted(affine: Tensor) -> Tensor:
    """Return the inverse of 2-D affine maps, (*B, 2, 3)."""
    a, b, c, d = affine[..., :2].flatten(start_dim=-2).unbind(dim=-1)
    s, t = affine[..., 2].unbind(dim=-1)
    scale = 1 / (a * d - b * c)
    a, b, c, d = d * scale, -b * scale, -c * scale, a * scale
    entries = [a, b, -(a * s + b * t), c, d, -(c * s + d * t)]
    back: Tensor = torch.stack(entries, dim=-1).unflatten(-1, (2, 3))
    return back


def composed(second: Tensor, first: Tensor) -> Tensor:
    """Return the affine map that makes `first` and then `second`, (*B, 2, 3)."""
    linear = second[..., :, 0, None] * first[..., None, 0, :]
    linear = linear + second[..., :, 1, None] * first[..., None, 1, :]
    shift = torch.nn.functional.pad(second[..., 2:], (2, 0))
    return linear + shift


def _view(
    layers: Layers, height: int, width: int, *, first_from_here: Tensor, there_from_here: Tensor
) -> LayeredView:
    """Show the layers, each lying where `first_from_here` says; occlusion comes later."""
    grid = pixel_grid(height, width, like=layers.centre_px).flatten(end_dim=1)  # (S, 2)
    batch = layers.present.shape[0]
    here = (grid[:, 0].expand(batch, -1), grid[:, 1].expand(batch, -1))  # (B, S) each
    owner = torch.zeros(here[0].shape, dtype=torch.long, device=here[0].device)
    front, behind = owner.clone(), owner.clone()  # the two layers that a pixel's light comes from
    share = torch.ones_like(here[0])  # of the one in front
    flat_owner, flat_front, flat_behind = owner.view(-1), front.view(-1), behind.view(-1)
    flat_share = share.view(-1)
    for number in range(1, layers.present.shape[1]):
        at, inside = _near(layers, number, here, first_from_here[:, number])
        flat_owner[at] = torch.where(inside <= 0, number, flat_owner[at])
        covered = (0.5 - inside).clamp(0, 1)
        shows = covered > 0
        flat_behind[at] = torch.where(shows, flat_front[at], flat_behind[at])
        flat_share[at] = torch.where(shows, covered, flat_share[at])
        flat_front[at] = torch.where(shows, number, flat_front[at])
    table = _surfaces(layers, first_from_here)
    image = _coloured(table, front, here)  # (B, 3, S)
    at, sample = flagged(share < 1)
    place = at - sample * share.shape[1]
    pixel = (grid[place, 0][None], grid[place, 1][None])
    row = (sample * table.shape[1] + flat_behind[at])[None]  # (1, K)
    other = _coloured(table.flatten(end_dim=1)[None], row, pixel)[0].T  # (K, 3)
    soft = flat_share[at][:, None]
    image[sample, :, place] = other + soft * (image[sample, :, place] - other)
    motion = picked(there_from_here.flatten(start_dim=2), owner)  # (B, 6, S)
    flow = torch.stack(
        [
            (motion[:, 0] - 1) * here[0] + motion[:, 1] * here[1] + motion[:, 2],
            motion[:, 3] * here[0] + (motion[:, 4] - 1) * here[1] + motion[:, 5],
        ],
        dim=1,
    )
    size = (height, width)
    return LayeredView(
        image=image.unflatten(-1, size),
        layer=owner.unflatten(-1, size)[:, None],
        flow_px=flow.unflatten(-1, size),
        occluded=torch.zeros_like(owner, dtype=torch.bool).unflatten(-1, size)[:, None],
    )


def _hidden(layers: Layers, view: LayeredView, *, first_from_there: Tensor) -> LayeredView:
    """Return the view with what is hidden in the other one, where layers lie as said."""
    height, width = view.layer.shape[-2:]
    grid = pixel_grid(height, width, like=view.flow_px)
    u, v = (view.flow_px.movedim(1, -1) + grid).flatten(1, 2).unbind(dim=-1)  # (B, S)
    owner = view.layer.flatten(start_dim=1)
    lost = (u < -0.5) | (u > width - 0.5) | (v < -0.5) | (v > height - 0.5)
    flat_owner, flat_lost = owner.view(-1), lost.view(-1)
    for number in range(1, layers.present.shape[1]):
        at, inside = _near(layers, number, (u, v), first_from_there[:, number])
        flat_lost[at] = flat_lost[at] | ((inside <= 0) & (flat_owner[at] < number))
    return LayeredView(
        image=view.image,
        layer=view.layer,
        flow_px=view.flow_px,
        occluded=lost.unflatten(-1, (height, width))[:, None],
    )


def _near(
    layers: Layers, number: int, place: Plane2, first_from_place: Tensor
) -> tuple[Tensor, Tensor]:
    """Return which places lie within a layer's surrounding circle, and its signed function there.

    Args:
        layers: L of them.
        number: which, not the background.
        place: pixels, (B, S) each.
        first_from_place: from there to the first image, (B, 2, 3).

    Returns:
        Places in the flattened (B, S), and the signed function there, (K,) each.
    """
    u, v = _mapped(first_from_place, place)
    centre = layers.centre_px[:, number, :, None]  # (B, 2, 1)
    u, v = u - centre[:, 0], v - centre[:, 1]
    reach2 = (_reach_px(layers, number) + 1).square()[:, None]  # a pixel for the soft outline
    near = (u * u + v * v < reach2) & layers.present[:, number, None]
    at, sample = flagged(near)
    local = (u.flatten()[at], v.flatten()[at])
    signed = _OUTLINES[number % 2](layers, number, sample, local)
    rim = layers.rim_px[:, number][sample]
    return at, torch.maximum(signed, -signed - rim)


def _reach_px(layers: Layers, number: int) -> Tensor:
    """Return the radius of the circle that holds a layer, (B,)."""
    if number % 2:
        waves = layers.waves[:, number].square().sum(dim=-1).sqrt().sum(dim=-1)
        return layers.radius_px[:, number] * (1 + waves)
    return layers.corner_px[:, number]


def _polygon(layers: Layers, number: int, sample: Tensor, local: Plane2) -> Tensor:
    sides = chosen(layers.sides[:, number].flatten(start_dim=1).T, sample)  # (3 M, K)
    signed = torch.full_like(local[0], -torch.inf)
    for x, y, away in sides.unflatten(0, (-1, 3)):
        signed = torch.maximum(signed, x * local[0] + y * local[1] - away)
    return signed


def _round(layers: Layers, number: int, sample: Tensor, local: Plane2) -> Tensor:
    counts = torch.arange(layers.waves.shape[2]).to(layers.waves) + _LOWEST_WAVE  # (K,)
    slopes = layers.waves[:, number] * counts[:, None]  # (B, K, 2)
    # Divided by its mean steepness, so that an outline is about a pixel soft all around.
    steepness = 1 + slopes.double().square().sum(dim=(1, 2)) / 2
    scale = steepness.rsqrt().to(slopes)
    columns = [layers.waves[:, number].flatten(start_dim=1)]
    columns += [layers.radius_px[:, number, None], scale[:, None]]
    own = chosen(torch.cat(columns, dim=1).T, sample)
    away = (local[0] * local[0] + local[1] * local[1]).clamp(min=torch.finfo(own.dtype).tiny)
    away = away.sqrt()
    cosine, sine = local[0] / away, local[1] / away
    turn = (cosine, sine)
    bulge = torch.ones_like(away)
    for k in range(layers.waves.shape[2]):
        turn = (turn[0] * cosine - turn[1] * sine, turn[0] * sine + turn[1] * cosine)
        bulge = bulge + own[2 * k] * turn[0] + own[2 * k + 1] * turn[1]
    return (away - own[-2] * bulge) * own[-1]


_OUTLINES: tuple[Callable[[Layers, int, Tensor, Plane2], Tensor], ...] = (_polygon, _round)


def _surfaces(layers: Layers, first_from_here: Tensor) -> Tensor:
    """Return what a pixel needs to know of its layer, (B, L, 21), in the order of `_COLUMNS`."""
    texture = layers.texture
    axes = texture.cell_from_local[..., :2] * texture.cells_per_mm[..., None, None]  # (B, L, 3, 2)
    centred = first_from_here - torch.nn.functional.pad(layers.centre_px[..., None], (2, 0))
    place = axes[..., :, 0, None] * centred[..., None, 0, :]
    place = place + axes[..., :, 1, None] * centred[..., None, 1, :]  # (B, L, 3, 3) of (u, v, 1)
    place = place + torch.nn.functional.pad(texture.offset_cells[..., None], (2, 0))
    rest = torch.stack([texture.cells_per_mm, texture.stripes, texture.checks], dim=-1)
    return torch.cat([place.flatten(start_dim=2), texture.colours, rest], dim=-1)


def _coloured(table: Tensor, layer: Tensor, here: Plane2) -> Tensor:
    """Return the colour of a layer at pixels, (B, 3, S)."""
    place, colours, rest = picked(table, layer).split(_COLUMNS, dim=1)
    cells = rows(place, (*here, torch.ones_like(here[0])))
    cells_per_pixel, stripes, checks = rest.unbind(dim=1)
    return paint(cells, cells_per_pixel, colours, stripes, checks)


def _mapped(affine: Tensor, place: Plane2) -> Plane2:
    """Return affine (B, 2, 3) of places (B, S)."""
    u, v = (
        affine[:, k, 0, None] * place[0] + affine[:, k, 1, None] * place[1] + affine[:, k, 2, None]
        for k in range(2)
    )
    return u, v
