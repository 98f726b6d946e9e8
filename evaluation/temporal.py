"""How steady depth is from frame to frame, where the true motion says what should have changed.

Flicker follows points along the true flow: the depth of a point changes as the camera moves, and
what the found depth changes more or less than that is flicker. Warped consistency carries the
found depth of a frame into the next one through the true motion and compares it with what was
found there (Bian et al., "Unsupervised scale-consistent depth and ego-motion learning from
monocular video", 2019). Both judge depth that is aligned already: with one scale for the
clip jumps of scale count, with one scale a frame they are forgiven.
"""

from collections.abc import Mapping
from math import nan

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import ShapeError
from colondepth.geometry import pixels_from_flow, reproject
from colondepth.losses.known import image_means, require_at_least
from colondepth.motion import relative
from colondepth.shapes import require_bool, require_finite, require_float, require_shapes
from colondepth.warping import Lookup, sample
from evaluation.depth_errors import has_depth
from evaluation.quantities import Quantity

_WHOLE = 1 - 1e-6  # of four pixels: rounding aside, all of them
FLICKER_ERRORS: Mapping[str, Quantity] = {
    "flicker": Quantity("change of log depth at tracked points beyond the true one", "", True),
    "flicker_scale": Quantity("the same of their mean: a jump of the whole frame", "", True),
    "flicker_answered": Quantity("tracked points that have a depth in both frames", "", False),
}
WARPED_ERRORS: Mapping[str, Quantity] = {
    "warped_difference": Quantity("|a - b| / (a + b) of depth warped to the next frame", "", True),
    "warped_answered": Quantity("points seen twice that have a depth in both frames", "", False),
}


def flicker_errors(
    found_mm: Tensor, true_mm: Tensor, flow_px: Tensor, tracked: Tensor
) -> dict[str, Tensor]:
    """Return the flicker from each frame to the next, (T - 1,) float64, as in `FLICKER_ERRORS`.

    Of a point it is |log(found later / found earlier) - log(true later / true earlier)|, both
    looked up at the pixel nearest to where the flow leads: 0 for the true depth in any scale.
    A depth that is no positive number is no answer: the point is left out and lowers
    `flicker_answered`. A pair of frames without a tracked point gives nan.

    Args:
        found_mm: frames of one clip in order, shape (T, 1, H, W).
        true_mm: finite, 0 where unknown, shape (T, 1, H, W).
        flow_px: true flow from each frame to the next, shape (T - 1, 2, H, W).
        tracked: bool, where the flow is known and its end is seen, shape (T - 1, 1, H, W).
    """
    require_shapes(found_mm=(found_mm, "T 1 H W"), true_mm=(true_mm, "T 1 H W"))
    size = require_shapes(true_mm=(true_mm, "T 1 H W"), flow_px=(flow_px, "P 2 H W"))
    require_shapes(flow_px=(flow_px, "P 2 H W"), tracked=(tracked, "P 1 H W"))
    _require_pairs(size["T"], flow_px=size["P"])
    require_float(found_mm=found_mm, true_mm=true_mm, flow_px=flow_px)
    require_bool(tracked=tracked)
    require_finite(true_mm=true_mm)
    pixels = pixels_from_flow(flow_px.double())  # (P, H, W, 2)
    found_growth, answered = _log_growth(found_mm, pixels)
    true_growth, known = _log_growth(true_mm, pixels)
    asked = tracked & known
    measured = asked & answered
    excess = torch.where(measured, found_growth - true_growth, 0.0)  # (P, 1, H, W)
    empty, unasked = (~mask.flatten(start_dim=1).any(dim=1) for mask in (measured, asked))
    return {
        "flicker": image_means(excess.abs(), measured).masked_fill(empty, nan),
        "flicker_scale": image_means(excess, measured).abs().masked_fill(empty, nan),
        "flicker_answered": image_means(answered.double(), asked).masked_fill(unasked, nan),
    }


def warped_errors(
    found_mm: Tensor,
    true_mm: Tensor,
    known: Tensor,
    camera: Camera,
    world_from_camera: Tensor,
    *,
    tolerance: float,
) -> dict[str, Tensor]:
    """Return how far each frame contradicts the next, (T - 1,) float64, as in `WARPED_ERRORS`.

    1 / depth is looked up bilinearly, which is exact on planes through a pinhole. A point counts
    where the true depth itself agrees with the next frame: so neither what is hidden there nor
    edges of depth count, whatever was found. A depth that is no positive number, or that leads
    out of the image, is no answer: it is left out and lowers `warped_answered`. A pair of frames
    without a point seen in both gives nan.

    Args:
        found_mm: frames of one clip in order, in the unit of the motion, shape (T, 1, H, W).
        true_mm: finite, 0 where unknown, shape (T, 1, H, W).
        known: bool, where to measure, shape (T, 1, H, W).
        camera: of all frames, without batch axes.
        world_from_camera: true, shape (T, 4, 4).
        tolerance: the true depth may differ from the next frame's by this share; 0.02 as a rule.
    """
    size = require_shapes(
        found_mm=(found_mm, "T 1 H W"),
        true_mm=(true_mm, "T 1 H W"),
        known=(known, "T 1 H W"),
        world_from_camera=(world_from_camera, "T 4 4"),
    )
    _require_pairs(size["T"])
    require_float(found_mm=found_mm, true_mm=true_mm)
    require_bool(known=known)
    require_finite(true_mm=true_mm)
    require_at_least(0, tolerance=tolerance)
    motion = relative(world_from_camera[1:].double(), world_from_camera[:-1].double())
    found = torch.where(has_depth(found_mm), found_mm.double(), 0.0)
    true = torch.where(known, true_mm.double(), 0.0)
    expected, seen, both = _carried(true, camera, motion)
    asked = both & ((seen - expected).abs() <= tolerance * expected)  # (T - 1, 1, H, W)
    expected, seen, answered = _carried(found, camera, motion)
    measured = asked & answered
    total = torch.where(measured, expected + seen, 1.0)
    difference = torch.where(measured, (expected - seen).abs(), 0.0) / total  # Bian 2019
    empty, unasked = (~mask.flatten(start_dim=1).any(dim=1) for mask in (measured, asked))
    return {
        "warped_difference": image_means(difference, measured).masked_fill(empty, nan),
        "warped_answered": image_means(answered.double(), asked).masked_fill(unasked, nan),
    }


def _log_growth(depth_mm: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return log(depth there in the next frame / depth here), and where both are known."""
    depth = torch.where(has_depth(depth_mm), depth_mm.double(), 0.0)
    later, _ = sample(depth[1:], pixels, lookup=Lookup.NEAREST)  # (P, 1, H, W), 0 outside
    earlier = depth[:-1]
    both = (later > 0) & (earlier > 0)
    growth = torch.where(both, later, 1.0).log() - torch.where(both, earlier, 1.0).log()
    return growth, both


def _carried(depth_mm: Tensor, camera: Camera, motion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the depth that each point must have in the next frame, the one there, where both."""
    pixels, expected_mm, lands = reproject(depth_mm[:-1], camera, motion)
    there = depth_mm[1:]
    there_known = there > 0
    nearness, _ = sample(
        torch.where(there_known, 1 / torch.where(there_known, there, 1.0), 0.0),
        pixels,
        lookup=Lookup.BILINEAR,
    )
    share, _ = sample(there_known.double(), pixels, lookup=Lookup.BILINEAR)
    # Beyond the centres of the border pixels there is nothing to interpolate with.
    ends = pixels.new_tensor([there.shape[-1] - 1, there.shape[-2] - 1])
    between = ((pixels >= 0) & (pixels <= ends)).all(dim=-1)[..., None, :, :]  # (T - 1, 1, H, W)
    both = lands & between & (share >= _WHOLE) & (expected_mm > 0)
    return expected_mm, 1 / torch.where(both, nearness, 1.0), both


def _require_pairs(frames: int, **pairs: int) -> None:
    if frames < 2:
        raise ShapeError(f"the clip has {frames} frames, expected 2 or more to compare")
    for name, count in pairs.items():
        if count != frames - 1:
            raise ShapeError(
                f"{name} has {count} maps for {frames} frames, expected {frames - 1}: one from"
                " each frame to the next"
            )
