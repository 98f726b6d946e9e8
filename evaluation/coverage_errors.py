"""How well it is told which part of the colon wall was seen.

Coverage is the seen share of a stretch of wall, and its error the mean absolute difference over
stretches, in points of a hundred (Freedman et al., "Detecting deficient coverage in colonoscopies",
2020). Gaps are judged as a detector of unseen wall: area under the ROC curve and the sensitivity at
a specificity (Leifman et al. 2023), where each patch of wall may count by its area.
"""

from collections.abc import Mapping
from math import nan

import numpy as np
from numpy.typing import NDArray

from colondepth.errors import DataError, ShapeError
from evaluation.quantities import Quantity

SPECIFICITY = 0.9  # at which Leifman et al. tell the sensitivity
_ROUNDING = 1e-12  # of sums of weights
COVERAGE_ERRORS: Mapping[str, Quantity] = {
    "coverage_mae_points": Quantity("mean absolute error of coverage", "points", True),
    "coverage_abs_bias_points": Quantity("absolute mean error of coverage", "points", True),
    "coverage_answered": Quantity("stretches that are given a coverage", "", False),
}
GAP_ERRORS: Mapping[str, Quantity] = {
    "gap_auc": Quantity("area under the ROC curve of gaps", "", False),
    "gap_sensitivity": Quantity("gaps found at a specificity of 0.9", "", False),
}

Numbers = NDArray[np.float64]


def coverage_errors(found: Numbers, true: Numbers) -> dict[str, float]:
    """Return the errors over stretches of wall, named as in `COVERAGE_ERRORS`.

    A stretch that is given no coverage (nan) is no answer: it is left out and lowers
    `coverage_answered`. Without a stretch all are nan, without an answer all but that.

    Args:
        found: seen share of each stretch, in [0, 1], or nan, shape (N,).
        true: in [0, 1], shape (N,).
    """
    _require_alike(found=found, true=true)
    _require_shares("true", true)
    answered = ~np.isnan(found)
    _require_shares("found", found[answered])
    errors = dict.fromkeys(COVERAGE_ERRORS, nan)
    if len(true):
        errors["coverage_answered"] = float(answered.mean())
    if answered.any():
        errors["coverage_mae_points"] = 100 * float(np.abs(found - true)[answered].mean())
        errors["coverage_abs_bias_points"] = abs(coverage_bias_points(found, true))
    return errors


def coverage_bias_points(found: Numbers, true: Numbers) -> float:
    """Return the mean error with its sign, positive where too much is called seen; nan for none."""
    _require_alike(found=found, true=true)
    miss = (found - true)[~np.isnan(found)]
    return 100 * float(miss.mean()) if len(miss) else nan


def gap_errors(score: Numbers, gap: NDArray[np.bool_], weight: Numbers) -> dict[str, float]:
    """Return how well unseen wall is told from seen, named as in `GAP_ERRORS`.

    Equal scores count half in the area (Hanley and McNeil 1982); sensitivity is read off the ROC
    curve with straight lines between its points. Both are nan unless there are gaps and seen wall.

    Args:
        score: higher where a gap is more likely, shape (N,).
        gap: True on patches that were not seen, shape (N,).
        weight: of each patch, such as its area; ones count them, shape (N,).
    """
    false_alarms, hits = roc_curve(score, gap, weight)
    return {
        "gap_auc": float(np.trapezoid(hits, false_alarms)),
        "gap_sensitivity": _sensitivity(false_alarms, hits, specificity=SPECIFICITY),
    }


def roc_curve(score: Numbers, gap: NDArray[np.bool_], weight: Numbers) -> tuple[Numbers, Numbers]:
    """Return false alarms and hits as the limit of the score falls, from (0, 0) to (1, 1).

    Patches of one score come in together. Without gaps, or without seen wall, both are nan.
    Arguments as in `gap_errors`.
    """
    _require_alike(score=score, gap=gap, weight=weight)
    if gap.dtype != np.bool_:
        raise DataError(f"gap holds {gap.dtype}, expected bool")
    if not np.isfinite(score).all():
        raise DataError("score has values that are NaN or infinite; expected one for every patch")
    if not np.isfinite(weight).all() or bool((weight < 0).any()):
        raise DataError("weight has values that are negative, NaN or infinite, expected areas")
    gaps, seen = float(weight[gap].sum()), float(weight[~gap].sum())
    if gaps == 0 or seen == 0:
        return np.full(2, nan), np.full(2, nan)
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)  # of the patches with one score
    hits = (weight * gap)[order].cumsum()[last] / gaps
    false_alarms = (weight * ~gap)[order].cumsum()[last] / seen
    return np.append(0.0, false_alarms), np.append(0.0, hits)


def _sensitivity(false_alarms: Numbers, hits: Numbers, *, specificity: float) -> float:
    if np.isnan(hits).any():
        return nan
    allowed = 1 - specificity + _ROUNDING
    # The highest hits with no more false alarms than allowed, then along the line to the next.
    at = int(np.searchsorted(false_alarms, allowed, side="right"))  # points before are allowed
    if at == len(hits):
        return float(hits[-1])
    run = false_alarms[at] - false_alarms[at - 1]
    share = (allowed - false_alarms[at - 1]) / run
    return float(hits[at - 1] + share * (hits[at] - hits[at - 1]))


def _require_shares(name: str, values: Numbers) -> None:
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise DataError(
            f"{name} reaches from {values.min():g} to {values.max():g}, expected shares in [0, 1];"
            " divide percent by 100"
        )


def _require_alike(**arrays: NDArray[np.generic]) -> None:
    if len({array.shape for array in arrays.values()}) > 1 or any(
        array.ndim != 1 for array in arrays.values()
    ):
        found = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ShapeError(f"expected one shape (N,), found {found}")
