"""The losses by the names that recipes use.

A recipe says `losses = {laplace = 1.0, gradients = 0.5}`. Each name stands for a function of what
the network said and of the batch of views that it saw; its options are keywords:

    named_loss("silog")(prediction, batch, forgive_scale=0.85)

What counts: pixels with true depth, that the batch calls `valid` where it has such a map, that the
prediction calls `valid` where it has one, and where the predicted depth is not 0, which says that
the network does not know (see `colondepth.views.Prediction`).
"""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from torch import Tensor

from colondepth.backbones.single_view.ordinal_labels import Labels
from colondepth.errors import DataError, UnknownNameError
from colondepth.losses.depth import (
    l1_loss,
    l2_loss,
    log_l1_loss,
    log_l2_loss,
    shape_loss,
    silog_loss,
)
from colondepth.losses.edges_and_curvature import DepthScale, edges_and_curvature_loss
from colondepth.losses.gradients import gradient_loss
from colondepth.losses.ordinal import ordinal_loss
from colondepth.losses.ranking import ranking_loss
from colondepth.losses.smoothness import smoothness_loss
from colondepth.losses.ssim import ssim_loss
from colondepth.losses.uncertainty import gaussian_loss, laplace_loss
from colondepth.views import Prediction

NamedLoss = Callable[..., Tensor]  # of (prediction, batch, **options)


def named_loss(name: str) -> NamedLoss:
    """Return the loss called `name`; a misspelt one is answered with the nearest right one."""
    if name not in LOSSES:
        close = get_close_matches(name, LOSSES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        known = ", ".join(sorted(LOSSES))
        raise UnknownNameError(f"no loss is called {name!r}.{hint} Known: {known}.")
    return LOSSES[name]


def _l1(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    return l1_loss(*_depths("l1", prediction, batch))


def _l2(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    return l2_loss(*_depths("l2", prediction, batch))


def _log_l1(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    return log_l1_loss(*_depths("log_l1", prediction, batch))


def _log_l2(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    return log_l2_loss(*_depths("log_l2", prediction, batch))


def _shape(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    return shape_loss(*_depths("shape", prediction, batch))


def _silog(
    prediction: Prediction, batch: Mapping[str, Any], *, forgive_scale: float = 0.5
) -> Tensor:
    """As Eigen (2014) trains it unless told otherwise."""
    return silog_loss(*_depths("silog", prediction, batch), forgive_scale=forgive_scale)


def _gradients(
    prediction: Prediction, batch: Mapping[str, Any], *, scales: int = 5, distance_px: int = 2
) -> Tensor:
    """As Li (2019) trains it unless told otherwise."""
    depths = _depths("gradients", prediction, batch)
    return gradient_loss(*depths, scales=scales, distance_px=distance_px)


def _edges_and_curvature(
    prediction: Prediction,
    batch: Mapping[str, Any],
    *,
    edge_weight: float = 1.0,
    curvature_weight: float = 1.0,
    scale: DepthScale = DepthScale.LOG,
) -> Tensor:
    """With weights of our own: none are published."""
    return edges_and_curvature_loss(
        *_depths("edges_and_curvature", prediction, batch),
        edge_weight=edge_weight,
        curvature_weight=curvature_weight,
        scale=scale,
    )


def _smoothness(
    prediction: Prediction,
    batch: Mapping[str, Any],
    *,
    order: int = 1,
    edge_sharpness: float = 1.0,
) -> Tensor:
    """As Godard (2019) has it unless told otherwise; needs no truth."""
    image = _given("smoothness", "image", batch)
    return smoothness_loss(
        prediction.depth_mm,
        image,
        _usable(prediction, batch),
        order=order,
        edge_sharpness=edge_sharpness,
    )


def _ssim(
    prediction: Prediction,
    batch: Mapping[str, Any],
    *,
    window: int = 7,
    data_range_mm: float = 100.0,  # all that C3VD records
) -> Tensor:
    """In windows that are wide enough to hold some relief of a wall."""
    depths = _depths("ssim", prediction, batch)
    return ssim_loss(*depths, window=window, data_range_mm=data_range_mm)


def _laplace(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    std = _predicted("laplace", "log_depth_std", prediction)
    return laplace_loss(*_depths("laplace", prediction, batch), log_depth_std=std)


def _gaussian(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    std = _predicted("gaussian", "log_depth_std", prediction)
    return gaussian_loss(*_depths("gaussian", prediction, batch), log_depth_std=std)


def _ordinal(
    prediction: Prediction,
    batch: Mapping[str, Any],
    *,
    nearest: float = 1.0,
    farthest: float = 250.0,
    unit_mm: float = 1.0,
    corners_aligned: bool = True,
) -> Tensor:
    """With the labels and cells that the network `dorn` has; a range has to be told to both."""
    logits = _predicted("ordinal", "label_logits", prediction)
    _, target_mm, usable = _depths("ordinal", prediction, batch)
    labels = Labels(count=logits.shape[1] // 2, nearest=nearest, farthest=farthest, unit_mm=unit_mm)
    return ordinal_loss(logits, target_mm, usable, labels=labels, corners_aligned=corners_aligned)


def _ranking(
    prediction: Prediction, batch: Mapping[str, Any], *, equal_within: float = 0.02
) -> Tensor:
    """With the pairs that were drawn for the batch."""
    pairs = _given("ranking", "pixel_pairs", batch)
    depths = _depths("ranking", prediction, batch)
    return ranking_loss(*depths, pairs=pairs, equal_within=equal_within)


LOSSES: Mapping[str, NamedLoss] = MappingProxyType(
    {
        "l1": _l1,
        "l2": _l2,
        "log_l1": _log_l1,
        "log_l2": _log_l2,
        "shape": _shape,
        "silog": _silog,
        "gradients": _gradients,
        "edges_and_curvature": _edges_and_curvature,
        "smoothness": _smoothness,
        "ssim": _ssim,
        "laplace": _laplace,
        "gaussian": _gaussian,
        "ordinal": _ordinal,
        "ranking": _ranking,
    }
)

_CURES = {
    "pixel_pairs": "; colondepth.losses.ranking.draw_pairs draws them, once the batch is on its"
    " device",
    "depth_mm": "; without true depth, train on photometric losses",
}


def _depths(
    loss: str, prediction: Prediction, batch: Mapping[str, Any]
) -> tuple[Tensor, Tensor, Tensor]:
    return prediction.depth_mm, _given(loss, "depth_mm", batch), _usable(prediction, batch)


def _usable(prediction: Prediction, batch: Mapping[str, Any]) -> Tensor:
    # Not "> 0": NaN and negative depth have to reach the loss, and be seen there.
    usable = prediction.depth_mm != 0  # (B, 1, H, W)
    if "valid" in batch:
        usable = usable & batch["valid"]
    if prediction.valid is not None:
        usable = usable & prediction.valid
    return usable


def _given(loss: str, key: str, batch: Mapping[str, Any]) -> Tensor:
    if key not in batch:
        raise DataError(
            f"the loss {loss!r} reads {key}, and the batch has only {sorted(batch)}"
            + _CURES.get(key, "")
        )
    value: Tensor = batch[key]
    return value


def _predicted(loss: str, field: str, prediction: Prediction) -> Tensor:
    value: Tensor | None = getattr(prediction, field)
    if value is None:
        raise DataError(
            f"the loss {loss!r} reads {field}, and this network predicts none; choose a network"
            " that does, or another loss"
        )
    return value
