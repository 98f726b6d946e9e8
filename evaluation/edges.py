"""Does found depth jump where true depth jumps?

Edges are pixels that stand in front of a neighbour, found by the ratio of the two depths, so that
no scale matters (Bochkovskii et al., "Depth Pro", 2024). They are compared by their
distances in the image: precision, recall and F within a tolerance, and the depth boundary errors
of iBims-1 (Koch et al., "Evaluation of CNN-based single-image depth estimation methods", 2018),
whose edges are given from outside: any two maps of edges can be compared.
"""

from collections.abc import Mapping
from math import inf, log, nan

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from colondepth.errors import DataError
from colondepth.losses.known import require_at_least, step
from colondepth.shapes import require_bool, require_float, require_shapes
from evaluation.depth_errors import has_depth
from evaluation.quantities import Quantity

EDGE_ERRORS: Mapping[str, Quantity] = {
    "edge_precision": Quantity("found depth edges that are near a true one", "", False),
    "edge_recall": Quantity("true depth edges that are near a found one", "", False),
    "edge_f": Quantity("harmonic mean of edge precision and recall", "", False),
    "edge_accuracy_px": Quantity("distance of found edges to true ones (DBE acc)", "px", True),
    "edge_completeness_px": Quantity("distance of true edges to found ones (DBE comp)", "px", True),
}


def depth_edges(depth_mm: Tensor, known: Tensor, *, ratio: float) -> Tensor:
    """Return True on pixels with a neighbour that is farther by more than `ratio`.

    Neighbours are left, right, above and below. Where one of the two is unknown (not `known`, or a
    depth that is no positive number) there is no edge: the border of what is known is none.

    Args:
        depth_mm: shape (B, 1, H, W).
        known: bool, shape (B, 1, H, W).
        ratio: above 1; 1.1 marks jumps of more than 10 %.

    Returns:
        bool, shape (B, 1, H, W).
    """
    require_shapes(depth_mm=(depth_mm, "B 1 H W"), known=(known, "B 1 H W"))
    require_float(depth_mm=depth_mm)
    require_bool(known=known)
    if not 1 < ratio < inf:
        raise DataError(f"ratio is {ratio:g}, expected more than 1, such as 1.1 for 10 %")
    known = known & has_depth(depth_mm)
    log_depth = torch.where(known, depth_mm.double(), 1.0).log()
    edge = torch.zeros_like(known)
    for axis in (-1, -2):
        growth, both = step(log_depth, known, axis=axis)
        pairs = growth.shape[axis]
        edge.narrow(axis, 0, pairs).logical_or_(both & (growth > log(ratio)))
        edge.narrow(axis, edge.shape[axis] - pairs, pairs).logical_or_(
            both & (growth < -log(ratio))
        )
    return edge


def edge_errors(
    found: Tensor, true: Tensor, known: Tensor, *, tolerance_px: float, cutoff_px: float
) -> dict[str, Tensor]:
    """Return the errors of each frame, (B,) float64 each, named as in `EDGE_ERRORS`.

    Without true edges recall and completeness are nan, without found ones precision is; F is nan
    only where there are neither. Accuracy is nan where no found edge lies within `cutoff_px` of a
    true one; completeness is `cutoff_px` where nothing is found. So a frame without known pixels
    gives nan everywhere.

    Args:
        found: bool, True on found edges, shape (B, 1, H, W).
        true: bool, True on true edges, shape (B, 1, H, W).
        known: bool, where edges of both count, shape (B, 1, H, W).
        tolerance_px: how far apart two edges may be that are one; for precision, recall and F.
        cutoff_px: accuracy minds only found edges nearer than this to a true one, completeness
            counts every distance as this at most; 10 in iBims-1.
    """
    require_shapes(found=(found, "B 1 H W"), true=(true, "B 1 H W"), known=(known, "B 1 H W"))
    require_bool(found=found, true=true, known=known)
    require_at_least(0, tolerance_px=tolerance_px, cutoff_px=cutoff_px)
    frames = [
        _frame_errors(guess, edge, tolerance_px, cutoff_px)
        for guess, edge in zip(
            (found & known)[:, 0].cpu().numpy(), (true & known)[:, 0].cpu().numpy(), strict=True
        )
    ]
    table = torch.tensor(frames, dtype=torch.float64, device=found.device)
    columns = table.reshape(len(frames), len(EDGE_ERRORS)).unbind(dim=1)
    return dict(zip(EDGE_ERRORS, columns, strict=True))


def _frame_errors(
    found: NDArray[np.bool_], true: NDArray[np.bool_], tolerance_px: float, cutoff_px: float
) -> tuple[float, ...]:
    """Return the errors of one frame (H, W), in the order of `EDGE_ERRORS`."""
    to_true, to_found = _distance_px(true)[found], _distance_px(found)[true]
    near = to_true[to_true < cutoff_px]
    precision = _mean(to_true <= tolerance_px)
    recall = _mean(to_found <= tolerance_px)
    if len(to_true) == 0 and len(to_found) == 0:
        f = nan
    elif len(to_true) == 0 or len(to_found) == 0 or precision + recall == 0:
        f = 0.0
    else:
        f = 2 * precision * recall / (precision + recall)
    # The last two: Koch 2018, accuracy and completeness of depth boundaries
    return precision, recall, f, _mean(near), _mean(to_found.clip(max=cutoff_px))


def _distance_px(edge: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return how far every pixel is from the nearest edge; infinite where there is none."""
    if not edge.any():
        return np.full(edge.shape, inf)  # scipy would measure to a pixel outside
    distance: NDArray[np.float64] = distance_transform_edt(~edge)
    return distance


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if len(values) else nan
