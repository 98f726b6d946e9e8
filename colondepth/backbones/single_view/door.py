"""What every single-view network asks of its batch, and how log depth becomes millimetres."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from colondepth.backbones.contract import Backbone
from colondepth.errors import DataError
from colondepth.shapes import require_float, require_shapes

# Log depth is held within e^8 = 2981 of its unit: with 30 mm that is 0.01 mm to 89 m, beyond
# anything in a colon, a street or the air, and the exponential stays finite in 16 bits too.
LARGEST_LOG_DEPTH = 8.0


def fitting_image(backbone: Backbone, batch: Mapping[str, Any]) -> Tensor:
    """Return the batch's image (B, 3, H, W), having checked that the network takes its size."""
    name = type(backbone).__name__
    if "image" not in batch:
        raise DataError(f"{name} needs an image; the batch has {sorted(map(str, batch))}")
    image: Tensor = batch["image"]
    size = require_shapes(image=(image, "B 3 H W"))
    require_float(image=image)
    backbone.sizes.require(name, size["H"], size["W"])
    return image


def depth_from_log(log_depth: Tensor, unit_mm: float) -> Tensor:
    """Return unit_mm * exp(log_depth), of any shape, with log depth 0 at one unit."""
    return unit_mm * log_depth.clamp(-LARGEST_LOG_DEPTH, LARGEST_LOG_DEPTH).exp()


def require_positive(**numbers: float) -> None:
    """Check that settings of a network are numbers above 0."""
    for name, number in numbers.items():
        if not number > 0:
            raise DataError(f"{name} is {number}, expected more than 0")
