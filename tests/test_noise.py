"""The spectrum is measured by numpy on the field itself."""

import math

import numpy as np
import pytest
import torch

from colondepth.errors import DataError
from synthetic_colons.noise import wall_noise

ROWS, COLUMNS, STEP_MM, RADIUS_MM = 700, 384, 0.5, 22.0


def field(
    seed: int = 3,
    *,
    wavelength_mm: float = 9.0,
    octaves: int = 1,
    rows: int = ROWS,
    columns: int = COLUMNS,
    step_mm: float = STEP_MM,
    mean_radius_mm: float = RADIUS_MM,
) -> torch.Tensor:
    return wall_noise(
        torch.Generator().manual_seed(seed),
        rows,
        columns,
        step_mm=step_mm,
        wavelength_mm=wavelength_mm,
        mean_radius_mm=mean_radius_mm,
        octaves=octaves,
    )


def test_it_has_zero_mean_unit_variance_and_a_bell_of_values() -> None:
    noise = field(wavelength_mm=5.0)
    assert noise.shape == (ROWS, COLUMNS)
    assert noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1.0, abs=0.04)
    assert (noise.abs() > 2).float().mean() == pytest.approx(0.0455, abs=0.015)


@pytest.mark.parametrize("mean_radius_mm", [13.0, 31.0])
@pytest.mark.parametrize("wavelength_mm", [3.0, 14.0])
def test_the_wavelength_holds_in_millimetres_both_ways_at_any_radius(
    wavelength_mm: float, mean_radius_mm: float
) -> None:
    noise = field(wavelength_mm=wavelength_mm, mean_radius_mm=mean_radius_mm).numpy()
    power = np.abs(np.fft.fft2(noise * np.hanning(ROWS)[:, None])) ** 2
    along = np.fft.fftfreq(ROWS, STEP_MM)[:, None]
    around = np.fft.fftfreq(COLUMNS, 2 * math.pi * mean_radius_mm / COLUMNS)[None]
    frequency = np.hypot(along, around)
    power[frequency == 0] = 0
    mean_log2 = (power * np.log2(np.maximum(frequency, 1e-9))).sum() / power.sum()
    assert 2**-mean_log2 == pytest.approx(wavelength_mm, rel=0.06)
    # Neither direction is preferred: each holds half of the squared frequency.
    share = (power * along**2).sum() / (power * frequency**2).sum()
    assert share == pytest.approx(0.5, abs=0.07)


def test_every_octave_halves_wavelength_and_amplitude() -> None:
    frequency = np.hypot(
        np.fft.fftfreq(ROWS, STEP_MM)[:, None],
        np.fft.fftfreq(COLUMNS, 2 * math.pi * RADIUS_MM / COLUMNS)[None],
    )
    bands = np.zeros(3)
    for seed in range(4):
        noise = field(seed, wavelength_mm=20.0, octaves=3).numpy()
        power = np.abs(np.fft.fft2(noise * np.hanning(ROWS)[:, None])) ** 2
        octave = np.log2(np.maximum(frequency, 1e-9) * 20.0)
        bands += [power[np.abs(octave - i) < 0.5].sum() for i in range(3)]
    # A bell of 0.35 octaves keeps 84.7 % within half an octave and gives 7.7 % to either side.
    keep, spill = 0.847, 0.0766
    expected = [keep + spill / 4, spill + keep / 4 + spill / 16, spill / 4 + keep / 16]
    assert bands[1] / bands[0] == pytest.approx(expected[1] / expected[0], rel=0.25)
    assert bands[2] / bands[1] == pytest.approx(expected[2] / expected[1], rel=0.25)


def test_no_seam_shows_where_the_columns_meet() -> None:
    noise = field(wavelength_mm=8.0)
    across = (noise.roll(-1, dims=1) - noise).square().mean(dim=0)  # last: from last to first
    assert 0.5 < across[-1] / across[:-1].mean() < 2.0
    bend = noise.roll(-1, dims=1) - 2 * noise + noise.roll(1, dims=1)
    assert bend[:, [0, -1]].abs().max() < 1.5 * bend[:, 1:-1].abs().max()


def test_the_rows_do_not_close() -> None:
    noise = field(wavelength_mm=30.0)
    ends = torch.corrcoef(noise[[0, -1]])[0, 1]
    neighbours = torch.corrcoef(noise[[0, 1]])[0, 1]
    assert neighbours > 0.99
    assert ends < 0.8


def test_it_is_smooth_so_halving_the_step_quarters_the_second_difference() -> None:
    coarse = field(wavelength_mm=10.0)
    fine = field(wavelength_mm=10.0, rows=2 * ROWS, step_mm=STEP_MM / 2)
    ratio = coarse.diff(n=2, dim=0).abs().mean() / fine.diff(n=2, dim=0).abs().mean()
    assert ratio == pytest.approx(4.0, rel=0.1)


def test_the_seed_decides_and_nothing_else() -> None:
    torch.manual_seed(1)
    first = field(5)
    torch.manual_seed(2)
    assert torch.equal(first, field(5))
    assert not torch.allclose(first, field(6), atol=0.1)


def test_waves_longer_than_the_circumference_run_along_the_line() -> None:
    noise = field(wavelength_mm=900.0)
    assert noise.isfinite().all()
    assert noise.std(dim=1).max() < 1e-5
    assert noise.std(dim=0).max() > 0.05


def test_waves_that_the_grid_cannot_hold_are_refused_with_the_cure() -> None:
    with pytest.raises(DataError, match=r"finest of 4 octaves .* 0\.5 mm.*fewer octaves"):
        field(wavelength_mm=4.0, octaves=4)
    with pytest.raises(DataError, match="must be positive"):
        field(wavelength_mm=0.0)
