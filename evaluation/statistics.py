"""How sure a mean is, and whether two differ: by drawing whole clips or patients, never frames.

Neighbouring frames show nearly the same wall, so a thousand of them say little more than one. What
is drawn anew is therefore the group - a clip, or a patient with all of their clips - with
everything in it (the cluster bootstrap; Davison and Hinkley, "Bootstrap Methods", 1997, 3.8).
"""

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log2, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from colondepth.errors import DataError

LEVEL = 0.95
DRAWS = 2000  # the end of a 95 % interval then rests on about fifty draws
_ALIKE = 1e-12  # two sums of the same numbers in another order differ by less, relatively

Values = NDArray[np.float64]
Names = NDArray[np.str_]


class Average(StrEnum):
    """In which order values become one mean."""

    MACRO = "macro"  # within each group first, then over groups: every clip counts the same
    MICRO = "micro"  # over all values at once: every frame counts the same


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it would lie, had other groups been drawn from the same source.

    `low` and `high` are nan where there are fewer groups than `fewest_groups` asks for; all three
    numbers are nan where no value is defined.
    """

    mean: float
    low: float
    high: float
    groups: int
    values: int  # that are defined; a nan is not


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """How much the mean of A lies above that of B, both measured on the same frames."""

    difference: float
    low: float  # as in `Interval`
    high: float
    p_value: float  # two-sided, that A and B could be swapped in each group
    effect_size: float  # difference over the groups' own standard deviation (Cohen's d_z)
    groups: int
    values: int  # frames where both are defined


def bootstrap_mean(
    values: Values,
    groups: Names,
    *,
    average: Average,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Return a mean with its percentile interval from drawing groups with replacement.

    The percentiles are set wider for few groups, by Student's t and sqrt(n / (n - 1)), since a
    plain percentile interval is too narrow by as much (Hesterberg, "What teachers should know
    about the bootstrap", 2015, section 5.3). In simulations of normally distributed clips it then
    holds the true mean in 93 to 95 % of cases from 6 clips on, instead of 86 to 93 %.

    Args:
        values: one per frame, shape (n,); nan where it is not defined, and then left out.
        groups: name of the clip or patient of each, shape (n,).
        average: in which order values become one mean.
        seed: the same seed gives the same interval.
        draws: how many times groups are drawn.
        level: share of such intervals that hold the true mean.
    """
    _require_settings(draws, level)
    sums, counts = _by_group(values, groups)
    low, high = _ends(sums, counts, average, seed=seed, draws=draws, level=level)
    mean = _mean(sums, counts, average)
    return Interval(mean, low, high, len(sums), int(counts.sum()))


def paired(
    a: Values,
    b: Values,
    groups: Names,
    *,
    average: Average,
    seed: int = 0,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Paired:
    """Compare two sets of values of the same frames, group by group.

    The p-value is that of a sign-flip test: if A and B are alike, then in each group their
    difference could as well have had the other sign. All 2^n ways are counted where they are no
    more than `draws`, else as many are drawn. With n groups it cannot fall below 2 / 2^n.

    Args:
        a: one value per frame, shape (n,); nan where it is not defined.
        b: of the same frames in the same order.
        groups: name of the clip or patient of each, shape (n,).
        average: in which order differences become one mean.
        seed: the same seed gives the same answer.
        draws: how many times groups are drawn, and signs flipped.
        level: share of such intervals that hold the true difference.
    """
    _require_settings(draws, level)
    if a.shape != b.shape:
        raise DataError(f"a has shape {a.shape} and b {b.shape}, expected the same frames in both")
    sums, counts = _by_group(a - b, groups)
    difference = _mean(sums, counts, average)
    low, high = _ends(sums, counts, average, seed=seed, draws=draws, level=level)
    return Paired(
        difference=difference,
        low=low,
        high=high,
        p_value=_sign_flip_p(sums, counts, average, seed=seed, draws=draws),
        effect_size=_effect_size(difference, sums, counts),
        groups=len(sums),
        values=int(counts.sum()),
    )


def fewest_groups(level: float = LEVEL) -> int:
    """Return with how few groups an interval of this level can be had at all.

    No draw of n groups has a mean outside of their lowest and highest one, and these two enclose
    the centre of a symmetric population with probability 1 - 2^(1 - n): six groups for 95 %.
    """
    return max(2, ceil(1 - log2(1 - level) - _ALIKE))


def family_p(
    differences: Values, groups: Names, *, average: Average, seed: int = 0, draws: int = DRAWS
) -> tuple[float, ...]:
    """Return p-values that allow for how many quantities are compared, and for how alike they are.

    The chance that any of them looks as different as this one while nothing differs: the same
    sign flips as in `paired`, on all quantities at once (Westfall and Young 1993, step-down max T).
    Where quantities rise and fall together it asks for hardly more than a single test does.

    Args:
        differences: A minus B, a row a quantity, shape (q, n); nan where one is not defined.
        groups: name of the clip or patient of each frame, shape (n,).
        average: in which order differences become one mean.
        seed: the same seed gives the same answer.
        draws: how many times signs are flipped, unless all ways are fewer.
    """
    names, number = np.unique(groups, return_inverse=True)
    signs, found = _signs(len(names), seed=seed, draws=draws)
    parts = np.zeros((len(differences), len(names)))
    for place, row in enumerate(differences):
        defined = ~np.isnan(row)
        sums = np.bincount(number[defined], weights=row[defined], minlength=len(names))
        counts = np.bincount(number[defined], minlength=len(names))
        parts[place] = sums / np.maximum(counts, 1) if average is Average.MACRO else sums
    size = np.sqrt((parts**2).sum(axis=1, keepdims=True))  # which no flip changes
    parts = parts / np.where(size > 0, size, 1)
    order = np.argsort(-np.abs(parts.sum(axis=1)))  # (q,), the clearest first
    flipped = np.abs(signs @ parts[order].T)  # (flips, q)
    most = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]  # of it and all less clear
    as_far = most >= np.abs(parts[order].sum(axis=1)) - _ALIKE * len(names)
    chances = np.maximum.accumulate((found + as_far.sum(axis=0)) / (found + len(signs)))
    adjusted = np.empty(len(parts))
    adjusted[order] = chances
    adjusted[np.isnan(differences).all(axis=1)] = np.nan
    return tuple(adjusted.tolist())


def _by_group(values: Values, groups: Names) -> tuple[Values, Values]:
    """Return the sum and the number of the defined values of every group that has some."""
    if values.ndim != 1 or values.shape != groups.shape:
        raise DataError(
            f"values have shape {values.shape} and groups {groups.shape}, expected (n,) for both"
        )
    if np.isinf(values).any():
        raise DataError(
            f"{int(np.isinf(values).sum())} of {len(values)} values are infinite, expected"
            " numbers, or nan where a value is not defined"
        )
    defined = ~np.isnan(values)
    names, number = np.unique(groups[defined], return_inverse=True)
    sums = np.bincount(number, weights=values[defined], minlength=len(names))
    return sums.astype(np.float64), np.bincount(number, minlength=len(names)).astype(np.float64)


def _mean(sums: Values, counts: Values, average: Average) -> float:
    if not len(sums):
        return float("nan")
    if Average(average) is Average.MACRO:
        return float((sums / counts).mean())
    return float(sums.sum() / counts.sum())


def _ends(
    sums: Values, counts: Values, average: Average, *, seed: int, draws: int, level: float
) -> tuple[float, float]:
    n = len(sums)
    if n < fewest_groups(level):
        return float("nan"), float("nan")
    chances = np.full(n, 1 / n)
    drawn = np.random.default_rng(seed).multinomial(n, chances, size=draws)  # (draws, n)
    if Average(average) is Average.MACRO:
        means = drawn @ (sums / counts) / n  # (draws,)
    else:
        means = (drawn @ sums) / (drawn @ counts)  # (draws,)
    tail = _tail(n, level)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _tail(n: int, level: float) -> float:
    """Return the share to cut off on each side so that n groups cover as often as they should."""
    reach = sqrt(n / (n - 1)) * stats.t.isf((1 - level) / 2, df=n - 1)
    return float(stats.norm.sf(reach))


def _sign_flip_p(sums: Values, counts: Values, average: Average, *, seed: int, draws: int) -> float:
    n = len(sums)
    if n == 0:
        return float("nan")
    macro = Average(average) is Average.MACRO
    parts = sums / counts / n if macro else sums / counts.sum()  # (n,), add up to the difference
    least = abs(parts.sum()) - _ALIKE * np.abs(parts).sum()
    signs, found = _signs(n, seed=seed, draws=draws)
    as_far = np.abs(signs @ parts) >= least
    return float((found + as_far.sum()) / (found + len(signs)))


def _signs(n: int, *, seed: int, draws: int) -> tuple[NDArray[np.int64], int]:
    """Return ways to flip n signs, (flips, n), and how many to add for the one that was found."""
    if 2**n <= draws:
        return 1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1), 0
    return 1 - 2 * np.random.default_rng(seed).integers(0, 2, size=(draws, n)), 1


def _effect_size(difference: float, sums: Values, counts: Values) -> float:
    """Return nan where the groups do not differ among each other, unless nothing differs at all."""
    if len(sums) < 2:
        return float("nan")
    means = sums / counts
    spread = float(means.std(ddof=1))
    if spread <= _ALIKE * float(np.abs(means).max()):
        return 0.0 if difference == 0 else float("nan")
    return difference / spread


def _require_settings(draws: int, level: float) -> None:
    if draws < 1:
        raise DataError(f"draws is {draws}, expected 1 or more")
    if not 0 < level < 1:
        raise DataError(f"level is {level:g}, expected a share between 0 and 1, such as 0.95")
