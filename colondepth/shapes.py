"""Checks at the door of a public function: axes, kind of number, finite values.

Each check raises with what was found, what was expected and, where it is known, the cure.
"""

import torch
from torch import Tensor

from colondepth.errors import DataError, ShapeError


def require_shapes(**tensors: tuple[Tensor, str]) -> dict[str, int]:
    """Check tensors against patterns such as "*B H W" and return the size behind each letter.

    A number must match exactly, a letter must mean one size in all the tensors of the call, and
    a leading "*B" stands for any batch axes, which must broadcast with each other.
    """
    sizes: dict[str, int] = {}
    batches: dict[str, tuple[int, ...]] = {}
    for name, (tensor, pattern) in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ShapeError(
                f"{name} is a {type(tensor).__name__}, expected a torch tensor ({pattern});"
                " torch.as_tensor makes one from an array or a list"
            )
        axes = pattern.split()
        open_ended = axes[0].startswith("*")
        axes = axes[1:] if open_ended else axes
        spare = tensor.ndim - len(axes)
        fits = spare >= 0 if open_ended else spare == 0
        if fits:
            for axis, size in zip(axes, tensor.shape[spare:], strict=True):
                fits &= size == (int(axis) if axis.isdigit() else sizes.setdefault(axis, size))
        if not fits:
            known = ", ".join(f"{letter}={size}" for letter, size in sizes.items())
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}, expected ({pattern})"
                + (f" with {known}" if known else "")
            )
        if open_ended:
            batches[name] = tuple(tensor.shape[:spare])
    require_broadcast(**batches)
    return sizes


def require_broadcast(**batches: tuple[int, ...]) -> tuple[int, ...]:
    """Check that batch axes fit each other and return what they broadcast to."""
    try:
        return tuple(torch.broadcast_shapes(*batches.values()))
    except RuntimeError:
        found = ", ".join(f"{name} {shape}" for name, shape in batches.items())
        raise ShapeError(f"batch axes do not broadcast: {found}") from None


def require_float(**tensors: Tensor) -> None:
    """Check that tensors hold floating numbers; whole numbers are usually a forgotten unit."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise DataError(
                f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, expected a floating"
                " type; convert it to its unit first (an 8-bit image: x.float() / 255)"
            )


def require_precise(**tensors: Tensor) -> None:
    """Check that tensors hold float32 or float64: 16 bits cannot tell one pixel from the next."""
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.float64):
            raise DataError(
                f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, expected float32 or"
                " float64; call .float() before geometry, also under autocast"
            )


def require_bool(**tensors: Tensor) -> None:
    """Check that masks are boolean; a mask of 0 and 255 would be read as something else."""
    for name, tensor in tensors.items():
        if tensor.dtype != torch.bool:
            raise DataError(
                f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, expected bool;"
                " a grey mask becomes one with `mask > 127`"
            )


def require_finite(**tensors: Tensor) -> None:
    """Check that no value is NaN or infinite, and say how many are."""
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            bad = int((~tensor.isfinite()).sum())
            raise DataError(f"{name} has {bad} of {tensor.numel()} values that are NaN or infinite")
