"""The promise that every lens keeps, and what all lenses share.

A lens bends a direction onto a plane: (x, y, z) -> (p, q). The plane's axes run with the camera's x
and y, and its unit belongs to the lens (the pinhole's plane is z = 1, Scaramuzza's is in pixels).
What turns the plane into pixels - focal lengths, centre, resizing - is the camera's affair.

Parameters have shape (*B, n). Points and plane points have (*B, ..., 3) and (*B, ..., 2): the
batch axes of the lens come first. `seen` is True where the lens maps the direction one to one.
What is not seen gets a finite value that means nothing, so that gradients stay finite.
"""

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor


class Lens(ABC):
    """Bends directions onto a plane and back."""

    @abstractmethod
    def bend(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Map points (*B, ..., 3) to the plane (*B, ..., 2) and say which are seen (*B, ...)."""

    @abstractmethod
    def unbend(self, plane: Tensor) -> tuple[Tensor, Tensor]:
        """Map plane points (*B, ..., 2) to unit rays (*B, ..., 3) and say which exist (*B, ...)."""

    @abstractmethod
    def parameters(self) -> Tensor:
        """Return the numbers of the model, shape (*B, n)."""

    @abstractmethod
    def with_parameters(self, parameters: Tensor) -> Self:
        """Return the same kind of lens with other numbers."""

    @abstractmethod
    def turned(self, turn: Tensor) -> Self:
        """Return this lens after the camera's x and y axes were turned or mirrored.

        Args:
            turn: orthogonal (2, 2), from the old x and y to the new ones; the lens that comes back
                bends `turn` applied to (x, y) to `turn` applied to (p, q).
        """


def lift(parameters: Tensor, axes: int) -> Tensor:
    """Put `axes` axes of size 1 between the batch and the last axis, so that points broadcast."""
    return parameters.reshape(*parameters.shape[:-1], *([1] * axes), parameters.shape[-1])


def safe_norm(vectors: Tensor, floor: Tensor | float, *, dim: int = -1) -> Tensor:
    """Return the length along an axis, at least `floor`; its gradient is 0 below."""
    squares = vectors.square().sum(dim=dim)
    limit = torch.as_tensor(floor, dtype=vectors.dtype, device=vectors.device).square()
    return torch.maximum(squares, limit.expand_as(squares)).sqrt()


def points_or_forward(points: Tensor) -> tuple[Tensor, Tensor]:
    """Replace the camera's own centre, which has no direction, by (0, 0, 1) and say where not."""
    has_direction = points.abs().amax(dim=-1) > 0
    forward = torch.zeros_like(points)
    forward[..., 2] = 1
    return torch.where(has_direction[..., None], points, forward), has_direction
