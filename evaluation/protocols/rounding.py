"""What a paper's files do to a prediction before it is scored: fewer bits, and a last depth."""

from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.errors import DataError

_CODES = 255  # of 8 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class GammaCodes:
    """Kept within a range, written as 8-bit codes of a power of the length, and decoded again.

    A code k stands for floor(255 (k / 255)^gamma) / 255 of `far_mm`: two roundings, as the decoder
    looks codes up in a table of 8 bits. Of 256 codes 218 are left with gamma 1.5.
    """

    near_mm: float
    far_mm: float
    gamma: float

    @property
    def words(self) -> str:
        """Say it in a few words."""
        return (
            f"kept within {self.near_mm:g} to {self.far_mm:g} mm, as 8-bit codes with gamma"
            f" {self.gamma:g}, decoded by a table of 8 bits"
        )

    def applied(self, length_mm: Tensor) -> Tensor:
        """Round lengths; an unknown one (0) stays unknown."""
        share = length_mm.clamp(self.near_mm, self.far_mm) / self.far_mm
        code = (_CODES * share ** (1 / self.gamma)).round().long()  # (...)
        codes = torch.arange(_CODES + 1, dtype=torch.float64)
        table = (_CODES * (codes / _CODES) ** self.gamma + _SLIP).floor()  # (256,)
        # Code 0 of the table would be no length at all; the nearest one that is comes instead.
        decoded = table.clamp(min=1).to(length_mm)[code] * (self.far_mm / _CODES)
        return torch.where(length_mm > 0, decoded, torch.zeros_like(decoded))


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfFloats:
    """A share of `far_mm` in [0, 1] as 16-bit floats, which keep 11 bits of a number."""

    far_mm: float

    @property
    def words(self) -> str:
        """Say it in a few words."""
        return f"kept within 0 to {self.far_mm:g} mm, as 16-bit floats of [0, 1]"

    def applied(self, length_mm: Tensor) -> Tensor:
        """Round lengths; an unknown one (0) stays unknown."""
        share = (length_mm / self.far_mm).clamp(0, 1).half()
        return share.to(length_mm) * self.far_mm


Rounding = GammaCodes | HalfFloats

_SLIP = 1e-9  # 255 * 1.0 must not become 254 by the last bit of a power


def rounded(length_mm: Tensor, rounding: Rounding | None) -> Tensor:
    """Return lengths as a paper's files would hold them; NaN and negative ones are errors."""
    if rounding is None:
        return length_mm
    if not bool((length_mm >= 0).all()):
        raise DataError("a prediction has NaN or negative lengths; unknown is 0")
    return rounding.applied(length_mm)
