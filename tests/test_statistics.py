"""Intervals and paired tests over groups."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from colondepth.errors import DataError
from evaluation.statistics import Average, bootstrap_mean, family_p, fewest_groups, paired

RNG = np.random.default_rng


def clips(sizes):
    return np.repeat([f"clip {number:02d}" for number in range(len(sizes))], sizes)


def frames(rng, sizes, *, between=1.0, within=0.3):
    """Draw values that are alike within a clip."""
    levels = rng.normal(5, between, size=len(sizes))
    return np.repeat(levels, sizes) + rng.normal(0, within, size=sum(sizes))


def test_macro_counts_every_clip_and_micro_every_frame_the_same():
    values, groups = np.array([1.0, 1, 1, 5]), np.array(["a", "a", "a", "b"])
    assert bootstrap_mean(values, groups, average=Average.MACRO).mean == 3
    assert bootstrap_mean(values, groups, average=Average.MICRO).mean == 2


@pytest.mark.parametrize("average", Average)
def test_the_interval_is_scipys_at_the_widened_level(average):
    sizes = [3, 9, 1, 4, 12, 7, 5, 2]
    values, groups = frames(RNG(4), sizes), clips(sizes)
    ours = bootstrap_mean(values, groups, average=average, draws=40_000)
    parts = [values[groups == name] for name in np.unique(groups)]
    sums, counts = np.array([(part.sum(), len(part)) for part in parts]).T

    def mean(sums, counts, axis):
        if average is Average.MACRO:
            return (sums / counts).mean(axis=axis)
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    n = len(sizes)
    reach = np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)
    theirs = stats.bootstrap(
        (sums, counts),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=40_000,
        confidence_level=2 * stats.norm.cdf(reach) - 1,
        method="percentile",
        rng=RNG(1),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)
    assert (ours.groups, ours.values) == (8, 43)


def test_many_clips_give_the_closed_form():
    # With many groups the interval is mean +- 1.96 standard errors of the groups' means.
    values = RNG(0).normal(2, 0.5, size=200)
    found = bootstrap_mean(values, clips([1] * 200), average=Average.MACRO, draws=10_000)
    error = values.std() / np.sqrt(200)
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


@pytest.mark.parametrize("average", Average)
def test_neighbours_in_one_clip_do_not_narrow_the_interval(average):
    sizes = [2, 3, 4, 2, 3, 4, 2]
    values, groups = frames(RNG(1), sizes), clips(sizes)
    once = bootstrap_mean(values, groups, average=average)
    often = bootstrap_mean(values.repeat(50), groups.repeat(50), average=average)
    assert (often.low, often.high) == pytest.approx((once.low, once.high), rel=1e-12)
    assert often.values == 50 * once.values


@pytest.mark.parametrize(("count", "average"), [(6, "macro"), (8, "micro"), (16, "macro")])
def test_the_interval_holds_the_truth_as_often_as_it_says(count, average):
    rng, held, trials = RNG(7), 0, 500
    for trial in range(trials):
        sizes = rng.integers(2, 9, size=count).tolist()
        found = bootstrap_mean(
            frames(rng, sizes), clips(sizes), average=Average(average), seed=trial, draws=400
        )
        held += found.low <= 5 <= found.high
    # A plain percentile interval holds it 86 % of the time with 6 clips, and 89 % with 8.
    assert 0.91 <= held / trials <= 0.98


def test_too_few_clips_give_a_mean_and_no_interval():
    assert fewest_groups(0.95) == 6
    assert fewest_groups(0.5) == 2
    values = np.arange(10.0)
    five = bootstrap_mean(values, clips([2] * 5), average=Average.MICRO)
    assert five.mean == 4.5
    assert np.isnan([five.low, five.high]).all()
    six = bootstrap_mean(np.arange(12.0), clips([2] * 6), average=Average.MICRO)
    assert six.low < 5.5 < six.high


def test_the_order_of_frames_does_not_matter_and_the_seed_does():
    sizes = [2, 3, 4, 2, 3, 4, 2]
    values, groups = frames(RNG(2), sizes), clips(sizes)
    shuffled = RNG(0).permutation(len(values))
    first = bootstrap_mean(values, groups, average=Average.MACRO)
    again = bootstrap_mean(values[shuffled], groups[shuffled], average=Average.MACRO)
    assert (again.low, again.high) == pytest.approx((first.low, first.high), rel=1e-12)
    assert bootstrap_mean(values, groups, average=Average.MACRO, seed=1).low != first.low


def test_what_is_not_defined_is_left_out_and_counted():
    values = np.array([1.0, np.nan, 3, np.nan])
    found = bootstrap_mean(values, np.array(["a", "a", "b", "c"]), average=Average.MACRO)
    assert (found.mean, found.groups, found.values) == (2, 2, 2)
    none = bootstrap_mean(np.full(2, np.nan), np.array(["a", "b"]), average=Average.MICRO)
    assert np.isnan(none.mean)
    assert (none.groups, none.values) == (0, 0)


@pytest.mark.parametrize("average", Average)
def test_p_counts_every_way_to_swap_a_and_b_in_whole_clips(average):
    sizes = [1, 4, 2, 3, 1, 2]
    rng, groups = RNG(5), clips(sizes)
    a = frames(rng, sizes)
    b = a - 0.4 + rng.normal(0, 0.5, size=len(a))
    found = paired(a, b, groups, average=average)

    def difference(swapped):
        sign = np.array([-1.0 if swap else 1.0 for swap in swapped]).repeat(sizes)
        d = sign * (a - b)
        names = np.unique(groups)
        return np.mean([d[groups == n].mean() for n in names]) if average == "macro" else d.mean()

    ways = np.abs([difference(swapped) for swapped in product([False, True], repeat=6)])
    assert found.difference == pytest.approx(ways[0] * np.sign(found.difference))
    assert found.p_value == pytest.approx(np.mean(ways >= ways[0] - 1e-12))
    assert 0 < found.p_value < 1


def test_many_clips_give_the_p_of_the_t_test():
    rng, sizes = RNG(3), [2] * 60
    a = frames(rng, sizes)
    shift = np.repeat(rng.normal(0.12, 0.5, size=60), 2)
    found = paired(a + shift, a, clips(sizes), average=Average.MACRO, draws=20_000)
    theirs = stats.ttest_1samp(shift[::2], 0)
    assert found.p_value == pytest.approx(theirs.pvalue, rel=0.1)
    assert found.effect_size == pytest.approx(theirs.statistic / np.sqrt(60))
    assert found.low < found.difference < found.high


@pytest.mark.parametrize("count", [8, 14])
def test_p_is_uniform_when_nothing_differs(count):
    rng, p = RNG(11), []
    for trial in range(400):
        sizes = rng.integers(1, 6, size=count).tolist()
        a, b = frames(rng, sizes), frames(rng, sizes)
        p.append(paired(a, b, clips(sizes), average=Average.MACRO, seed=trial, draws=300).p_value)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 0.03 < np.mean(np.array(p) <= 0.05) < 0.08


def test_the_frames_of_a_clip_do_not_make_chance_significant():
    # Two clips, a thousand frames: p cannot fall below 1/2, however clear it looks by frames.
    a, b = np.full(1000, 2.0), np.full(1000, 1.0)
    found = paired(a, b, clips([500, 500]), average=Average.MICRO)
    assert found.p_value == 0.5
    assert np.isnan(found.low)


def test_a_model_compared_with_itself_does_not_differ():
    values = frames(RNG(0), [3] * 7)
    found = paired(values, values, clips([3] * 7), average=Average.MACRO)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert (found.p_value, found.effect_size) == (1, 0)


def test_a_constant_difference_has_no_effect_size():
    values = frames(RNG(0), [3] * 7)
    found = paired(values + 0.1, values, clips([3] * 7), average=Average.MACRO)
    assert np.isnan(found.effect_size)
    assert found.p_value == 2 / 2**7


def test_only_frames_with_both_values_are_compared():
    a, b = np.array([1.0, 2, np.nan]), np.array([0.0, np.nan, 5])
    found = paired(a, b, np.array(["a", "b", "c"]), average=Average.MICRO)
    assert (found.difference, found.groups, found.values) == (1, 1, 1)


@pytest.mark.parametrize("average", Average)
def test_a_family_of_one_has_the_p_of_the_paired_test(average):
    sizes = [1, 4, 2, 3, 1, 2, 2]
    rng, groups = RNG(5), clips(sizes)
    a = frames(rng, sizes)
    b = a - 0.1 + rng.normal(0, 0.5, size=len(a))
    alone = paired(a, b, groups, average=average).p_value
    assert family_p((a - b)[None], groups, average=average) == pytest.approx((alone,))
    twice = np.stack([a - b, 7 * (b - a)])  # the same quantity in another unit, counted down
    assert family_p(twice, groups, average=average) == pytest.approx((alone, alone))


def test_in_a_family_of_unrelated_quantities_one_in_twenty_is_found_by_chance():
    rng, groups, found = RNG(2), clips([1] * 9), []
    for _ in range(400):
        found.append(min(family_p(rng.normal(size=(6, 9)), groups, average=Average.MACRO)))
    # Without allowing for six of them it would be one in four.
    assert 0.02 < np.mean(np.array(found) <= 0.05) < 0.08


def test_a_family_of_unrelated_quantities_is_nearly_bonferronis():
    rng, groups = RNG(4), clips([1] * 12)
    differences = rng.normal(size=(5, 12))
    differences[2] += 1.3
    differences[4] = np.nan
    zeros = np.zeros(12)
    p = family_p(differences, groups, average=Average.MACRO, draws=4096)
    alone = paired(differences[2], zeros, groups, average=Average.MACRO, draws=4096).p_value
    assert alone < p[2] <= 4.2 * alone
    assert p[2] < min(p[0], p[1], p[3])
    assert np.isnan(p[4])


def test_bad_input_is_refused_in_words():
    names = np.array(["a", "b"])
    with pytest.raises(DataError, match="1 of 2 values are infinite"):
        bootstrap_mean(np.array([1, np.inf]), names, average=Average.MACRO)
    with pytest.raises(DataError, match=r"shape \(3,\) and groups \(2,\)"):
        bootstrap_mean(np.zeros(3), names, average=Average.MACRO)
    with pytest.raises(DataError, match="the same frames in both"):
        paired(np.zeros(3), np.zeros(2), names, average=Average.MACRO)
    with pytest.raises(DataError, match="level is 95"):
        bootstrap_mean(np.zeros(2), names, average=Average.MACRO, level=95)
    with pytest.raises(DataError, match="draws is 0"):
        bootstrap_mean(np.zeros(2), names, average=Average.MACRO, draws=0)
