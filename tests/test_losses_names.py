"""What every loss that a recipe can name owes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from colondepth.errors import DataError, UnknownNameError
from colondepth.losses.names import LOSSES, named_loss
from colondepth.losses.ranking import draw_pairs
from colondepth.views import Prediction

B, H, W = 2, 36, 42  # the five scales of `gradients` need 33
PREDICTED = ("depth_mm", "log_depth_std", "label_logits")
# Perfect depth costs exactly nothing; what the others cost is tested beside their formulas.
ZERO_AT_TRUTH = (
    "l1", "l2", "log_l1", "log_l2", "shape", "silog", "gradients", "edges_and_curvature", "ssim",
)  # fmt: skip


def scene(dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a network says, and a batch whose first image has a hole and few other pixels."""
    dice = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=dice, dtype=torch.float64).to(dtype)

    said = {
        "depth_mm": 5 + 90 * rand(B, 1, H, W),
        "log_depth_std": 0.05 + rand(B, 1, H, W),
        "label_logits": 4 * rand(B, 12, 5, 6) - 2,
    }
    valid = torch.ones(B, 1, H, W, dtype=torch.bool)
    valid[0, :, 20:, :] = False
    valid[0, :, 4:9, 11:17] = False
    depth_mm = torch.where(valid, 5 + 90 * rand(B, 1, H, W), 0)
    batch = {
        "image": rand(B, 3, H, W),
        "depth_mm": depth_mm,
        "valid": valid,
        "pixel_pairs": draw_pairs(depth_mm, valid, pairs=40, generator=dice),
    }
    return said, batch


def cost_and_gradients(name: str, said: dict[str, Tensor], batch: dict[str, Any]) -> list[Tensor]:
    """Return the loss, then its gradient by everything that the network said, 0 if unread."""
    leaves = {part: value.detach().clone().requires_grad_() for part, value in said.items()}
    cost = named_loss(name)(Prediction(**leaves), batch)
    cost.backward()
    return [
        cost.detach(),
        *(
            leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)
            for leaf in leaves.values()
        ),
    ]


def part_of(batch: dict[str, Any], images: slice) -> dict[str, Any]:
    return {name: value[images] for name, value in batch.items()}


@pytest.fixture(params=LOSSES)
def name(request) -> str:
    return request.param


def test_the_loss_is_a_number_above_nothing_that_training_can_follow(name):
    cost, *gradients = cost_and_gradients(name, *scene())
    assert cost.shape == ()
    assert cost > 0
    assert any(gradient.abs().max() > 0 for gradient in gradients)


def test_gradients_are_those_of_finite_differences(name):
    said, batch = scene(torch.float64)
    leaves = [said[part].requires_grad_() for part in PREDICTED]

    def cost(*parts: Tensor) -> Tensor:
        return named_loss(name)(Prediction(**dict(zip(PREDICTED, parts, strict=True))), batch)

    assert torch.autograd.gradcheck(cost, leaves, fast_mode=True)


@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name in LOSSES for how in ("valid", "prediction")]
    + [(name, "truth") for name in LOSSES if name != "smoothness"],  # which reads none
)
def test_a_batch_without_a_known_pixel_costs_exactly_nothing(name, how):
    said, batch = scene()
    extra = {}
    if how == "valid":
        batch["valid"] = torch.zeros_like(batch["valid"])
    elif how == "truth":
        batch["depth_mm"] = torch.zeros_like(batch["depth_mm"])
    else:
        extra["valid"] = torch.zeros_like(batch["valid"])
    leaves = {part: value.requires_grad_() for part, value in said.items()}
    with torch.autograd.set_detect_anomaly(True):  # NaN on the way is an error too
        cost = named_loss(name)(Prediction(**leaves, **extra), batch)
        cost.backward()
    assert cost.item() == 0
    assert all(leaf.grad is None or (leaf.grad == 0).all() for leaf in leaves.values())


def test_the_truth_has_finite_gradients_and_costs_nothing_or_the_stated_constant(name):
    said, batch = scene()
    said["depth_mm"] = torch.where(batch["valid"], batch["depth_mm"], 3.0)
    cost, *gradients = cost_and_gradients(name, said, batch)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert cost.isfinite()
    if name in ZERO_AT_TRUTH:
        assert cost == 0


@pytest.mark.parametrize("rubbish", [torch.nan, torch.inf, 0.0, -4.0, 1e30])
def test_nothing_reads_what_stands_on_unknown_pixels(name, rubbish):
    said, batch = scene()
    expected = cost_and_gradients(name, said, batch)
    unknown = ~batch["valid"]
    for part in ("depth_mm", "log_depth_std"):
        said[part] = torch.where(unknown, rubbish, said[part])
    for part in ("depth_mm", "image"):
        batch[part] = torch.where(unknown, rubbish, batch[part])
    assert_close(cost_and_gradients(name, said, batch), expected, atol=0, rtol=0)


def test_images_weigh_the_same_and_one_without_truth_weighs_nothing(name):
    said, batch = scene()
    both = cost_and_gradients(name, said, batch)[0]
    alone = [
        cost_and_gradients(name, part_of(said, one), part_of(batch, one))[0]
        for one in (slice(0, 1), slice(1, 2))
    ]
    assert alone[0] != pytest.approx(alone[1].item(), rel=1e-6)
    assert_close(both, sum(alone) / 2)
    batch["valid"][1] = False
    assert_close(cost_and_gradients(name, said, batch)[0], alone[0])


def test_half_precision_is_widened_before_anything_is_computed(name):
    said, batch = scene()
    halves = {part: value.bfloat16() for part, value in said.items()}
    widened = {part: value.float() for part, value in halves.items()}
    cost, *gradients = cost_and_gradients(name, halves, batch)
    expected, *_ = cost_and_gradients(name, widened, batch)
    assert cost.dtype == torch.float32
    assert_close(cost, expected, atol=0, rtol=0)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_autocast_changes_nothing(name):
    said, batch = scene()
    expected = cost_and_gradients(name, said, batch)
    with torch.autocast("cpu", torch.bfloat16):
        got = cost_and_gradients(name, said, batch)
    assert_close(got, expected, atol=0, rtol=0)


def test_neither_the_prediction_nor_the_batch_is_changed(name):
    said, batch = scene()
    before = [value.clone() for value in (*said.values(), *batch.values())]
    cost_and_gradients(name, said, batch)
    assert_close([*said.values(), *batch.values()], before, atol=0, rtol=0)


def test_pixels_on_which_the_network_says_0_do_not_count():
    said, batch = scene()
    unseen = torch.zeros_like(batch["valid"])
    unseen[:, :, 2, 5:20] = True
    said["depth_mm"] = torch.where(unseen, 0.0, said["depth_mm"])
    cost = named_loss("log_l1")(Prediction(**said), batch)
    batch["valid"] = batch["valid"] & ~unseen
    assert cost.isfinite()
    assert_close(cost, named_loss("log_l1")(Prediction(**said), batch), atol=0, rtol=0)


@pytest.mark.parametrize("wrong", [torch.nan, -1.0])
def test_depth_that_is_no_depth_is_not_hidden(wrong):
    said, batch = scene()
    said["depth_mm"][1, 0, 7, 7] = wrong
    assert named_loss("log_l1")(Prediction(**said), batch).isnan()


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("silog", {"forgive_scale": 1.0}),
        ("gradients", {"scales": 2}),
        ("gradients", {"distance_px": 1}),
        ("edges_and_curvature", {"edge_weight": 0.0}),
        ("edges_and_curvature", {"curvature_weight": 0.0}),
        ("edges_and_curvature", {"scale": "inverse"}),
        ("smoothness", {"order": 2}),
        ("smoothness", {"edge_sharpness": 0.0}),
        ("ssim", {"window": 3}),
        ("ssim", {"data_range_mm": 20.0}),
        ("ordinal", {"nearest": 10.0}),
        ("ordinal", {"farthest": 90.0}),
        ("ordinal", {"unit_mm": 10.0}),
        ("ordinal", {"corners_aligned": False}),
        ("ranking", {"equal_within": 0.5}),
    ],
)
def test_options_that_a_recipe_gives_arrive(loss, options):
    said, batch = scene()
    plain = named_loss(loss)(Prediction(**said), batch)
    assert named_loss(loss)(Prediction(**said), batch, **options) != plain


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=r"'lapalce'. Did you mean 'laplace'\?"):
        named_loss("lapalce")


@pytest.mark.parametrize(
    ("loss", "field"),
    [("laplace", "log_depth_std"), ("gaussian", "log_depth_std"), ("ordinal", "label_logits")],
)
def test_a_network_that_does_not_predict_what_a_loss_reads_is_named(loss, field):
    said, batch = scene()
    with pytest.raises(DataError, match=f"{loss!r} reads {field}, and this network predicts none"):
        named_loss(loss)(replace(Prediction(**said), **{field: None}), batch)


@pytest.mark.parametrize("key", ["depth_mm", "pixel_pairs"])
def test_a_batch_that_lacks_what_a_loss_reads_is_named(key):
    said, batch = scene()
    del batch[key]
    with pytest.raises(DataError, match=f"'ranking' reads {key}"):
        named_loss("ranking")(Prediction(**said), batch)


def test_a_batch_without_valid_counts_all_pixels_with_truth():
    said, batch = scene()
    expected = named_loss("log_l1")(Prediction(**said), batch)
    del batch["valid"]
    assert_close(named_loss("log_l1")(Prediction(**said), batch), expected)
