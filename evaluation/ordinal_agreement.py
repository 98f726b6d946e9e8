"""Does found depth put pairs of points in the order that people, or the true depth, see?

The weighted human disagreement rate (WHDR) of Bell, Bala and Snavely, "Intrinsic images in the
wild" (2014), used for depth by Zoran et al. (2015) and by Chen et al., "Single-image depth
perception in the wild" (2016): the weight of the pairs whose order is another than the
label's, over the weight of all. Pixels are (u, v) with whole numbers at pixel centres.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.losses.known import require_at_least
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes
from colondepth.warping import Lookup, sample
from evaluation.depth_errors import has_depth
from evaluation.quantities import Quantity

ORDINAL_ERRORS: Mapping[str, Quantity] = {
    "whdr": Quantity("pairs of points in another order than their label", "", True),
    "whdr_unequal": Quantity("the same, of pairs whose label is nearer or farther", "", True),
    "whdr_equal": Quantity("the same, of pairs whose label is equally far", "", True),
    "ordinal_answered": Quantity("labelled pairs that have two depths", "", False),
}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PointPairs:
    """Labelled pairs of points of one image."""

    first_px: Tensor  # (N, 2), (u, v)
    second_px: Tensor  # (N, 2), (u, v)
    order: Tensor  # (N,) int64: 1 if the first is farther, -1 if it is nearer, 0 if equally far
    weight: Tensor  # (N,) positive: how sure the label is

    def __post_init__(self) -> None:
        """Refuse what is no pair."""
        require_shapes(
            first_px=(self.first_px, "N 2"),
            second_px=(self.second_px, "N 2"),
            order=(self.order, "N"),
            weight=(self.weight, "N"),
        )
        require_float(first_px=self.first_px, second_px=self.second_px, weight=self.weight)
        require_finite(first_px=self.first_px, second_px=self.second_px, weight=self.weight)
        if strange := set(self.order.unique().tolist()) - {-1, 0, 1}:
            raise DataError(
                f"order has the values {sorted(strange)}, expected 1 (the first is farther),"
                " -1 (nearer) or 0 (equally far)"
            )
        if bool((self.weight <= 0).any()):
            raise DataError(
                f"weight goes down to {float(self.weight.min()):g}, expected more than 0; leave"
                " out a pair that does not count"
            )

    def __len__(self) -> int:
        return len(self.order)


def draw_pixels(known: Tensor, generator: torch.Generator, *, count: int) -> tuple[Tensor, Tensor]:
    """Draw pairs of known pixels, two (count, 2) tensors of (u, v); none where none is known.

    Args:
        known: bool, shape (1, H, W).
        generator: on the CPU.
        count: how many pairs; each pixel is drawn anew, so a few may meet themselves.
    """
    require_shapes(known=(known, "1 H W"))
    require_bool(known=known)
    places = known[0].cpu().nonzero().flip(1).double()  # (P, 2), (u, v)
    if len(places) == 0:
        return places, places
    chosen = torch.randint(len(places), (2, count), generator=generator)
    first, second = places[chosen]  # (count, 2) each
    return first, second


def pairs_of_depth(
    true_mm: Tensor, first_px: Tensor, second_px: Tensor, *, equal_within: float
) -> PointPairs:
    """Label pairs of points by true depth, each with the weight 1.

    Args:
        true_mm: known at all the points, shape (1, H, W).
        first_px: (u, v), shape (N, 2).
        second_px: (u, v), shape (N, 2).
        equal_within: two depths whose ratio is at most 1 + this are equally far.
    """
    first_mm, second_mm = (_depth_at(true_mm, pixels) for pixels in (first_px, second_px))
    unknown = ~(has_depth(first_mm) & has_depth(second_mm))
    if bool(unknown.any()):
        raise DataError(
            f"{int(unknown.sum())} of {len(unknown)} pairs have no true depth; draw_pixels draws"
            " from the known ones"
        )
    order = _order(first_mm, second_mm, equal_within=equal_within)
    return PointPairs(
        first_px=first_px,
        second_px=second_px,
        order=order,
        weight=torch.ones(len(order), dtype=torch.float64, device=order.device),
    )


def ordinal_errors(found_mm: Tensor, pairs: PointPairs, *, equal_within: float) -> dict[str, float]:
    """Return the disagreement on one frame, named as in `ORDINAL_ERRORS`.

    A pair is judged by the ratio of the two depths, so no scale matters; a shift does. A point
    whose found depth is no positive number is no answer: the pair is left out and lowers
    `ordinal_answered`. No pair, or none of a kind, gives nan.

    Args:
        found_mm: shape (1, H, W).
        pairs: all on the image.
        equal_within: two depths whose ratio is at most 1 + this are equally far. 0 forces a
            choice, right for labels without ties such as those of Depth in the Wild.
    """
    first_mm, second_mm = (_depth_at(found_mm, each) for each in (pairs.first_px, pairs.second_px))
    answered = has_depth(first_mm) & has_depth(second_mm)
    wrong = _order(
        torch.where(answered, first_mm, 1.0),
        torch.where(answered, second_mm, 1.0),
        equal_within=equal_within,
    ) != pairs.order.to(found_mm.device)
    weight = pairs.weight.to(found_mm.device, torch.float64)
    equal = pairs.order.to(found_mm.device) == 0
    return {
        "whdr": _share(wrong, weight, answered),
        "whdr_unequal": _share(wrong, weight, answered & ~equal),
        "whdr_equal": _share(wrong, weight, answered & equal),
        "ordinal_answered": _share(answered, weight, torch.ones_like(answered)),
    }


def _depth_at(depth_mm: Tensor, pixels: Tensor) -> Tensor:
    """Return the depth of the pixel under each point, (1, H, W) and (N, 2) -> (N,) float64."""
    require_shapes(depth_mm=(depth_mm, "1 H W"), pixels=(pixels, "N 2"))
    require_float(depth_mm=depth_mm, pixels=pixels)
    found, inside = sample(
        depth_mm, pixels.to(depth_mm.device, torch.float64)[None], lookup=Lookup.NEAREST
    )
    if not bool(inside.all()):
        height, width = depth_mm.shape[-2:]
        beyond = pixels[~inside.flatten().to(pixels.device)][0].tolist()
        raise DataError(
            f"a point (u, v) = {tuple(beyond)} is not on the image of {width} x {height} pixels"
        )
    return found.flatten().double()


def _order(first_mm: Tensor, second_mm: Tensor, *, equal_within: float) -> Tensor:
    require_at_least(0, equal_within=equal_within)
    farther = first_mm > second_mm * (1 + equal_within)
    nearer = second_mm > first_mm * (1 + equal_within)
    return farther.long() - nearer.long()


def _share(wrong: Tensor, weight: Tensor, among: Tensor) -> float:
    total = float(weight[among].sum())
    return float(weight[wrong & among].sum()) / total if total > 0 else nan
