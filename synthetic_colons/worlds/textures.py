"""Solid textures: colours as a function of the place in an object, with detail down to the pixel.

A texture lives in cells: x, y, z in units of its largest blotch. Value noise in octaves, stripes
and checks are mixed; whatever is finer than a pixel fades out before it can alias, so that two
views of one surface differ by resampling and not by moire. Only sums, products and one trilinear
lookup: the same numbers come out whatever the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from synthetic_colons.worlds.draws import Draws
from synthetic_colons.worlds.planes import Planes

_COLOURS = 3  # of every texture: the two ends of its noise, and its stripes or checks
_LATTICE = 32  # cells after which the noise repeats; turned and shifted for every object
_OCTAVES = 7
_GAIN = 0.8  # amplitude from one octave to the next; natural images have 0.5, flow wants detail
_LACUNARITY = 2.1  # frequency from one octave to the next; not 2, so that lattices never line up
# An octave fades as its cells shrink to pixels, between what a pixel that averages its area
# would still show and what two views can still agree on; measured on Still Box at 48x64.
_WHOLE_CELLS_PER_PIXEL, _GONE_CELLS_PER_PIXEL = 0.3, 1.3
_STRIPES_PER_CELL, _CHECKS_PER_CELL = 0.9, 0.7
_SHARPEST = 0.04  # of a period: edges of stripes and checks are never steeper
_BLEND_CONTRAST = 2.0  # from noise to blend, so that both colours are reached
_RELIEF, _TINT = 0.4, 0.1  # shares by which noise changes brightness and colour
# Ranges of the drawn colours: no two ends are alike, and shading has room on both sides.
_DARK, _LIGHT, _ACCENT = (0.05, 0.5), (0.45, 1.0), (0.05, 1.0)
_PATTERNED = 0.3  # chance of stripes, and of checks
_NOISE_SEED = 20150426  # of the one lattice; every texture has its own place and turn in it


@dataclass(frozen=True, eq=False, kw_only=True)
class Texture:
    """The textures of some objects; the axes *B are samples and objects."""

    cells_per_mm: Tensor  # (*B,)
    cell_from_local: Tensor  # (*B, 3, 3) rotation
    offset_cells: Tensor  # (*B, 3)
    colours: Tensor  # (*B, 9): three RGB, one after the other
    stripes: Tensor  # (*B,) strength in [0, 1]
    checks: Tensor  # (*B,)

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return this texture with every tensor changed."""
        return type(self)(**{part.name: change(getattr(self, part.name)) for part in fields(self)})


def draw_texture(draws: Draws, name: str, wavelength_mm: Tensor) -> Texture:
    """Draw one texture for every size of largest blotch, (B, *shape)."""
    shape = tuple(wavelength_mm.shape[1:])
    return Texture(
        cells_per_mm=1 / wavelength_mm,
        cell_from_local=draws.rotation(f"{name} turn", *shape),
        offset_cells=draws.uniform(f"{name} offset", *shape, 3, high=_LATTICE),
        colours=torch.cat(
            [
                draws.uniform(f"{name} {number}", *shape, 3, low=low, high=high)
                for number, (low, high) in enumerate((_DARK, _LIGHT, _ACCENT))
            ],
            dim=-1,
        ),
        stripes=_strength(draws, f"{name} stripes", shape),
        checks=_strength(draws, f"{name} checks", shape),
    )


def paint(
    cells: Planes, cells_per_pixel: Tensor, colours: Tensor, stripes: Tensor, checks: Tensor
) -> Tensor:
    """Return the colour of places, (B, 3, S) in [0, 1].

    Args:
        cells: places in cells, (B, S) each.
        cells_per_pixel: what a pixel covers there, (B, S).
        colours: `Texture.colours` of the object at each place, (B, 9, S).
        stripes: `Texture.stripes` at each place, (B, S).
        checks: `Texture.checks` at each place, (B, S).
    """
    blend, relief, tint = octaves(cells, cells_per_pixel).unbind(dim=1)  # (B, S) each
    dark, light, accent = colours.unflatten(1, (_COLOURS, 3)).unbind(dim=1)  # (B, 3, S) each
    share = (0.5 + 0.5 * _BLEND_CONTRAST * blend).clamp(0, 1)[:, None]
    colour = dark + share * (light - dark)
    accent_share = _pattern(cells, cells_per_pixel, stripes, checks)[:, None]
    colour = colour + accent_share * (accent - colour)
    shifts = torch.stack([tint, -0.5 * tint, -tint], dim=1)  # towards red and away from it
    mixed: Tensor = (colour * (1 + _RELIEF * relief[:, None]) + _TINT * shifts).clamp(0, 1)
    return mixed


def octaves(cells: Planes, cells_per_pixel: Tensor) -> Tensor:
    """Return three independent noises, about in [-1, 1], (B, S) -> (B, 3, S)."""
    x, y, z = cells
    total = torch.zeros((x.shape[0], 3, *x.shape[1:]), dtype=x.dtype, device=x.device)
    amplitude, frequency = 1.0, 1.0
    for octave in range(_OCTAVES):
        fade = (_GONE_CELLS_PER_PIXEL - frequency * cells_per_pixel) / (
            _GONE_CELLS_PER_PIXEL - _WHOLE_CELLS_PER_PIXEL
        )
        total = total + amplitude * fade.clamp(0, 1)[:, None] * lattice_noise((x, y, z))
        amplitude, frequency = amplitude * _GAIN, frequency * _LACUNARITY
        # The axes change places and the lattice moves on, so that no cell edges coincide.
        shift = 7.3 * (octave + 1)
        x, y, z = y * _LACUNARITY + shift, z * _LACUNARITY + shift, x * _LACUNARITY + shift
    return total


def lattice_noise(cells: Planes) -> Tensor:
    """Return three value noises in [-1, 1] with one random number per cell, (B, 3, S)."""
    grid = torch.stack([_eased(plane) for plane in cells], dim=-1)  # (B, S, 3)
    table = _lattice(str(grid.device), grid.dtype).expand(grid.shape[0], -1, -1, -1, -1)
    found = grid_sample(
        table, grid[:, None, None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return found[:, :, 0, 0]


def _eased(cells: Tensor) -> Tensor:
    """Return lattice coordinates in [-1, 1], slowed down at cell corners so that slopes join."""
    corner = cells.floor()
    part = cells - corner
    part = part * part * (3 - 2 * part)
    return (corner.remainder(_LATTICE) + part) * (2 / _LATTICE) - 1


@lru_cache(maxsize=8)
def _lattice(device: str, dtype: torch.dtype) -> Tensor:
    """Return random numbers in [-1, 1] on a lattice whose last layer repeats its first."""
    draws = Draws(seed=_NOISE_SEED, indices=(0,))
    values = draws.uniform("lattice", 3, _LATTICE, _LATTICE, _LATTICE, low=-1)
    for axis in (2, 3, 4):
        values = torch.cat([values, values.narrow(axis, 0, 1)], dim=axis)
    return values.to(device=device, dtype=dtype)


def _pattern(cells: Planes, cells_per_pixel: Tensor, stripes: Tensor, checks: Tensor) -> Tensor:
    """Return how much of the accent colour shows, (B, S) in [0, 1]."""
    bands = _square_wave(cells[0], cells_per_pixel, _STRIPES_PER_CELL)
    x, y, z = (_square_wave(plane, cells_per_pixel, _CHECKS_PER_CELL) for plane in cells)
    striped, checked = stripes * (0.5 + 0.5 * bands), checks * (0.5 + 0.5 * x * y * z)
    return striped + (1 - striped) * checked


def _square_wave(cells: Tensor, cells_per_pixel: Tensor, per_cell: float) -> Tensor:
    """Return a square wave in [-1, 1] with edges one pixel wide, grey where a pixel holds waves."""
    phase = cells * per_cell
    triangle = 4 * (phase - phase.floor() - 0.5).abs() - 1
    width = (per_cell * cells_per_pixel).clamp(min=_SHARPEST)  # periods per pixel
    grey = (1 - 2 * (width - 0.25)).clamp(0, 1)  # from whole at 4 pixels a period to none at 4/3
    return (triangle / (2 * width)).clamp(-1, 1) * grey


def _strength(draws: Draws, name: str, shape: tuple[int, ...]) -> Tensor:
    shown = draws.chance(f"{name} shown", *shape, probability=_PATTERNED)
    return draws.uniform(name, *shape, low=0.4, high=0.9) * shown
