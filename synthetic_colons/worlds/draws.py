"""Random numbers as a function of (seed, index, name): what a sample is made of.

A counter is hashed (SplitMix64's finaliser), for all samples of a batch at once. torch.Generator
was refused: on the CPU it keeps 32 bits of its seed, so that among Still Box's 80,000 scenes two
are likely to be the same, and every sample would need a generator and a loop of its own.
"""

import math
from dataclasses import dataclass
from zlib import crc32

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.motion import rotation_from_quaternion

_STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: consecutive counters far apart
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # Steele, Lea and Flood (2014), variant 13
_MANTISSA_BITS = 53  # of float64


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """The numbers of the samples `indices` of one seed.

    A name is a stream of its own: one more drawn under a new name leaves the others as they were.
    All methods give float64 on the CPU with the samples first, (B, *shape).
    """

    seed: int
    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse an empty batch and numbers that do not fit."""
        if not self.indices:
            raise DataError("there is no sample to draw: indices is empty")
        if min(self.indices) < 0 or self.seed < 0 or max(self.seed, *self.indices) >= 2**63:
            raise DataError(
                f"seed {self.seed} and indices {self.indices[:3]} must lie in [0, 2^63)"
            )

    def uniform(self, name: str, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw evenly from [low, high)."""
        count = math.prod(shape)
        key = _mixed(_signed(self.seed * _STEP + crc32(name.encode()) * _FIRST))
        indices = torch.tensor(self.indices)  # (B,)
        streams = _hash(_hash(indices * _signed(_STEP) + key) + key)  # (B,)
        counter = torch.arange(1, count + 1) * _signed(_STEP)  # (K,)
        bits = _hash(streams[:, None] + counter)  # (B, K)
        share = _shifted(bits, 64 - _MANTISSA_BITS).double() * 2.0**-_MANTISSA_BITS
        even: Tensor = (low + (high - low) * share).reshape(-1, *shape)
        return even

    def log_uniform(self, name: str, *shape: int, low: float, high: float) -> Tensor:
        """Draw so that every factor between low and high is as likely."""
        return self.uniform(name, *shape, low=math.log(low), high=math.log(high)).exp()

    def whole(self, name: str, *shape: int, low: int, high: int) -> Tensor:
        """Draw whole numbers from low to high, both included, int64."""
        return (low + (self.uniform(name, *shape) * (high - low + 1)).floor()).long()

    def chance(self, name: str, *shape: int, probability: float) -> Tensor:
        """Draw True with a probability."""
        return self.uniform(name, *shape) < probability

    def normal(self, name: str, *shape: int) -> Tensor:
        """Draw from the normal distribution of zero mean and unit variance (Box and Muller)."""
        even = self.uniform(name, *shape, 2)
        radius = (-2 * torch.log1p(-even[..., 0])).sqrt()
        normal: Tensor = radius * torch.cos(2 * math.pi * even[..., 1])
        return normal

    def direction(self, name: str, *shape: int) -> Tensor:
        """Draw unit vectors, evenly over the sphere, (B, *shape, 3)."""
        vectors = self.normal(name, *shape, 3)
        unit: Tensor = vectors / vectors.norm(dim=-1, keepdim=True)
        return unit

    def rotation(self, name: str, *shape: int) -> Tensor:
        """Draw rotations, evenly over all, (B, *shape, 3, 3)."""
        quaternion = self.normal(name, *shape, 4)  # its direction is even on the sphere
        return rotation_from_quaternion(quaternion)


def _signed(value: int) -> int:
    """Return the int64 that has the low 64 bits of a number."""
    return (value + 2**63) % 2**64 - 2**63


def _shifted(bits: Tensor, by: int) -> Tensor:
    """Shift to the right and fill with zeros, which `>>` does not."""
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _hash(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _signed(_FIRST)
    bits = (bits ^ _shifted(bits, 27)) * _signed(_SECOND)
    return bits ^ _shifted(bits, 31)


def _mixed(value: int) -> int:
    return int(_hash(torch.tensor(value)))
