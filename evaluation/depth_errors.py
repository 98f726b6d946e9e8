"""How far found depth is from true depth: the measures that papers print, frame by frame.

After Eigen, Puhrsch and Fergus, "Depth map prediction from a single image using a multi-scale deep
network", NIPS 2014; log10 after Saxena, Sun and Ng, "Make3D", 2009; the median relative error after
the SimCol3D challenge. Nothing is added to a denominator or a logarithm, and nothing is clamped.

A pixel is known where `known` is True and the true depth is above 0, and answered where the found
depth is a finite number above 0: 0 is how a network says that it does not know. Errors are taken
over the pixels that are both; `answered` is the share of the known pixels that are, and belongs
beside every other number, for a network that is silent where it is hard looks better than it is. A
frame without such a pixel has errors of nan, a frame without a known one an `answered` of nan too.
Sums are float64.
"""

from collections.abc import Mapping
from math import log, nan

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes
from evaluation.quantities import Quantity

# Of mean(d)^2 in Eigen's equation 1, d the difference of logarithms: 1 forgives any one factor.
SILOG_LAMBDA = 1.0
FACTORS: Mapping[str, float] = {
    "delta_1_05": 1.05,
    "delta_1_10": 1.1,
    "delta_1_25": 1.25,
    "delta_1_25_2": 1.25**2,
    "delta_1_25_3": 1.25**3,
}
# What is summed over pixels; the errors are made of nothing else, but for the median.
PIXEL_SUMS = (
    "known",
    "measured",
    "abs_rel",
    "sq_rel",
    "abs_mm",
    "square_mm",
    "log",
    "abs_log",
    "square_log",
    *FACTORS,
)
DEPTH_ERRORS: Mapping[str, Quantity] = {
    "abs_rel": Quantity("mean |error| / true depth (AbsRel)", "", True),
    "sq_rel": Quantity("mean error^2 / true depth (SqRel)", "mm", True),
    "rmse_mm": Quantity("root mean square error (RMSE)", "mm", True),
    "rmse_log": Quantity("root mean square error of ln depth (RMSE log)", "", True),
    "log10": Quantity("mean |error| of log10 depth", "", True),
    "silog": Quantity("standard deviation of the error of ln depth (SILog)", "", True),
    "l1_mm": Quantity("mean |error| (L1)", "mm", True),
    "delta_1_05": Quantity("pixels within a factor of 1.05", "", False),
    "delta_1_10": Quantity("pixels within a factor of 1.1", "", False),
    "delta_1_25": Quantity("pixels within a factor of 1.25 (delta 1)", "", False),
    "delta_1_25_2": Quantity("pixels within a factor of 1.25^2 (delta 2)", "", False),
    "delta_1_25_3": Quantity("pixels within a factor of 1.25^3 (delta 3)", "", False),
    "median_rel": Quantity("median |error| / true depth", "", True),
    "answered": Quantity("known pixels that have a depth", "", False),
}


def depth_errors(found_mm: Tensor, true_mm: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return the errors of each frame, (B,) float64 each, named as in `DEPTH_ERRORS`.

    Args:
        found_mm: z-depth, aligned already if it is to be, shape (B, 1, H, W).
        true_mm: z-depth, finite, 0 where unknown, shape (B, 1, H, W).
        known: bool, where to measure, shape (B, 1, H, W).
    """
    sums, relative = _sums(found_mm, true_mm, known)
    errors = errors_from_sums(sums) | {"median_rel": medians(relative)}
    return {name: errors[name] for name in DEPTH_ERRORS}


def pixel_sums(found_mm: Tensor, true_mm: Tensor, known: Tensor) -> dict[str, Tensor]:
    """Return the `PIXEL_SUMS` of each frame, (B,) float64 each; those of frames may be added.

    Args:
        found_mm: as for `depth_errors`.
        true_mm: as for `depth_errors`.
        known: as for `depth_errors`.
    """
    return _sums(found_mm, true_mm, known)[0]


def errors_from_sums(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the errors that sums of `pixel_sums` stand for, whether of a frame or of many.

    All of `DEPTH_ERRORS` but the median, which no sum knows.
    """
    pixels = torch.where(sums["measured"] > 0, sums["measured"], nan)
    known = torch.where(sums["known"] > 0, sums["known"], nan)
    mean = {name: total / pixels for name, total in sums.items()}
    spread = mean["square_log"] - SILOG_LAMBDA * mean["log"].square()  # Eigen 2014, eq. 1 and 3
    return {
        "abs_rel": mean["abs_rel"],
        "sq_rel": mean["sq_rel"],
        "rmse_mm": mean["square_mm"].sqrt(),
        "rmse_log": mean["square_log"].sqrt(),
        "log10": mean["abs_log"] / log(10),
        "silog": spread.clamp(min=0).sqrt(),  # rounding may leave less than 0
        "l1_mm": mean["abs_mm"],
        **{name: mean[name] for name in FACTORS},
        "answered": sums["measured"] / known,
    }


def measured_pixels(found_mm: Tensor, true_mm: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Check the three maps and return which pixels are known, and which of them answered.

    Args:
        found_mm: shape (B, 1, H, W); 0, less, NaN and infinite are no answer.
        true_mm: finite, 0 where unknown, shape (B, 1, H, W).
        known: bool, where to measure, shape (B, 1, H, W).
    """
    pattern = "B 1 H W"
    require_shapes(found_mm=(found_mm, pattern), true_mm=(true_mm, pattern), known=(known, pattern))
    require_float(found_mm=found_mm, true_mm=true_mm)
    require_bool(known=known)
    require_finite(true_mm=true_mm)
    if true_mm.numel() and true_mm.amin() < 0:
        raise DataError(
            f"true_mm goes down to {float(true_mm.amin()):g}, expected depths from 0 on; unknown"
            " is 0"
        )
    seen = known & (true_mm > 0)
    return seen, seen & has_depth(found_mm)


def has_depth(depth_mm: Tensor) -> Tensor:
    """Return where a network answered: a finite depth above 0."""
    return depth_mm.isfinite() & (depth_mm > 0)


def medians(values: Tensor) -> Tensor:
    """Return the median of each row (B, N) of what is not NaN, (B,); nan for an empty row.

    Of an even count it is the mean of the middle two, as numpy has it; torch takes the lower.
    """
    if values.shape[-1] == 0:
        return values.new_full(values.shape[:1], nan)
    lower, upper = values.nanmedian(dim=-1).values, -(-values).nanmedian(dim=-1).values
    return (lower + upper) / 2


def _sums(found_mm: Tensor, true_mm: Tensor, known: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Return the sums, and |error| / true depth (B, N) with NaN where it is not measured."""
    known, measured = (m.flatten(start_dim=1) for m in measured_pixels(found_mm, true_mm, known))
    # 1 mm on both sides where nothing is measured: every error there is 0
    found, true = (
        torch.where(measured, depth_mm.flatten(start_dim=1).double(), 1.0)  # (B, N)
        for depth_mm in (found_mm, true_mm)
    )
    miss = (found - true).abs()
    relative = miss / true
    ratio = found / true
    difference = ratio.log()
    factor = ratio.maximum(ratio.reciprocal()).masked_fill(~measured, torch.inf)
    terms = {
        "abs_rel": relative,
        "sq_rel": relative * miss,
        "abs_mm": miss,
        "square_mm": miss.square(),
        "log": difference,
        "abs_log": difference.abs(),
        "square_log": difference.square(),
    }
    sums = {name: term.sum(dim=1) for name, term in terms.items()}
    sums |= {name: (factor < limit).sum(dim=1).double() for name, limit in FACTORS.items()}
    sums |= {"known": known.sum(dim=1).double(), "measured": measured.sum(dim=1).double()}
    return {name: sums[name] for name in PIXEL_SUMS}, relative.masked_fill(~measured, nan)
