"""Smooth random fields on the colon's wall, periodic around it, with wavelengths in millimetres.

Wall grid: rows run along the centre line, `step_mm` apart; columns run around it, column j at the
angle 2 pi j / columns. A field is a sum of waves with random phases, made by two small Fourier
transforms, so it is smooth to every order and its spectrum is what was asked for.
"""

import math

import torch
from torch import Tensor

from colondepth.errors import DataError

# Width of an octave's band, in octaves: narrow enough that a wavelength means something, wide
# enough that no waves can be counted. Beyond three of them a band holds a tenth of a percent.
_BAND_OCTAVES = 0.35
_BAND_REACH = 3.0
# The field repeats along the centre line after the rows asked for and one wavelength, and has at
# least this many wavelengths to choose its waves from.
_FEWEST_WAVES = 6
# Two samples a wave is what a grid can hold at all.
_SAMPLES_PER_WAVE = 2.0


def wall_noise(
    generator: torch.Generator,
    rows: int,
    columns: int,
    *,
    step_mm: float,
    wavelength_mm: float,
    mean_radius_mm: float,
    octaves: int = 1,
) -> Tensor:
    """Draw one field on the wall, zero mean and unit variance, shape (rows, columns), float32.

    Mean and variance are those of the endless field: a piece shorter than a few wavelengths has
    its own. Waves longer than the circumference run along the centre line only. The columns' last
    neighbour is the first; the rows do not close.

    Args:
        generator: its device is the field's; the same state gives the same field on one device.
        rows: samples along the centre line.
        columns: samples around it.
        step_mm: distance between rows.
        wavelength_mm: of the first octave, along and around, at `mean_radius_mm`.
        mean_radius_mm: lumen radius at which a column is 2 pi R / columns wide.
        octaves: each next one has half the wavelength and half the amplitude.
    """
    _require_resolved(rows, columns, step_mm, wavelength_mm, mean_radius_mm, octaves)
    reach = 2.0 ** (octaves - 1 + _BAND_REACH * _BAND_OCTAVES) / wavelength_mm  # waves per mm
    period_rows = _smooth_length(
        math.ceil(max(rows + wavelength_mm / step_mm, _FEWEST_WAVES * wavelength_mm / step_mm))
    )
    along_count = min(int(reach * period_rows * step_mm), (period_rows - 1) // 2)
    around_count = min(int(reach * 2 * math.pi * mean_radius_mm), (columns - 1) // 2)
    along = torch.arange(-along_count, along_count + 1, device=generator.device)  # (F,)
    around = torch.arange(around_count + 1, device=generator.device)  # (K,)
    frequency = torch.hypot(
        along[:, None] / (period_rows * step_mm), around / (2 * math.pi * mean_radius_mm)
    )  # (F, K) waves per mm
    phases = torch.randn((*frequency.shape, 2), generator=generator, device=generator.device)
    waves = torch.view_as_complex(phases) * _amplitude(frequency, wavelength_mm, octaves)
    spectrum = waves.new_zeros(period_rows, around_count + 1)
    spectrum[along % period_rows] = waves
    rings = torch.fft.ifft(spectrum, dim=0)  # (period_rows, K): Fourier series of every row
    power = rings[:, 0].real.square().mean() + 2 * rings[:, 1:].abs().square().mean(dim=0).sum()
    rings = rings[:rows] / power.sqrt().clamp(min=torch.finfo(torch.float32).tiny)
    noise: Tensor = torch.fft.irfft(rings, n=columns, dim=1, norm="forward")  # (rows, columns)
    return noise


def _amplitude(frequency: Tensor, wavelength_mm: float, octaves: int) -> Tensor:
    """Return the waves' amplitudes: a bell over log frequency for each octave."""
    safe = frequency.clamp(min=1e-9)  # the mean itself, a wave of a million metres
    power = torch.zeros_like(frequency)
    for octave in range(octaves):
        away = (safe * (wavelength_mm / 2.0**octave)).log2() / _BAND_OCTAVES
        power += torch.exp(-0.5 * away.square()) / 4.0**octave
    # A ring of the plane of waves has an area that grows with the square of its frequency.
    amplitude: Tensor = power.sqrt() / safe * (frequency > 0)
    return amplitude


def _smooth_length(length: int) -> int:
    """Return the next length with no prime factor above 5: others transform slowly."""
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1


def _require_resolved(
    rows: int,
    columns: int,
    step_mm: float,
    wavelength_mm: float,
    mean_radius_mm: float,
    octaves: int,
) -> None:
    if min(rows, columns, octaves) < 1 or min(step_mm, wavelength_mm, mean_radius_mm) <= 0:
        raise DataError(
            f"wall noise of {rows} rows, {columns} columns, {octaves} octaves, step {step_mm} mm,"
            f" wavelength {wavelength_mm} mm, radius {mean_radius_mm} mm: all must be positive"
        )
    texel_mm = max(step_mm, 2 * math.pi * mean_radius_mm / columns)
    finest_mm = wavelength_mm / 2.0 ** (octaves - 1)
    if finest_mm < _SAMPLES_PER_WAVE * texel_mm:
        raise DataError(
            f"wall noise: the finest of {octaves} octaves has a wavelength of {finest_mm:.3g} mm,"
            f" the grid's samples are {texel_mm:.3g} mm apart and hold"
            f" {_SAMPLES_PER_WAVE * texel_mm:.3g} mm at best; ask for fewer octaves"
        )
