"""The figures of a network that is to be shipped, beside those of two that know nothing.

Protocol `sfsnet`: metric, no alignment; of all pixels with true depth inside the aperture, what the
network itself calls invalid among them; mean within a frame, then over the frames of a clip, then
over clips. "Scaled" is the same after one factor a frame, median true over median predicted depth.

The two that know nothing answer on the same pixels: a constant, the median true depth of the whole
set; and one over the square root of the luminance, as a wall lit from the camera would have it,
whose unit only a scale from the truth can give.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean

import torch
from torch import Tensor

from colondepth.backbones.contract import Backbone
from colondepth.backbones.fitting import predict_fitted
from colondepth.errors import DataError
from colondepth.losses.uncertainty import Shares, one_temperature, shares_within
from colondepth.views import Prediction, View, collate_views
from curriculum.shipping_views import Sample
from curriculum.validation import depth_scores
from synthetic_colons.exposure import linear_from_srgb

_THINNED = 4  # of rows and of columns one in so many tells the temperature: neighbours repeat it
_LEAST_MM = 1e-3  # below it a prediction is "does not know"; a logarithm needs it
_DARKEST = 1e-4  # of linear luminance, a third of the first step of 8 bits
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709

Scores = dict[str, float]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Judged:
    """A frame, what was said about it, and how far off that is."""

    sample: Sample
    prediction: Prediction
    abs_rel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The figures of one level or dataset."""

    name: str
    clips: int
    frames: int
    unscored: int  # frames without a pixel of true depth
    size: tuple[int, int]
    network: Mapping[str, float]  # delta_1, abs_rel, rmse_mm, scaled_*, within_1, within_2
    unrounded: Mapping[str, float]  # the same of the weights before they were halved
    constant_mm: float
    constant: Mapping[str, float]
    shading: Mapping[str, float]  # scaled_* alone mean something


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The factor on the standard deviation, and what it did where it was found."""

    temperature: float
    frames: int
    before: Shares
    after: Shares


def calibrated(network: Backbone, samples: Iterable[Sample]) -> Calibration:
    """Return the factor that makes the predicted standard deviation honest on these views.

    The network is left as it is; the factor multiplies what it says now.
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for sample in samples:
        error, std, known = _log_error(answer(network, sample), sample)
        thin = (..., slice(None, None, _THINNED), slice(None, None, _THINNED))
        parts.append((error[thin], std[thin], known[thin]))
    if not parts:
        raise DataError("there is no view; expected some to find the temperature on")
    error, std, known = (torch.cat(each) for each in zip(*parts, strict=True))
    factor = one_temperature(error, std, known)
    return Calibration(
        temperature=factor,
        frames=len(parts),
        before=shares_within(error, std, known),
        after=shares_within(error, std, known, temperature=factor),
    )


def measured(
    network: Backbone,
    unrounded: Backbone,
    samples: Iterable[Sample],
    *,
    keep: Callable[[Judged], None] = lambda judged: None,
) -> Group:
    """Return the figures of one group of views.

    Args:
        network: with the weights as they are shipped.
        unrounded: with the weights before they were rounded.
        samples: of one group.
        keep: is given every frame.
    """
    rows: dict[str, list[tuple[str, Scores]]] = {"network": [], "unrounded": [], "shading": []}
    truths: list[Sample] = []
    unscored = 0
    sample = None
    for sample in samples:
        if not bool(_known(sample).any()):
            unscored += 1
            continue
        prediction = answer(network, sample)
        scores = _scores(prediction, sample)
        rows["network"].append((sample.clip, scores))
        rows["unrounded"].append((sample.clip, _scores(answer(unrounded, sample), sample)))
        shaded = Prediction(depth_mm=shading_depth(sample.view["image"])[None])
        rows["shading"].append((sample.clip, _depth_scores(shaded, sample)))
        truths.append(_truth(sample))
        keep(Judged(sample=sample, prediction=prediction, abs_rel=scores["abs_rel"]))
    if sample is None or not truths:
        raise DataError(f"none of {unscored} views has true depth; expected some to measure on")
    constant_mm = _median(truths)
    constant = [
        (each.clip, _depth_scores(_flat(each.view["depth_mm"], constant_mm), each))
        for each in truths
    ]
    height, width = truths[0].view["depth_mm"].shape[-2:]
    return Group(
        name=sample.group,
        clips=len({each.clip for each in truths}),
        frames=len(truths),
        unscored=unscored,
        size=(height, width),
        network=mean_by_clip(rows["network"]),
        unrounded=mean_by_clip(rows["unrounded"]),
        constant_mm=constant_mm,
        constant=mean_by_clip(constant),
        shading={
            name: value
            for name, value in mean_by_clip(rows["shading"]).items()
            if name.startswith("scaled_")
        },
    )


def answer(network: Backbone, sample: Sample) -> Prediction:
    """Return what the network says about one view."""
    view = sample.view
    with torch.no_grad():
        batch = collate_views([{"image": view["image"], "camera": view["camera"]}])
        prediction = predict_fitted(network, batch)
    if prediction.log_depth_std is None:
        raise DataError(
            f"{type(network).__name__} says no standard deviation, and `ship` calibrates one;"
            " expected a network such as sfsnet"
        )
    return prediction


def shading_depth(image: Tensor) -> Tensor:
    """Return 1 / sqrt(linear luminance) of an sRGB image (3, H, W), shape (1, H, W)."""
    weights = image.new_tensor(_LUMINANCE).reshape(3, 1, 1)
    luminance = (linear_from_srgb(image) * weights).sum(dim=0, keepdim=True)
    return luminance.clamp(min=_DARKEST).rsqrt()


def mean_by_clip(rows: Sequence[tuple[str, Scores]]) -> Scores:
    """Return the mean over clips of the means over their frames."""
    clips: dict[str, list[Scores]] = {}
    for clip, scores in rows:
        clips.setdefault(clip, []).append(scores)
    return {
        name: fmean(fmean(scores[name] for scores in frames) for frames in clips.values())
        for name in rows[0][1]
    }


def _scores(prediction: Prediction, sample: Sample) -> Scores:
    shares = shares_within(*_log_error(prediction, sample))
    return _depth_scores(prediction, sample) | {"within_1": shares.one, "within_2": shares.two}


def _depth_scores(prediction: Prediction, sample: Sample) -> Scores:
    batch = {"depth_mm": sample.view["depth_mm"][None], "valid": _known(sample)[None]}
    scores = {name: value.item() for name, value in depth_scores(prediction, batch).items()}
    if bad := [name for name, value in scores.items() if isnan(value)]:
        frame = f"{sample.clip}, frame {sample.view.get('frame_id', '?')}"
        raise DataError(f"{', '.join(bad)} of {frame} is NaN; the network's depth is not finite")
    return scores


def _log_error(prediction: Prediction, sample: Sample) -> tuple[Tensor, Tensor, Tensor]:
    """Return log predicted - log true depth, its standard deviation, and where both are meant."""
    known = _known(sample)[None]
    one = torch.ones_like(prediction.depth_mm)
    found_mm = prediction.depth_mm.clamp(min=_LEAST_MM)
    true_mm = torch.where(known, sample.view["depth_mm"][None], one)
    assert prediction.log_depth_std is not None  # `answer` has seen to it
    std = torch.where(known, prediction.log_depth_std, one)
    return torch.where(known, found_mm.log() - true_mm.log(), 0 * one), std, known


def _known(sample: Sample) -> Tensor:
    return (sample.view["depth_mm"] > 0) & sample.view["valid"]


def _truth(sample: Sample) -> Sample:
    """Return a sample without what is no longer needed: many are kept."""
    view = sample.view
    truth = View(
        image=view["image"][:, :0],
        camera=view["camera"],
        depth_mm=view["depth_mm"],
        valid=view["valid"],
        frame_id=view["frame_id"],
    )
    return Sample(group=sample.group, clip=sample.clip, view=truth)


def _median(truths: Sequence[Sample]) -> float:
    values = torch.cat([each.view["depth_mm"][_known(each)] for each in truths])
    return float(values.median())


def _flat(like: Tensor, depth_mm: float) -> Prediction:
    return Prediction(depth_mm=torch.full_like(like, depth_mm)[None])
