"""What `--device` may be."""

from typing import TYPE_CHECKING

from colondepth.errors import DataError

if TYPE_CHECKING:
    import torch


def usable_device(text: str) -> "torch.device":
    """Return a device that torch can use; another is a mistake of the user."""
    import torch

    try:
        device = torch.device(text)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"--device {text} cannot be used: {reason}") from error
    return device
