"""The scale of predicted depth, from camera motion that is known in millimetres.

A network's depth is right up to a factor that changes slowly from frame to frame. With the true
factor, a frame warped by depth and motion looks like its neighbour; with another it does not. For
every frame the mismatch is measured over a range of factors, against frames that stand a share of
the depth away, and the factor is where the mean mismatch of a stretch of frames is smallest.
Light moves with the camera, so images are compared by their texture: each is divided by what is
broad in it.
"""

from math import exp, log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from colondepth.cameras import Camera
from colondepth.motion import relative
from colondepth.warping import warp

FACTORS = np.exp(np.linspace(log(0.4), log(2.5), 37))  # steps of 5 %
BASELINE = (0.06, 0.35)  # of the median depth: less shows no parallax, more is another view
STRETCH = 5  # frames to either side that share a factor
LONGEST_PX = 160  # images are compared at this size
LEAST_PIXELS = 200
LEAST_DROP = 0.02  # of the mismatch, from the worst factor to the best: else nothing is known
_BROAD_PX = 6.0  # standard deviation of what counts as broad
_PARTNERS = 2


class MotionScale:
    """Gathers the mismatch of frames, in the order of time; memory is a few small frames.

    Args:
        camera: of the frames.
    """

    def __init__(self, camera: Camera) -> None:
        share = min(1.0, LONGEST_PX / max(camera.height, camera.width))
        self._camera = camera.resized(
            *(max(8, round(share * side)) for side in (camera.height, camera.width))
        )
        self._kept: list[tuple[Tensor, Tensor, float]] = []  # texture, pose, median depth
        self._curves: list[NDArray[np.float64] | None] = []

    def add(self, image: Tensor, depth_mm: Tensor, world_from_camera: Tensor) -> None:
        """Take the next frame.

        Args:
            image: (3, H, W) in [0, 1].
            depth_mm: (1, H, W), 0 where unknown or not to be used.
            world_from_camera: (4, 4), in true millimetres.
        """
        size = (self._camera.height, self._camera.width)
        depth = F.interpolate(depth_mm[None].float(), size, mode="nearest-exact")[0]
        texture = _texture(F.adaptive_avg_pool2d(image.float(), size))
        known = depth > 0
        if int(known.sum()) < LEAST_PIXELS:
            self._curves.append(None)
            return
        middle = float(depth[known].median())
        curves = []
        for other, pose, _ in reversed(self._kept):
            baseline = float((world_from_camera[:3, 3] - pose[:3, 3]).norm())
            if not BASELINE[0] * middle < baseline < BASELINE[1] * middle:
                continue
            curve = self._curve(texture, depth, other, relative(pose, world_from_camera))
            if curve is not None:
                curves.append(curve)
            if len(curves) == _PARTNERS:
                break
        self._curves.append(np.mean(curves, axis=0) if curves else None)
        last = self._kept[-1][1] if self._kept else None
        moved = last is None or float((world_from_camera[:3, 3] - last[:3, 3]).norm()) > 0.3
        if moved:
            self._kept = [*self._kept, (texture, world_from_camera.double(), middle)][-40:]

    def factors(self) -> list[float]:
        """Return the factor of every frame's depth; 1 for all where the motion shows none."""
        known = [number for number, curve in enumerate(self._curves) if curve is not None]
        if not known:
            return [1.0] * len(self._curves)
        table = np.stack([curve for curve in self._curves if curve is not None])
        found = []
        for number in range(len(self._curves)):
            near = np.abs(np.array(known) - number) <= STRETCH
            found.append(_lowest(table[near].mean(axis=0)) if near.any() else None)
        if all(each is None for each in found):
            return [1.0] * len(found)
        sure = [n for n, each in enumerate(found) if each is not None]
        logs = np.interp(range(len(found)), sure, [log(each) for each in found if each is not None])
        return [exp(each) for each in logs]

    def _curve(
        self, texture: Tensor, depth: Tensor, other: Tensor, other_from_own: Tensor
    ) -> NDArray[np.float64] | None:
        """Return the mismatch at every factor; None with too few pixels that all of them see."""
        count = len(FACTORS)
        factors = torch.from_numpy(FACTORS).to(depth)[:, None, None, None]
        # The motion shrinks as the depth grows: one warp for all factors.
        motion = other_from_own.to(depth).expand(count, 4, 4)
        warped, lands = warp(
            other.expand(count, -1, -1, -1),
            depth * factors,
            self._camera.to(depth).expanded((count,)),
            motion,
        )
        seen = (lands & (depth > 0)).all(dim=0)[0]  # (H, W)
        if int(seen.sum()) < LEAST_PIXELS:
            return None
        off = (warped - texture)[:, 0, seen].abs().clamp(max=_CLIPPED)
        curve: NDArray[np.float64] = off.mean(dim=1).double().numpy()
        return curve


_CLIPPED = 0.3  # of log texture: what glare and shadows do counts no more than that


def _texture(image: Tensor) -> Tensor:
    """Return the log of a grey image over what is broad in it, (1, H, W)."""
    grey = image.mean(dim=0, keepdim=True).clamp(min=0.02).log()
    reach = int(3 * _BROAD_PX)
    steps = torch.arange(-reach, reach + 1).to(grey)
    weights = torch.exp(-0.5 * (steps / _BROAD_PX).square())
    weights = weights / weights.sum()
    padded = F.pad(grey[None], [reach] * 4, mode="replicate")
    across = F.conv2d(padded, weights[None, None, None, :])
    broad = F.conv2d(across, weights[None, None, :, None])[0]
    return grey - broad


def _lowest(curve: NDArray[np.float64]) -> float | None:
    """Return the factor at the bottom of a curve, between its steps; None for a flat one."""
    at = int(curve.argmin())
    if curve.max() - curve[at] < LEAST_DROP * curve.max() or at in (0, len(curve) - 1):
        return None
    left, middle, right = curve[at - 1 : at + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend > 0 else 0.0
    step = log(FACTORS[1] / FACTORS[0])
    return float(FACTORS[at] * exp(shift * step))
