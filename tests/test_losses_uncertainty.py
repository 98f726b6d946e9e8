"""Depth with a standard deviation: likelihoods, and shares of errors inside it."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.losses.uncertainty import (
    gaussian_loss,
    laplace_loss,
    one_temperature,
    shares_within,
)

B, H, W = 2, 5, 6


def scene(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Prediction, truth, valid and std."""
    dice = torch.Generator().manual_seed(seed)
    pred, target = 5 + 90 * torch.rand(2, B, 1, H, W, generator=dice, dtype=torch.float64)
    valid = torch.rand(B, 1, H, W, generator=dice) < 0.6
    std = 0.02 + torch.rand(B, 1, H, W, generator=dice, dtype=torch.float64)
    return pred, target, valid, std


@pytest.mark.parametrize(
    ("loss", "density"),
    [
        (laplace_loss, lambda d, std: stats.laplace.logpdf(d, scale=std / math.sqrt(2))),
        (gaussian_loss, lambda d, std: stats.norm.logpdf(d, scale=std)),
    ],
)
def test_the_loss_is_minus_the_logarithm_of_scipys_density(loss, density):
    pred, target, valid, std = scene()
    images = []
    for image in range(B):
        k = valid[image].numpy()
        d = np.log(target[image].numpy()[k]) - np.log(pred[image].numpy()[k])
        images.append(-density(d, std[image].numpy()[k]).mean())
    got = loss(pred, target, valid, log_depth_std=std).item()
    assert_close(got, float(np.mean(images)))


@pytest.mark.parametrize(
    ("loss", "constant"), [(laplace_loss, math.sqrt(2)), (gaussian_loss, math.sqrt(2 * math.pi))]
)
def test_perfect_depth_leaves_the_stated_constant(loss, constant):
    _, target, valid, _ = scene()
    got = loss(target, target, valid, log_depth_std=torch.full_like(target, 0.1))
    assert_close(got.item(), math.log(0.1 * constant))


@pytest.mark.parametrize(("loss", "factor"), [(laplace_loss, math.sqrt(2)), (gaussian_loss, 1.0)])
def test_the_best_std_is_the_stated_multiple_of_the_error(loss, factor):
    pred, target, valid, _ = scene()
    best = (factor * (pred / target).log().abs()).requires_grad_()
    loss(pred, target, valid, log_depth_std=best).backward()
    assert best.grad.abs().max() < 1e-12
    cost = [
        loss(pred, target, valid, log_depth_std=best.detach() * other).item()
        for other in (0.9, 1.0, 1.1)
    ]
    assert cost[1] < min(cost[0], cost[2])


def errors(kind, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Errors of exactly the std that they come with, which differs from pixel to pixel."""
    rng = np.random.default_rng(seed)
    std = rng.uniform(0.02, 0.3, (B, 1, n))
    parts = (kind(rng, std), std, np.ones((B, 1, n), dtype=bool))
    return tuple(torch.from_numpy(part) for part in parts)


def normal(rng, std):
    return rng.normal(scale=std)


def laplace(rng, std):
    return rng.laplace(scale=std / math.sqrt(2))


def test_shares_of_normal_and_laplace_errors_are_the_textbooks():
    n = 40_000
    assert_close(shares_within(*errors(normal, n, 0)), (0.6827, 0.9545), atol=0.006, rtol=0)
    root = math.sqrt(2)
    expected = (1 - math.exp(-root), 1 - math.exp(-2 * root))
    assert_close(shares_within(*errors(laplace, n, 1)), expected, atol=0.006, rtol=0)


def test_shares_average_over_images_and_take_the_edge_inside():
    error = torch.tensor([[1.0, -2.0, 3.0, 9.0], [0.5, 9.0, 9.0, 9.0]])
    valid = torch.tensor([[True] * 4, [True, False, False, False]])
    shares = shares_within(error, torch.ones(2, 4), valid)
    assert shares == ((0.25 + 1) / 2, (0.5 + 1) / 2)
    assert shares_within(error, torch.ones(2, 4), valid, temperature=1.5).two == (0.75 + 1) / 2


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.7])
def test_the_temperature_of_normal_errors_is_by_how_much_they_were_understated(factor):
    error, std, valid = errors(normal, 40_000, 2)
    temperature = one_temperature(error, std / factor, valid)
    assert temperature == pytest.approx(factor, rel=0.01)
    assert_close(
        shares_within(error, std / factor, valid, temperature=temperature),
        (0.6827, 0.9545),
        atol=0.006,
        rtol=0,
    )


def test_the_temperature_of_laplace_errors_is_the_stated_one():
    def miss(t: float) -> float:
        root = math.sqrt(2)
        shares = 1 - np.exp(-root * t * np.array([1, 2]))
        return float(((shares - np.array([0.682689, 0.9545])) ** 2).sum())

    best = optimize.minimize_scalar(miss, bounds=(0.3, 2), method="bounded").x
    assert best == pytest.approx(0.87, abs=0.005)
    assert one_temperature(*errors(laplace, 40_000, 3)) == pytest.approx(best, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_factor_makes_the_shares_more_normal(seed):
    rng = np.random.default_rng(seed)
    error = torch.from_numpy(rng.standard_t(2, (3, 1, 2, 5)))
    std = torch.from_numpy(rng.uniform(0.3, 2, (3, 1, 2, 5)))
    valid = torch.from_numpy(rng.random((3, 1, 2, 5)) < 0.5)
    valid[1] = False
    valid[1, 0, 0, :2] = True  # an image that knows little weighs as much

    def miss(factor: float) -> float:
        one, two = shares_within(error, std, valid, temperature=factor)
        return (one - 0.682689) ** 2 + (two - 0.9545) ** 2

    best = one_temperature(error, std, valid)
    assert miss(best) <= min(miss(factor) for factor in np.geomspace(0.05, 20, 500)) + 1e-12
    assert miss(best * 0.999) > miss(best)  # the smallest of equally good ones


def test_errors_and_std_that_cannot_be_compared_are_refused():
    error, std, valid = errors(normal, 10, 5)
    with pytest.raises(DataError, match="no pixel is valid"):
        shares_within(error, std, ~valid)
    with pytest.raises(DataError, match="std is 0"):
        one_temperature(error, std * 0, valid)
    with pytest.raises(DataError, match="every error is exactly 0"):
        one_temperature(error * 0, std, valid)
    with pytest.raises(ShapeError, match="differ in shape"):
        one_temperature(error, std[:, :, 1:], valid)
    with pytest.raises(DataError, match="temperature is 0"):
        shares_within(error, std, valid, temperature=0)
