"""Voxels in blocks of 8x8x8 that exist where something was put, and nowhere else.

A voxel is a point of the grid: voxel (i, j, k) lies at (i, j, k) * voxel_mm. Its block is that
divided by 8, rounded down. Blocks are found by a key, 21 bits for each axis, in a sorted list;
memory grows with the number of blocks and with no box around them.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from colondepth.errors import DataError

SIDE = 8  # voxels along a block's edge
VOXELS = SIDE**3
_BITS = 21
_MIDDLE = 1 << (_BITS - 1)  # added to a block's number, so that keys are not negative


class Blocks:
    """Named values of voxels, all 0 until they are written.

    Args:
        channels: how many numbers each value has.
        device: where they are kept.
    """

    def __init__(self, channels: Mapping[str, int], *, device: torch.device | str = "cpu") -> None:
        self._keys = torch.empty(0, dtype=torch.int64, device=device)  # sorted
        self._slots = torch.empty(0, dtype=torch.int64, device=device)  # of each key
        self._count = 0
        self._values = {
            name: torch.zeros(0, VOXELS, width, device=device) for name, width in channels.items()
        }

    def __len__(self) -> int:
        return self._count

    @property
    def numbers(self) -> Tensor:
        """The number of every block along x, y and z, (N, 3), in the order of their slots."""
        keys = torch.empty_like(self._keys)
        keys[self._slots] = self._keys
        return numbers_of(keys)

    def values(self, name: str) -> Tensor:
        """Return the values of all blocks, (N, 512, C); writing to them writes to the blocks."""
        return self._values[name][: self._count]

    def find(self, numbers: Tensor) -> Tensor:
        """Return the slot of each block (..., 3), -1 where there is none."""
        keys = keys_of(numbers)
        if not self._count:
            return torch.full_like(keys, -1)
        place = torch.searchsorted(self._keys, keys).clamp(max=self._count - 1)
        return torch.where(self._keys[place] == keys, self._slots[place], -1)

    def add(self, numbers: Tensor) -> Tensor:
        """Return the slot of each block (N, 3), each named once; blocks that lack are made."""
        if numbers.numel() and int(numbers.abs().max()) >= _MIDDLE:
            raise DataError(
                f"a block lies {int(numbers.abs().max()) * SIDE} voxels from the origin, expected"
                f" less than {_MIDDLE * SIDE}; are the poses in millimetres?"
            )
        slots = self.find(numbers)
        new = slots < 0
        count = int(new.sum())
        if count:
            slots[new] = self._count + torch.arange(count, device=slots.device)
            self._grow(self._count + count)
            self._keys, order = torch.cat([self._keys, keys_of(numbers[new])]).sort()
            self._slots = torch.cat([self._slots, slots[new]])[order]
            self._count += count
        return slots

    def voxel_offsets(self) -> Tensor:
        """Return where the voxels of a block lie from its first one, in voxels, (512, 3)."""
        steps = torch.arange(SIDE, device=self._keys.device)
        return torch.cartesian_prod(steps, steps, steps)

    def look_up(self, name: str, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of voxels (N, 3) by their numbers, (N, C), and which of them exist."""
        numbers = voxels.div(SIDE, rounding_mode="floor")
        slots = self.find(numbers)
        i, j, k = (voxels - numbers * SIDE).unbind(dim=-1)
        found: Tensor = self._values[name][slots.clamp(min=0), (i * SIDE + j) * SIDE + k]
        return found, slots >= 0

    def state(self) -> dict[str, Tensor]:
        """Return all that is kept, for a file."""
        kept = {name: self.values(name).clone() for name in self._values}
        return {"numbers": self.numbers, **kept}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Become what `state` gave."""
        self._count = 0
        self._keys, self._slots = self._keys[:0], self._slots[:0]
        slots = self.add(state["numbers"].to(self._keys.device))
        for name, values in self._values.items():
            values[slots] = state[name].to(values)

    def _grow(self, count: int) -> None:
        for name, values in self._values.items():
            if len(values) < count:
                # By a half more than is asked for, so that a growing wall is copied seldom.
                spare = values.new_zeros(
                    max(64, count + count // 2) - len(values), *values.shape[1:]
                )
                self._values[name] = torch.cat([values, spare])


def keys_of(numbers: Tensor) -> Tensor:
    """Return the key of each block (..., 3)."""
    x, y, z = (numbers + _MIDDLE).unbind(dim=-1)
    return (x << 2 * _BITS) | (y << _BITS) | z


def numbers_of(keys: Tensor) -> Tensor:
    """Return the numbers (..., 3) of blocks by their keys."""
    low = (1 << _BITS) - 1
    parts = [(keys >> 2 * _BITS) & low, (keys >> _BITS) & low, keys & low]
    return torch.stack(parts, dim=-1) - _MIDDLE
