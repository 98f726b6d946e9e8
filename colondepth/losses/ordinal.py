"""Depth as ordered labels: the loss over what a network says of each (Fu 2018, DORN)."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from colondepth.backbones.single_view.ordinal_labels import Labels, beyond
from colondepth.errors import ShapeError
from colondepth.losses.known import known_average, known_depths, precise
from colondepth.shapes import require_float, require_shapes


def ordinal_loss(
    label_logits: Tensor,
    target_mm: Tensor,
    valid: Tensor,
    *,
    labels: Labels,
    corners_aligned: bool,
) -> Tensor:
    """Negative log likelihood of all K answers of a pixel (Fu 2018, eq. 2 and 3).

    With l the true label and P_k the probability of "beyond k", a pixel contributes
    -(sum over k < l of log P_k + sum over k >= l of log(1 - P_k)): a sum over k, not a mean. The
    paper's equations have two slips of sign and index; this is what its released network obeys.
    Where the logits are coarser than the truth, each meets the true depth of one pixel, the
    nearest: depth between two surfaces is no depth.
    All logits 0 give K ln 2; an answer that is right and ever surer tends to 0.

    Args:
        label_logits: channels 2k and 2k + 1 for "not beyond" and "beyond", shape (B, 2K, h, w).
        target_mm: true depth, 0 where unknown, shape (B, 1, H, W); nearer than all the labels is
            the first, farther is the last.
        valid: bool, shape (B, 1, H, W); a batch with no known pixel gives exactly 0.
        labels: what the K labels stand for; the network's own.
        corners_aligned: True where the outermost cells of the logits lie on the outermost pixels,
            as a network of odd kernels with stride 2 has it (DORN); False where equal cells tile
            the image.
    """
    size = require_shapes(label_logits=(label_logits, "B C h w"), target_mm=(target_mm, "B 1 H W"))
    require_float(label_logits=label_logits)
    if size["C"] != 2 * labels.count:
        raise ShapeError(
            f"label_logits has {size['C']} channels, expected {2 * labels.count}: two for each of"
            f" {labels.count} labels"
        )
    _, target, known = known_depths(target_mm, target_mm, valid)
    rows, columns = (
        _pixels_under(size[cells], size[pixels], corners_aligned=corners_aligned).to(target.device)
        for cells, pixels in (("h", "H"), ("w", "W"))
    )
    target = target[..., rows[:, None], columns]  # (B, 1, h, w)
    known = known[..., rows[:, None], columns]
    odds = beyond(precise(label_logits))  # (B, K, h, w)
    number = torch.arange(labels.count, device=odds.device)[:, None, None]  # (K, 1, 1)
    # log P = logsigmoid(odds), log(1 - P) = logsigmoid(-odds): neither meets log(0).
    right = logsigmoid(torch.where(number < labels.label(target), odds, -odds))  # (B, K, h, w)
    return known_average(-right.sum(dim=1, keepdim=True), known)


def _pixels_under(cells: int, pixels: int, *, corners_aligned: bool) -> Tensor:
    """Return the pixel nearest to the centre of each cell of a side, (cells,), in whole numbers."""
    index = torch.arange(cells)
    if corners_aligned and cells > 1:
        return (2 * index * (pixels - 1) + cells - 1) // (2 * (cells - 1))
    return (2 * index + 1) * pixels // (2 * cells)
