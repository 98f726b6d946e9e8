"""Which of two pixels is farther: the loss of relative depth (Chen 2016).

The pairs are drawn by one function and used by another, so that a draw can be kept and replayed.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from colondepth.errors import DataError
from colondepth.losses.known import known_average, known_depths, require_at_least
from colondepth.shapes import require_bool, require_shapes


def draw_pairs(
    target_mm: Tensor, valid: Tensor, *, pairs: int, generator: torch.Generator
) -> Tensor:
    """Draw pairs of pixels, each pixel evenly from the known ones of its image.

    Args:
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W).
        pairs: how many an image; one pixel may come more than once, also within a pair.
        generator: gives the numbers, on its own device: one on the CPU draws the same pairs for
            every device.

    Returns:
        Positions v * W + u, int64, shape (B, pairs, 2); pixel 0 throughout for an image without
        truth, which `ranking_loss` leaves out.
    """
    require_shapes(target_mm=(target_mm, "B 1 H W"), valid=(valid, "B 1 H W"))
    require_bool(valid=valid)
    require_at_least(1, pairs=pairs)
    known = (valid & (target_mm > 0)).flatten(start_dim=1)  # (B, H*W)
    if known.shape[1] == 0:
        raise DataError("there is no pixel to draw from; expected maps with pixels in them")
    rank_of = known.cumsum(dim=1)  # (B, H*W), the n-th known pixel is the first with n here
    count = rank_of[:, -1:]  # (B, 1)
    share = torch.rand(len(known), 2 * pairs, generator=generator, device=generator.device)
    rank = (share.to(count.device) * count).long() + 1  # (B, 2 * pairs), 1 to count
    rank = torch.minimum(rank, count)  # a share next to 1 may be rounded up to all of it
    return torch.searchsorted(rank_of, rank).view(len(known), pairs, 2)


def ranking_loss(
    pred_mm: Tensor,
    target_mm: Tensor,
    valid: Tensor,
    *,
    pairs: Tensor,
    equal_within: float,
) -> Tensor:
    """Ask each pair for the true order in log depth (Chen 2016, eq. 1 and 2).

    With e = log pred of the first pixel - log pred of the second, a pair contributes
    log(1 + exp(-e)) if the first is truly farther, log(1 + exp(e)) if it is nearer and e^2 if they
    are equal. Multiplying the prediction by any number changes nothing. A pair of unequal truth
    that is predicted equal costs ln 2; the perfect answer is not 0: with q > 1 the quotient of the
    true depths it costs log(1 + 1 / q).

    Args:
        pred_mm: predicted depth, positive, shape (B, 1, H, W).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W).
        valid: bool, shape (B, 1, H, W); a batch with no pair of known pixels gives exactly 0.
        pairs: positions v * W + u, int64, shape (B, N, 2), as `draw_pairs` gives them.
        equal_within: two depths are equal if neither is more than this share above the other.
    """
    require_at_least(0, equal_within=equal_within)
    require_shapes(pred_mm=(pred_mm, "B 1 H W"), pairs=(pairs, "B N 2"))
    pred, target, known = known_depths(pred_mm, target_mm, valid)
    step = _between(pred.log(), pairs)  # (B, N), e
    true_step = _between(target.log(), pairs)
    both = _ends(known, pairs).all(dim=-1)
    equal = true_step.abs() <= math.log1p(equal_within)
    cost = torch.where(equal, step.square(), softplus(-true_step.sign() * step))
    return known_average(cost, both)


def _ends(values: Tensor, pairs: Tensor) -> Tensor:
    """Look up the two pixels of each pair, (B, 1, H, W) -> (B, N, 2)."""
    flat = values.flatten(start_dim=1)  # (B, H*W)
    return flat.gather(1, pairs.flatten(start_dim=1)).view(pairs.shape)


def _between(values: Tensor, pairs: Tensor) -> Tensor:
    """Return first - second of each pair, (B, 1, H, W) -> (B, N)."""
    first, second = _ends(values, pairs).unbind(dim=-1)
    return first - second
