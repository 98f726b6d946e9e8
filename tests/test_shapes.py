"""The checks at the door."""

import pytest
import torch

from colondepth.errors import ColonDepthError, DataError, ShapeError
from colondepth.shapes import (
    require_bool,
    require_broadcast,
    require_finite,
    require_float,
    require_shapes,
)


def test_letters_mean_one_size_in_a_call_and_come_back():
    depth, image = torch.zeros(2, 1, 5, 7), torch.zeros(3, 5, 7)
    sizes = require_shapes(depth=(depth, "*B 1 H W"), image=(image, "3 H W"))
    assert (sizes["H"], sizes["W"]) == (5, 7)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"k": (torch.zeros(4, 4), "*B 3 3")}, r"k has shape \(4, 4\), expected \(\*B 3 3\)"),
        ({"a": (torch.zeros(2, 5), "H W"), "b": (torch.zeros(2, 6), "H W")}, "with H=2, W=5"),
        ({"a": (torch.zeros(2, 3, 4), "H W")}, r"expected \(H W\)"),
        ({"a": (torch.zeros(2), "*B H W")}, "a has shape"),
        ({"a": ([1, 2], "H")}, "a is a list"),
        (
            {"a": (torch.zeros(2, 4), "*B N"), "b": (torch.zeros(3, 4), "*B N")},
            r"do not broadcast: a \(2,\), b \(3,\)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_says_what_was_found_and_expected(tensors, message):
    with pytest.raises(ShapeError, match=message):
        require_shapes(**tensors)


def test_batches_broadcast_from_the_right():
    assert require_broadcast(a=(4, 1), b=(3,)) == (4, 3)


def test_kinds_of_numbers_are_told_apart():
    with pytest.raises(DataError, match="image holds uint8"):
        require_float(image=torch.zeros(2, dtype=torch.uint8))
    with pytest.raises(DataError, match="mask > 127"):
        require_bool(valid=torch.zeros(2, dtype=torch.uint8))
    with pytest.raises(DataError, match="1 of 3 values"):
        require_finite(depth=torch.tensor([1, torch.inf, 2]))


def test_every_error_is_ours_and_also_the_built_in_that_fits():
    assert issubclass(ShapeError, ColonDepthError)
    assert issubclass(ShapeError, ValueError)
    assert issubclass(DataError, ValueError)
