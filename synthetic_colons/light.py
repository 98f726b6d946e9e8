"""The lamps beside the lens: where they sit, where they point, how bright they are.

A lamp's light falls off with the square of the distance and, for a spot, with a power of the cosine
from its axis. Its power is the irradiance that it gives at 1 mm on its axis, in the renderer's
unit; exposure takes the unit away. The metric scale of a picture hides in where the lamps sit.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from colondepth.shapes import require_shapes

LAMPS_EACH = 3  # lamps a frame can have; fewer are dark ones
LAMP_NUMBERS = 10  # place x y z, axis x y z, power r g b, exponent of the cosine
POWER = 1000.0  # of all lamps together: numbers near 1 at 30 mm
# Distance from the lens's centre to a lamp's, in a tip of 9 to 13 mm (makers' data sheets).
OFFSET_MM = (2.2, 4.8)
BEHIND_MM = 0.5  # lamps lie up to this much behind the lens's foremost point
SPOT_EXPONENT = (0.0, 1.5)  # light guides spread wide: 60 degrees off axis half is left
TILT_RAD = 0.12
UNEVEN = 0.35  # how much one lamp may be weaker than another
TINT = 0.06  # how far the lamps' colour is from white, for each primary


@dataclass(frozen=True, slots=True, eq=False)
class Lamps:
    """The lamps of frames: (B, LAMPS_EACH, LAMP_NUMBERS), in the camera's frame."""

    numbers: Tensor

    def in_world(self, world_from_camera: Tensor) -> Tensor:
        """Return the same numbers with places and axes in the world."""
        require_shapes(world_from_camera=(world_from_camera, "B 4 4"))
        pose = world_from_camera.to(self.numbers)
        place, axis, rest = self.numbers.split((3, 3, 4), dim=-1)
        turn = pose[:, None, :3, :3]  # summed in one order, so that a frame does not ask its batch
        turned = [
            turn[..., 0] * each[..., 0:1]
            + turn[..., 1] * each[..., 1:2]
            + turn[..., 2] * each[..., 2:3]
            for each in (place, axis)
        ]
        return torch.cat([turned[0] + pose[:, None, :3, 3], turned[1], rest], dim=-1)


def draw_lamps(
    generator: torch.Generator, frames: int, *, count: int | None = None, at_lens: bool = False
) -> Lamps:
    """Draw the lamps of one scope, the same for all its frames.

    Args:
        generator: on the CPU.
        frames: B.
        count: of lamps, 1 to `LAMPS_EACH`; drawn if absent.
        at_lens: a single point lamp in the lens's own place, as in levels 1 to 3 (Ruano 2023).
    """

    def among(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    numbers = torch.zeros(LAMPS_EACH, LAMP_NUMBERS)
    numbers[:, 5] = 1
    if at_lens:
        numbers[0, 6:9] = POWER
        return Lamps(numbers.expand(frames, -1, -1))
    count = count or 1 + int(torch.randint(LAMPS_EACH, (), generator=generator))
    first, exponent = among(0, 2 * math.pi), among(*SPOT_EXPONENT)
    tint = torch.tensor([1 + among(-TINT, TINT) for _ in range(3)])
    shares = torch.tensor([1 - among(0, UNEVEN) for _ in range(count)])
    for k in range(count):
        angle = first + (k + among(-0.15, 0.15)) * 2 * math.pi / max(count, 2)
        away = among(*OFFSET_MM)
        tilt_x, tilt_y = among(-TILT_RAD, TILT_RAD), among(-TILT_RAD, TILT_RAD)
        axis = torch.nn.functional.normalize(torch.tensor([tilt_x, tilt_y, 1.0]), dim=0)
        numbers[k, :3] = torch.tensor(
            [away * math.cos(angle), away * math.sin(angle), -among(0, BEHIND_MM)]
        )
        numbers[k, 3:6] = axis
        numbers[k, 6:9] = POWER * float(shares[k] / shares.sum()) * tint
        numbers[k, 9] = exponent
    return Lamps(numbers.expand(frames, -1, -1))
