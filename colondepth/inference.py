"""Depth of one image by the name of a network: `colondepth.load("sfsnet").predict("frame.png")`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from colondepth.backbones.contract import Backbone, Needs
from colondepth.backbones.fitting import predict_fitted
from colondepth.backbones.folding import folded
from colondepth.backbones.registry import backbones, create
from colondepth.cameras import Camera
from colondepth.errors import DataError, ShapeError
from colondepth.images import read_image
from colondepth.views import Prediction
from colondepth.weights.files import Origin, load_weights, read_origin

Picture = Tensor | npt.NDArray[Any] | Path | str


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer:
    """What a network said about one image, and for which camera."""

    prediction: Prediction  # a batch of one, on the image's own pixels
    camera: Camera
    origin: Origin | None  # of the weights; None for a network that brought none

    @property
    def calibrated(self) -> bool:
        """False where the camera is a guess, and with it every length: see `Camera.assumed`."""
        return self.camera.calibrated

    @property
    def depth_mm(self) -> Tensor:
        """Depth along the optical axis, (H, W), 0 where unknown."""
        return self.prediction.depth_mm[0, 0]

    @property
    def log_depth_std(self) -> Tensor | None:
        """Standard deviation of log depth, (H, W), if the network knows it."""
        std = self.prediction.log_depth_std
        return None if std is None else std[0, 0]

    @property
    def valid(self) -> Tensor:
        """True where depth may be used, (H, W) bool."""
        valid = self.prediction.valid
        return self.depth_mm > 0 if valid is None else valid[0, 0]


class Predictor:
    """A trained network that answers for single images.

    Args:
        backbone: one that needs no more than an image; it is copied, and may go on training.
        origin: of its weights.
        device: where to work; None for a GPU if there is one.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        origin: Origin | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if backbone.needs is not Needs.IMAGE:
            raise DataError(
                f"{type(backbone).__name__} needs {backbone.needs}, and a Predictor has an image;"
                " colondepth.backbones.fitting.predict_fitted takes batches with the rest"
            )
        usual = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device or usual)
        self.origin = origin
        self.backbone = folded(backbone).to(self.device)

    def predict(self, image: Picture, camera: Camera | None = None) -> Answer:
        """Return depth on the image's own pixels.

        Args:
            image: a file; an array (H, W, 3), RGB, 8 bits or in [0, 1]; or a tensor (3, H, W), so
                too. Pixels that are NaN are not valid in the answer.
            camera: of this image's size; without one `Camera.assumed` stands in, and the answer
                is not `calibrated`.
        """
        pixels = _pixels(image)  # (3, H, W)
        height, width = pixels.shape[-2:]
        camera = camera or Camera.assumed(height, width)
        if camera.batch:
            raise ShapeError(f"the camera is a batch {camera.batch}, expected that of one image")
        with torch.inference_mode():
            batch = {"image": pixels[None].to(self.device), "camera": camera}
            return Answer(
                prediction=predict_fitted(self.backbone, batch), camera=camera, origin=self.origin
            )


def load(
    name: str,
    weights: Path | str | None = None,
    device: torch.device | str | None = None,
) -> Predictor:
    """Return a network with its weights, ready to answer.

    Args:
        name: of the backbone, as `colondepth backbones` lists it.
        weights: a file, or the name of weights that come in the package; None for those that are
            called like the network.
        device: where to work; None for a GPU if there is one.
    """
    backbones.owner(name)  # a misspelt name is answered with the nearest right one
    origin = read_origin(weights or name)
    if origin.backbone != name:
        raise DataError(
            f"the weights {weights or name} are those of {origin.backbone!r}, not of {name!r};"
            f" load({origin.backbone!r}, weights=...) takes them"
        )
    backbone = create(name, **origin.options)
    load_weights(backbone, weights or name)
    return Predictor(backbone, origin=origin, device=device)


def _pixels(image: Picture) -> Tensor:
    """Return any kind of picture as float32 (3, H, W) in [0, 1]."""
    if isinstance(image, str | Path):
        return read_image(image)
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[-1] != 3:
            raise ShapeError(
                f"image has shape {image.shape}, expected an array (H, W, 3) in RGB;"
                " image[..., :3] drops transparency, and a tensor is (3, H, W)"
            )
        image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
    if not isinstance(image, Tensor):
        raise DataError(
            f"image is a {type(image).__name__}, expected a file, an array (H, W, 3) or a tensor"
            " (3, H, W)"
        )
    if image.ndim != 3 or image.shape[0] != 3:
        raise ShapeError(
            f"image has shape {tuple(image.shape)}, expected a tensor (3, H, W) in RGB; an array"
            " is (H, W, 3)"
        )
    if image.dtype == torch.uint8:
        return image.float() / 255
    if not image.is_floating_point():
        raise DataError(
            f"image holds {str(image.dtype).removeprefix('torch.')}, expected 8 bits, or floats in"
            " [0, 1]"
        )
    return image.float()
