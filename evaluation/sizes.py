"""How well polyps are sized, in millimetres and in the classes that decide about surveillance.

Classes: diminutive up to 5 mm, small above 5 and below 10 mm (6-9 in whole millimetres), large
from 10 mm on. Kappa is agreement beyond chance, (observed - chance) / (1 - chance) of Cohen, "A
coefficient of agreement for nominal scales" (1960); the weighted one counts a miss by two
classes twice (Cohen 1968). Limits of agreement: Bland and Altman (1986), bias -+ 1.96 deviations.
"""

from collections.abc import Mapping
from math import nan

import numpy as np
from numpy.typing import NDArray

from colondepth.errors import DataError, ShapeError
from evaluation.quantities import Quantity

DIMINUTIVE_MAX_MM = 5.0
LARGE_MIN_MM = 10.0
SIZE_CLASSES = ("diminutive", "small", "large")
SIZE_ERRORS: Mapping[str, Quantity] = {
    "size_mae_mm": Quantity("mean absolute error of polyp size", "mm", True),
    "size_rmse_mm": Quantity("root mean square error of polyp size", "mm", True),
    "size_abs_bias_mm": Quantity("absolute mean error of polyp size", "mm", True),
    "size_limits_mm": Quantity("1.96 standard deviations of the error of polyp size", "mm", True),
    "size_abs_rel": Quantity("mean absolute error of polyp size over true size", "", True),
    "size_agreement": Quantity("polyps in their true size class", "", False),
    "size_agreement_diminutive": Quantity("true polyps up to 5 mm that are found so", "", False),
    "size_agreement_small": Quantity("true polyps of 6-9 mm that are found so", "", False),
    "size_agreement_large": Quantity("true polyps from 10 mm on that are found so", "", False),
    "size_agreement_5_mm": Quantity("polyps on their side of 5 mm (5 is below)", "", False),
    "size_agreement_10_mm": Quantity("polyps on their side of 10 mm (10 is above)", "", False),
    "size_kappa": Quantity("agreement of size class beyond chance (Cohen's kappa)", "", False),
    "size_kappa_weighted": Quantity("the same, linearly weighted", "", False),
    "size_answered": Quantity("polyps that are given a size", "", False),
}

Sizes = NDArray[np.float64]


def size_errors(found_mm: Sizes, true_mm: Sizes) -> dict[str, float]:
    """Return the errors over polyps, named as in `SIZE_ERRORS`.

    A polyp that is given no size (nan) is an abstention: it is left out and lowers
    `size_answered`. Without a polyp all are nan, without an answer all but that; an agreement of a
    class is nan without a true polyp of it, kappa where chance alone would always agree, and the
    limits for fewer than two polyps.

    Args:
        found_mm: positive, or nan for an abstention, shape (N,).
        true_mm: positive, shape (N,).
    """
    _require_sizes(found_mm, true_mm)
    errors = dict.fromkeys(SIZE_ERRORS, nan)
    if len(true_mm) == 0:
        return errors
    answered = ~np.isnan(found_mm)
    errors["size_answered"] = float(answered.mean())
    if not answered.any():
        return errors
    table = size_table(found_mm, true_mm)
    found, true = found_mm[answered], true_mm[answered]
    miss = found - true
    by_class = {
        f"size_agreement_{name}": float(table[row, row] / table[row].sum())
        for row, name in enumerate(SIZE_CLASSES)
        if table[row].any()
    }
    return {
        **errors,
        **by_class,
        "size_mae_mm": float(np.abs(miss).mean()),
        "size_rmse_mm": float(np.sqrt(np.square(miss).mean())),
        "size_abs_bias_mm": abs(size_bias_mm(found_mm, true_mm)),
        "size_limits_mm": 1.96 * float(miss.std(ddof=1)) if len(miss) > 1 else nan,
        "size_abs_rel": float((np.abs(miss) / true).mean()),
        "size_agreement": float(np.trace(table) / table.sum()),
        "size_agreement_5_mm": _same(found <= DIMINUTIVE_MAX_MM, true <= DIMINUTIVE_MAX_MM),
        "size_agreement_10_mm": _same(found >= LARGE_MIN_MM, true >= LARGE_MIN_MM),
        "size_kappa": kappa(table, weighted=False),
        "size_kappa_weighted": kappa(table, weighted=True),
    }


def size_bias_mm(found_mm: Sizes, true_mm: Sizes) -> float:
    """Return the mean error with its sign, positive for sizes found too large; nan for none."""
    _require_sizes(found_mm, true_mm)
    miss = (found_mm - true_mm)[~np.isnan(found_mm)]
    return float(miss.mean()) if len(miss) else nan


def size_table(found_mm: Sizes, true_mm: Sizes) -> NDArray[np.int64]:
    """Count polyps by true (rows) and found class (columns), (3, 3), abstentions left out."""
    _require_sizes(found_mm, true_mm)
    answered = ~np.isnan(found_mm)
    table = np.zeros((len(SIZE_CLASSES), len(SIZE_CLASSES)), dtype=np.int64)
    np.add.at(table, (_size_class(true_mm[answered]), _size_class(found_mm[answered])), 1)
    return table


def largest_class_share(true_mm: Sizes) -> float:
    """Return the agreement of one who always names the commonest class; nan for no polyp."""
    _require_sizes(true_mm, true_mm)
    counts = np.bincount(_size_class(true_mm), minlength=len(SIZE_CLASSES))
    return float(counts.max() / counts.sum()) if counts.sum() else nan


def kappa(table: NDArray[np.int64], *, weighted: bool) -> float:
    """Return Cohen's kappa of a square table of counts; nan where chance always agrees.

    Args:
        table: counts by the classes of two raters, in the order of the classes, shape (K, K).
        weighted: a miss counts by how many classes it is off.
    """
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ShapeError(f"table has shape {table.shape}, expected (K, K)")
    number = np.arange(len(table))
    off = np.abs(number[:, None] - number)  # (K, K)
    cost = off.astype(np.float64) if weighted else (off > 0).astype(np.float64)
    total = table.sum()
    if total == 0:
        return nan
    by_chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    expected = float((cost * by_chance).sum())
    return 1 - float((cost * table).sum()) / expected if expected > 0 else nan


def _size_class(size_mm: Sizes) -> NDArray[np.int64]:
    """Return the place in `SIZE_CLASSES`, (N,)."""
    return (size_mm > DIMINUTIVE_MAX_MM).astype(np.int64) + (size_mm >= LARGE_MIN_MM)


def _same(left: NDArray[np.bool_], right: NDArray[np.bool_]) -> float:
    return float((left == right).mean())


def _require_sizes(found_mm: Sizes, true_mm: Sizes) -> None:
    if found_mm.ndim != 1 or found_mm.shape != true_mm.shape:
        raise ShapeError(
            f"found_mm has shape {found_mm.shape} and true_mm {true_mm.shape}, expected (N,) twice"
        )
    if bool((~np.isfinite(true_mm)).any() or (true_mm <= 0).any()):
        raise DataError("true_mm has sizes that are not positive numbers; leave those polyps out")
    if bool(np.isinf(found_mm).any() or (found_mm <= 0).any()):
        raise DataError(
            "found_mm has sizes that are zero, negative or infinite; an abstention is nan"
        )
