"""The scale of every frame's predicted depth, from camera motion that is known in millimetres.

A network's depth is right up to a factor that changes from frame to frame. Three things are known
of the factors, and the most likely ones are found from all of them at once (least squares of logs):

- Neighbouring frames see one wall: reprojected, their depths must agree. This ties the factors of
  a clip to each other, and leaves what all of them have in common.
- With the true factor, a frame warped by depth and motion looks like one that stands a share of
  the depth away. The mismatch is measured over a range of factors, and the mean of a stretch of
  frames has its bottom at the true one - where there is texture; where there is not, it is flat and
  counts for nothing. Light moves with the camera, so each image is divided by what is broad in it.
- The network itself is right on average, within `NETWORK_STD`.
"""

from math import exp, log

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import lsqr
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from colondepth.cameras import Camera
from colondepth.geometry import reproject
from colondepth.motion import relative
from colondepth.warping import Lookup, sample, warp

FACTORS = np.exp(np.linspace(log(0.4), log(2.5), 37))  # steps of 5 %
BASELINE = (0.06, 0.35)  # of the median depth: less shows no parallax, more is another view
STRETCH = 5  # frames to either side that share a factor
LONGEST_PX = 160  # images are compared at this size
LEAST_PIXELS = 200
LEAST_PAIRS = 8
FOREIGN_SHARE = 0.3  # of pairs that no motion explains better: poses of another clip
LEAST_DROP = 0.35  # of the mismatch, from the worst factor to the best: less is noise
NETWORK_STD = 0.25  # of the log of a frame's scale
SEEN_STD = 0.08  # of the factor that the motion shows, from frames of rendered clips
AGREE_STD = 0.04  # of the ratio of two neighbours' depths
_TIED = 3  # frames before, to which a frame's depth is tied
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
        self._kept: list[
            tuple[Tensor, Tensor, float]
        ] = []  # texture with its mask, pose, median depth
        self._curves: list[NDArray[np.float64] | None] = []
        self._last: list[tuple[int, Tensor, Tensor]] = []  # number, depth, pose
        self._worse: list[bool] = []  # of pairs: whether no motion at all explains them better
        self._ties: list[tuple[int, int, float]] = []  # a frame, one before it, log of their ratio

    def add(self, image: Tensor, depth_mm: Tensor, world_from_camera: Tensor) -> None:
        """Take the next frame.

        Args:
            image: (3, H, W) in [0, 1].
            depth_mm: (1, H, W), 0 where unknown or not to be used.
            world_from_camera: (4, 4), in true millimetres.
        """
        size = (self._camera.height, self._camera.width)
        depth = F.interpolate(depth_mm[None].float(), size, mode="nearest-exact")[0]
        known = depth > 0
        texture = _texture(F.adaptive_avg_pool2d(image.float(), size), known)
        number = len(self._curves)
        if int(known.sum()) < LEAST_PIXELS:
            self._curves.append(None)
            return
        for before, there, pose in self._last:
            ratio = self._ratio(there, depth, relative(world_from_camera, pose))
            if ratio is not None:
                self._ties.append((number, before, ratio))
        self._last = [*self._last, (number, depth, world_from_camera.double())][-_TIED:]
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
        """Return the factor of every frame's depth; 1 for all where nothing is known of them."""
        count = len(self._curves)
        if not count:
            return []
        # A row for each thing that is known: sparse, for an hour has thousands of frames.
        row: list[int] = []
        column: list[int] = []
        weight: list[float] = []
        wanted: list[float] = []
        for number, shown in enumerate(self._shown()):
            std = NETWORK_STD if shown is None else SEEN_STD
            row.append(len(wanted))
            column.append(number)
            weight.append(1 / std)
            wanted.append(0.0 if shown is None else log(shown) / std)
        for number, before, ratio in self._ties:
            row += [len(wanted)] * 2
            column += [number, before]
            weight += [1 / AGREE_STD, -1 / AGREE_STD]
            wanted.append(ratio / AGREE_STD)
        matrix = csr_matrix((weight, (row, column)), shape=(len(wanted), count))
        return [exp(each) for each in lsqr(matrix, np.array(wanted), atol=1e-9, btol=1e-9)[0]]

    @property
    def shown(self) -> bool:
        """Whether the motion shows the scale of any frame."""
        return any(each is not None for each in self._shown())

    @property
    def foreign(self) -> bool:
        """Whether the motion explains the images worse than none would: it is of other images."""
        known = len(self._worse) >= LEAST_PAIRS and not self.shown
        return known and float(np.mean(self._worse)) > FOREIGN_SHARE

    def _shown(self) -> list[float | None]:
        """Return the factor that the texture of each frame and its neighbours shows."""
        known = [number for number, curve in enumerate(self._curves) if curve is not None]
        if not known:
            return [None] * len(self._curves)
        table = np.stack([curve for curve in self._curves if curve is not None])
        found = []
        for number in range(len(self._curves)):
            near = np.abs(np.array(known) - number) <= STRETCH
            found.append(_lowest(table[near].mean(axis=0)) if near.any() else None)
        return found

    def _ratio(self, there: Tensor, here: Tensor, here_from_there: Tensor) -> float | None:
        """Return the log of by how much `here` is too near, against another frame's depth."""
        camera = self._camera.to(here)
        pixels, z, lands = reproject(there, camera, here_from_there.to(here))
        found, inside = sample(here, pixels, lookup=Lookup.NEAREST)
        both = lands & inside & (found > 0) & (z > 0)
        if int(both.sum()) < LEAST_PIXELS:
            return None
        return float((z[both] / found[both]).log().median())

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
        # Where either view has its border or glare there is nothing to compare, or what is there
        # goes along with the camera.
        known = (lands & (warped[:, 1:] > _WHOLE)).all(dim=0)[0]
        seen = known & (texture[1] > 0) & (other[1] > 0)  # (H, W)
        if int(seen.sum()) < LEAST_PIXELS:
            return None
        off = (warped[:, 0] - texture[0])[:, seen].abs().clamp(max=_CLIPPED)
        curve: NDArray[np.float64] = off.mean(dim=1).double().numpy()
        still = float((other - texture)[0, seen].abs().clamp(max=_CLIPPED).mean())
        self._worse.append(float(curve.min()) > still)
        return curve


_WHOLE = 0.99  # of four pixels that are known
_CLIPPED = 0.3  # of log texture: what glare and shadows do counts no more than that


def _texture(image: Tensor, known: Tensor) -> Tensor:
    """Return the log of a grey image over what is broad in it, and where it is known, (2, H, W)."""
    grey = image.mean(dim=0, keepdim=True).clamp(min=0.02).log()
    reach = int(3 * _BROAD_PX)
    steps = torch.arange(-reach, reach + 1).to(grey)
    weights = torch.exp(-0.5 * (steps / _BROAD_PX).square())
    weights = weights / weights.sum()
    share = known.to(grey)
    padded = F.pad(torch.stack([grey * share, share]), [reach] * 4, mode="replicate")
    across = F.conv2d(padded, weights[None, None, None, :])
    broad, weight = F.conv2d(across, weights[None, None, :, None])
    return torch.cat([(grey - broad / weight.clamp(min=1e-6)) * share, share])


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
