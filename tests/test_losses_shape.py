"""Losses of what a depth map looks like: gradients, edges, curvatures, smoothness."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.losses.edges_and_curvature import DepthScale, edges_and_curvature_loss
from colondepth.losses.gradients import gradient_loss
from colondepth.losses.smoothness import smoothness_loss

B, H, W = 2, 20, 26


def grid() -> tuple[Tensor, Tensor]:
    v, u = torch.meshgrid(
        torch.arange(H, dtype=torch.float64), torch.arange(W, dtype=torch.float64), indexing="ij"
    )
    return u, v


def truth(seed: int = 0) -> tuple[Tensor, Tensor]:
    """True depth, and valid with a hole in the second image."""
    dice = torch.Generator().manual_seed(seed)
    target = 10 + 60 * torch.rand(B, 1, H, W, generator=dice, dtype=torch.float64)
    valid = torch.ones(B, 1, H, W, dtype=torch.bool)
    valid[1, :, 3:9, 4:11] = False
    return target, valid


def planes(*slopes: tuple[float, float]) -> Tensor:
    """Depth of planes seen by a pinhole camera: 1 / depth is straight in pixels."""
    u, v = grid()
    return torch.stack([1 / (0.02 + a * u + b * v) for a, b in slopes])[:, None]


@pytest.mark.parametrize(("scales", "distance"), [(1, 1), (3, 1), (3, 2), (2, 5)])
def test_a_ramp_in_log_depth_costs_its_slope_times_the_mean_reach_of_the_scales(scales, distance):
    target, valid = truth()
    u, v = grid()
    for ramp in (0.03 * u, -0.03 * v):
        got = gradient_loss(target * ramp.exp(), target, valid, scales=scales, distance_px=distance)
        reach = sum(distance * 2**scale for scale in range(scales)) / scales
        assert_close(got.item(), 0.03 * reach)


def test_gradients_of_log_depth_know_no_scale():
    target, valid = truth()
    pred = truth(seed=1)[0]
    options = {"scales": 3, "distance_px": 2}
    once = gradient_loss(pred, target, valid, **options)
    assert once > 0.1
    assert_close(gradient_loss(7 * pred, target, valid, **options), once)
    assert gradient_loss(7 * target, target, valid, **options).item() < 1e-14


def test_an_unknown_pixel_in_between_does_not_break_a_pair_that_spans_it():
    target, valid = truth()
    valid[:] = False
    valid[..., 0, 0] = valid[..., 0, 2] = True
    pred = target.clone()
    pred[..., 0, 2] *= math.exp(0.5)
    assert_close(gradient_loss(pred, target, valid, scales=1, distance_px=2).item(), 0.5)
    assert gradient_loss(pred, target, valid, scales=1, distance_px=1).item() == 0


def test_maps_too_small_for_the_scales_are_refused_with_the_number_that_fits():
    target, valid = truth()
    with pytest.raises(ShapeError, match="at most 4 scales"):
        gradient_loss(target, target, valid, scales=5, distance_px=2)
    assert gradient_loss(target, target, valid, scales=4, distance_px=2) == 0
    with pytest.raises(ShapeError, match="a smaller distance_px"):
        gradient_loss(target, target, valid, scales=1, distance_px=H)


@pytest.mark.parametrize("options", [(0, 1), (1, 0)])
def test_gradients_need_a_scale_and_a_distance(options):
    with pytest.raises(DataError, match=r"expected 1 or more"):
        gradient_loss(*[truth()[0]] * 2, truth()[1], scales=options[0], distance_px=options[1])


def test_a_quadratic_error_of_log_depth_costs_its_second_derivatives():
    target, valid = truth()
    u, v = grid()
    r = 0.01 * u**2 / 2 - 0.003 * u * v + 0.002 * v**2 / 2
    got = edges_and_curvature_loss(
        target * r.exp(), target, valid, edge_weight=0, curvature_weight=10, scale=DepthScale.LOG
    )
    assert_close(got.item(), 10 * (0.01 + 2 * 0.003 + 0.002))


def test_a_straight_error_of_log_depth_costs_its_slopes_and_no_curvature():
    target, valid = truth()
    u, v = grid()
    pred = 3 * target * (0.02 * u - 0.05 * v).exp()
    cost = [
        edges_and_curvature_loss(
            pred, target, valid, edge_weight=edge, curvature_weight=1 - edge, scale=DepthScale.LOG
        ).item()
        for edge in (1, 0)
    ]
    assert_close(cost[0], 0.07)
    assert cost[1] < 1e-13


def test_planes_have_no_curvature_in_inverse_depth_and_some_in_log_depth():
    pred, target = planes((1e-3, 2e-3), (0, 1e-3)), planes((3e-3, 0), (2e-3, 5e-4))
    valid = truth()[1]
    options = {"edge_weight": 0, "curvature_weight": 1}
    inverse, log = (
        edges_and_curvature_loss(pred, target, valid, scale=scale, **options).item()
        for scale in (DepthScale.INVERSE, DepthScale.LOG)
    )
    assert inverse < 1e-12
    assert log > 1e-4


def test_edges_in_inverse_depth_are_slopes_over_the_mean():
    target = planes((0, 0), (0, 0))
    pred = planes((1e-3, -5e-4), (1e-3, -5e-4))
    got = edges_and_curvature_loss(
        pred, target, truth()[1], edge_weight=2, curvature_weight=0, scale=DepthScale.INVERSE
    )
    assert_close(got.item(), 2 * (1e-3 + 5e-4) / 0.02)


@pytest.mark.parametrize("scale", DepthScale)
def test_edges_and_curvature_do_not_depend_on_the_unit(scale):
    target, valid = truth()
    pred = truth(seed=1)[0]
    options = {"edge_weight": 1, "curvature_weight": 0.5, "scale": scale}
    in_mm = edges_and_curvature_loss(pred, target, valid, **options)
    in_cm = edges_and_curvature_loss(pred / 10, target / 10, valid, **options)
    assert_close(in_cm, in_mm)


@pytest.mark.parametrize("scale", DepthScale)
def test_edges_of_nothing_known_cost_nothing_and_divide_by_nothing(scale):
    target, valid = truth()
    pred = truth(seed=1)[0].requires_grad_()
    with torch.autograd.set_detect_anomaly(True):
        cost = edges_and_curvature_loss(
            pred, target, valid & False, edge_weight=1, curvature_weight=1, scale=scale
        )
        cost.backward()
    assert cost.item() == 0
    assert (pred.grad == 0).all()


def test_weights_are_asked_for_and_are_not_negative():
    target, valid = truth()
    with pytest.raises(TypeError, match="curvature_weight"):
        edges_and_curvature_loss(target, target, valid, edge_weight=1, scale=DepthScale.LOG)
    for weights in ((-1, 1), (1, -1)):
        with pytest.raises(DataError, match="expected 0 or more"):
            edges_and_curvature_loss(
                target,
                target,
                valid,
                edge_weight=weights[0],
                curvature_weight=weights[1],
                scale=DepthScale.LOG,
            )
    with pytest.raises(DataError, match="'lag', expected one of log, inverse"):
        edges_and_curvature_loss(
            target, target, valid, edge_weight=1, curvature_weight=1, scale="lag"
        )


@pytest.mark.parametrize("order", [1, 2])
def test_a_wall_that_faces_the_camera_is_smooth_and_no_scale_changes_the_rest(order):
    target, valid = truth()
    image = torch.rand(B, 3, H, W, generator=torch.Generator().manual_seed(3))
    options = {"order": order, "edge_sharpness": 1.0}
    assert smoothness_loss(torch.full_like(target, 40), image, valid, **options).item() < 1e-14
    once = smoothness_loss(target, image, valid, **options)
    assert once > 0.1
    assert_close(smoothness_loss(5 * target, image, valid, **options), once)


def test_slanted_planes_are_smooth_in_the_second_order_only():
    pred, (_, valid) = planes((1e-3, 2e-3), (3e-4, 0)), truth()
    image = torch.zeros(B, 3, H, W)
    first, second = (
        smoothness_loss(pred, image, valid, order=order, edge_sharpness=1).item()
        for order in (1, 2)
    )
    assert first > 1e-3
    assert second < 1e-12


def test_slopes_cost_less_where_the_image_has_edges_by_the_exponential():
    u, _ = grid()
    valid = torch.ones(B, 1, H, W, dtype=torch.bool)
    pred = planes((1e-3, 0), (1e-3, 0))
    image = torch.stack([0.02 * u, 0.03 * u, 0.01 * u]).expand(B, 3, H, W)  # 0.02 in the mean
    got = smoothness_loss(pred, image, valid, order=1, edge_sharpness=10)
    mean = 0.02 + 1e-3 * (W - 1) / 2
    assert_close(got.item(), 1e-3 / mean * math.exp(-10 * 0.02), rtol=1e-6, atol=0)


def test_a_fold_is_free_where_the_image_has_an_edge_on_either_side_of_it():
    u, _ = grid()
    fold = 10
    pred = (1 / (0.02 + 1e-3 * (u - fold).clamp(min=0))).expand(B, 1, H, W)  # bends at `fold`
    valid = torch.ones(B, 1, H, W, dtype=torch.bool)
    cost = {}
    for start in (fold - 4, fold, fold + 1, fold + 4):  # where the image turns white
        image = (u >= start).double().expand(B, 3, H, W)
        cost[start - fold] = smoothness_loss(pred, image, valid, order=2, edge_sharpness=20).item()
    assert cost[-4] == pytest.approx(cost[4])
    assert cost[0] == pytest.approx(cost[1])
    assert 0 < cost[0] < 1e-6 * cost[4]


def test_smoothness_has_two_orders():
    target, valid = truth()
    with pytest.raises(DataError, match="order is 3"):
        smoothness_loss(target, target, valid, order=3, edge_sharpness=1)
