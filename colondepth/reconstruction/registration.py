"""Motion between two views by what they show and how far it is: dense, without features.

Gauss-Newton over a rigid motion and one scale: pixels with depth of the source are moved into the
target, and there two things are compared. *Where*: the point should lie on the target's wall, from
point to plane, over its distance. *What*: the texture there should be the source's. Texture is the
log of the luminance less its blur: lamps move with the camera, so light itself is not kept, while
folds, vessels and edges are. From coarse to fine; each kind of residual is weighed by its own
spread, robustly, so that neither highlights nor a fold in front of another decide.

The scale multiplies the target's depth: networks are right up to a factor that changes from frame
to frame, which would otherwise become motion.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from colondepth.cameras import Camera
from colondepth.geometry import normals_from_depth, unproject
from colondepth.motion import nearest_rigid, se3_exp, transform
from colondepth.shapes import require_shapes
from colondepth.warping import Lookup, sample

LONGEST_PX = 160  # at the finest; above it a frame takes longer and is not placed better
LEVELS = 3  # halvings of that, and it
STEPS = (15, 12, 12)  # at each level, coarse to fine, at most
SCALE_STD = 0.15  # by how much the scale of one frame strays from another's
BLUR_SHARE = 0.08  # of the shorter side: what is wider than that is light, not texture
JUMP = 1.15  # between neighbours; where depth is farther apart no plane is laid through it
CORRELATION_SURE = 0.7  # of texture, at half the size: no other guess is tried
BEHIND = 0.25  # of log distance: farther apart it is another fold
# Errors of neighbouring pixels are one error: so many pixels count as one when the whole is weighed
# against what is known of the scale.
PIXELS_AS_ONE = 50.0
_CAUCHY = 2.385  # in spreads: 95 % as good as least squares where errors are normal
_DARKEST, _BRIGHTEST = 0.02, 0.97  # beyond: no signal
_GAMMA = 2.2  # from an image's values to light
_WHOLE = 0.999
_GRAZING = 0.2  # cosines below it are the normals' error
_LUMINANCE = (0.2126, 0.7152, 0.0722)  # ITU-R BT.709
_LEAST_PIXELS = 30  # to solve for seven numbers with some of it left over
_CONVERGED = 5e-4  # of the distance, and of a radian


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The least that two views are off where both see one wall: spreads are not believed below.

    Smooth depth agrees with other smooth depth wherever it is laid; without a floor that would
    count as knowledge of the place.
    """

    depth: float  # of the distance
    texture: float  # of the log of light


EXACT = Noise(depth=1e-4, texture=1e-3)  # rendered, or scanned
# With a network's depth on a rendered clip of 40 frames, 38 were placed; 25 with the noise of exact
# depth, which was lost at the first fold that the network had smoothed.
PREDICTED = Noise(depth=0.05, texture=0.01)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sight:
    """A view at one size, made ready to be compared."""

    camera: Camera
    texture: Tensor  # (3, H, W): the texture, and how it changes along u and v
    wall: Tensor  # (7, H, W): points in mm, normals, 1 where both are known
    trust: Tensor  # (H, W): weight of the depth, 0 where it is unknown

    @property
    def points(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Points (N, 3), their normals, texture (N,) and trust (N,), of pixels with a wall."""
        known = self.wall[6] > 0
        flat = self.wall[:6, known].T  # (N, 6)
        return flat[:, :3], flat[:, 3:], self.texture[0, known], self.trust[known]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Registration:
    """How a target stands to a source, and what speaks for it."""

    target_from_source: Tensor  # (4, 4) float64
    log_scale: float  # by which the target's depth was multiplied to agree with the source's
    overlap: float  # share of the source's pixels that the target sees
    agreement: float  # share of those whose point lies on the target's wall, within `near`
    correlation: float  # of the textures there
    near: float  # share of the distance within which a point lies on a wall


def sights(
    image: Tensor, depth_mm: Tensor, camera: Camera, *, log_depth_std: Tensor | None = None
) -> tuple[Sight, ...]:
    """Make a view ready, coarse to fine.

    Args:
        image: (3, H, W) in [0, 1].
        depth_mm: (1, H, W), 0 where unknown or not to be used: highlights, text, border.
        camera: of that size.
        log_depth_std: (1, H, W).
    """
    require_shapes(image=(image, "3 H W"), depth_mm=(depth_mm, "1 H W"))
    height, width = depth_mm.shape[-2:]
    scale = min(1.0, LONGEST_PX / max(height, width))
    answer = []
    for level in reversed(range(LEVELS)):
        h, w = (max(8, round(side * scale / 2**level)) for side in (height, width))
        answer.append(_sight(image, depth_mm, log_depth_std, camera.resized(h, w)))
    return tuple(answer)


def register(
    source: Sequence[Sight],
    target: Sequence[Sight],
    *,
    noise: Noise = PREDICTED,
    guesses: Sequence[Tensor] = (),
    log_scale: float = 0.0,
) -> Registration:
    """Find the motion from source to target.

    Args:
        source: of `sights`.
        target: likewise.
        noise: of the depth that they were made of.
        guesses: of target_from_source (4, 4); none is no motion. All are followed through the
            coarser sizes, the one whose texture agrees best to the end.
        log_scale: a guess too, around which the scale may stray by `SCALE_STD`.
    """
    device = source[-1].wall.device
    starts = [guess.to(device, torch.float64) for guess in guesses] or [
        torch.eye(4, dtype=torch.float64, device=device)
    ]
    arrived: list[Registration] = []
    for start in starts:
        motion, scale = start, log_scale
        for near, far, steps in zip(source[:-1], target[:-1], STEPS[:-1], strict=True):
            motion, scale = _followed(near, far, motion, scale, noise, log_scale, steps)
        arrived.append(_judged(source[-2], target[-2], motion, scale))
        if arrived[-1].correlation > CORRELATION_SURE:
            break
    best = max(arrived, key=lambda each: each.correlation)
    motion, scale = _followed(
        source[-1], target[-1], best.target_from_source, best.log_scale, noise, log_scale, STEPS[-1]
    )
    return _judged(source[-1], target[-1], motion, scale)


def _followed(
    source: Sight,
    target: Sight,
    motion: Tensor,
    log_scale: float,
    noise: Noise,
    prior: float,
    steps: int,
) -> tuple[Tensor, float]:
    """Return motion and log scale after at most so many steps at one size."""
    for _ in range(steps):
        step = _step(source, target, motion, noise=noise, log_scale=log_scale, prior=prior)
        if step is None:
            break
        motion = nearest_rigid(se3_exp(step[:6]) @ motion)
        log_scale += step[6].item()
        if step[3:6].norm() < _CONVERGED and step[:3].norm() < _CONVERGED * _size(source):
            break
    return motion, log_scale


def _sight(image: Tensor, depth_mm: Tensor, std: Tensor | None, camera: Camera) -> Sight:
    size = (camera.height, camera.width)
    smaller = partial(F.adaptive_avg_pool2d, output_size=size)
    luminance = torch.einsum("c,chw->hw", image.new_tensor(_LUMINANCE), image)[None]
    lit = (luminance > _DARKEST) & (luminance < _BRIGHTEST)
    known = (depth_mm > 0) & lit
    # Over the known pixels of each cell; a cell with an edge in it has no one depth.
    share = smaller(known.float())
    depth = smaller(torch.where(known, depth_mm, 0.0)) / share.clamp(min=1e-6)
    farthest = F.adaptive_max_pool2d(torch.where(known, depth_mm, 0.0), size)
    nearest = -F.adaptive_max_pool2d(torch.where(known, -depth_mm, -math.inf), size)
    whole = (share > 0.5) & (farthest < JUMP * nearest)
    depth = torch.where(whole, depth, 0.0)
    points = unproject(depth, camera).movedim(-1, 0)  # (3, H, W)
    normals = normals_from_depth(depth, camera)  # (3, H, W)
    sure = whole & (normals.abs().sum(dim=0, keepdim=True) > 0)
    trust = torch.ones_like(depth) if std is None else 1 / smaller(std).clamp(min=0.02).square()
    texture = _texture(smaller(luminance), points, normals, sure)
    slopes = [torch.gradient(texture, dim=axis)[0] for axis in (-1, -2)]
    return Sight(
        camera=camera,
        texture=torch.cat([texture, *slopes]),
        wall=torch.cat([points, normals, sure.float()]),
        trust=torch.where(sure, trust / trust.median(), 0.0)[0],
    )


def _texture(luminance: Tensor, points: Tensor, normals: Tensor, sure: Tensor) -> Tensor:
    """Return what is left of the log of light once the lamp is accounted for, (1, H, W).

    A matt wall lit from the camera sends back albedo x cosine / distance^2. What is wider than the
    blur goes too: it is the depth's own error, vignetting, exposure.
    """
    distance = points.norm(dim=0, keepdim=True).clamp(min=1e-6)
    cosine = -(normals * points).sum(dim=0, keepdim=True) / distance
    light = _GAMMA * (luminance + _DARKEST).log()
    albedo = light + 2 * distance.log() - cosine.clamp(min=_GRAZING).log()
    albedo = torch.where(sure, albedo, 0.0)
    width = 2 * max(1, round(BLUR_SHARE * min(luminance.shape[-2:]))) + 1
    blurred = F.avg_pool2d(
        F.pad(torch.stack([albedo, sure.float()]), [width // 2] * 4), width, stride=1
    )
    return torch.where(sure, albedo - blurred[0] / blurred[1].clamp(min=1e-6), 0.0)


def _seen(target: Sight, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return texture with slopes (N, 3), wall (N, 7) and `inside` (N,) where points appear."""
    pixels, in_front = target.camera.project(points)  # (N, 2)
    texture, inside = sample(target.texture, pixels[None], lookup=Lookup.BILINEAR)
    wall, _ = sample(target.wall, pixels[None], lookup=Lookup.BILINEAR)
    return texture[:, 0].T, wall[:, 0].T, inside[0, 0] & in_front


def _compared(
    target: Sight, points: Tensor, log_scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return texture with slopes, points and normals there, `seen` and `same` fold, of N points."""
    texture, wall, inside = _seen(target, points)
    there = wall[:, :3] * math.exp(log_scale)
    seen = inside & (wall[:, 6] > _WHOLE)  # all four pixels around have a wall, and it is one
    ratio = points.norm(dim=-1) / torch.where(seen, there.norm(dim=-1), 1.0)
    same = seen & (ratio.clamp(min=1e-6).log().abs() < BEHIND)
    return texture, there, wall[:, 3:6], seen, same


def _step(
    source: Sight,
    target: Sight,
    motion: Tensor,
    *,
    noise: Noise,
    log_scale: float,
    prior: float,
) -> Tensor | None:
    """Return the twist and the change of log scale (7,) in float64; None with too little to see."""
    points, _, texture, trust = source.points
    points = transform(motion.to(points), points)  # (N, 3)
    found, there, normals, _, same = _compared(target, points, log_scale)
    if int(same.sum()) < _LEAST_PIXELS:
        return None
    points, found, there, normals = points[same], found[same], there[same], normals[same]
    distance = points.norm(dim=-1, keepdim=True)  # (N, 1)
    where = (normals * (points - there)).sum(dim=-1, keepdim=True) / distance
    by_scale = -(normals * there).sum(dim=-1, keepdim=True) / distance
    along = normals / distance
    rows_where = torch.cat([along, torch.linalg.cross(points, along), by_scale], dim=-1)  # (N, 7)
    what = found[:, :1] - texture[same][:, None]
    uphill = _uphill(target.camera, points, found[:, 1:])  # (N, 3)
    none = torch.zeros_like(by_scale)
    rows_what = torch.cat([uphill, torch.linalg.cross(points, uphill), none], dim=-1)
    pulled = points.new_tensor([0.0] * 6 + [1 / SCALE_STD**2], dtype=torch.float64)
    matrix = pulled.diag()
    vector = pulled * (log_scale - prior)
    for residual, rows, weight, least in (
        (where, rows_where, trust[same][:, None], noise.depth),
        (what, rows_what, torch.ones_like(what), noise.texture),
    ):
        spread = (1.4826 * residual.abs().median()).clamp(min=least)
        robust = weight / (1 + (residual / (_CAUCHY * spread)).square()) / spread.square()
        weighed = (rows * robust).double() / PIXELS_AS_ONE
        matrix = matrix + weighed.T @ rows.double()
        vector = vector + (weighed.T @ residual.double())[:, 0]
    damped = matrix + 1e-6 * matrix.diagonal().diag()
    step, failed = torch.linalg.solve_ex(damped, -vector)
    return step if not failed and step.isfinite().all() else None


def _uphill(camera: Camera, points: Tensor, slopes: Tensor) -> Tensor:
    """Return how texture changes as a point moves, (N, 3), for any lens: by central differences."""
    exact = points.double()
    step = 1e-4 * exact.norm(dim=-1, keepdim=True)  # (N, 1)
    axes = torch.eye(3, dtype=torch.float64, device=points.device)[:, None]  # (3, 1, 3)
    pixels, _ = camera.project(torch.cat([exact + step * axes, exact - step * axes]))  # (6, N, 2)
    change = (pixels[:3] - pixels[3:]) / (2 * step)  # (3, N, 2)
    uphill: Tensor = (change * slopes).sum(dim=-1).T.to(points)
    return uphill


def _judged(source: Sight, target: Sight, motion: Tensor, log_scale: float) -> Registration:
    points, _, texture, _ = source.points
    moved = transform(motion.to(points), points)
    found, there, normals, seen, same = _compared(target, moved, log_scale)
    off = (normals * (moved - there)).sum(dim=-1).abs() / moved.norm(dim=-1)
    near = 0.05
    on = same & (off < near)
    pair = torch.stack([found[same, 0], texture[same]])
    correlation = torch.corrcoef(pair)[0, 1].nan_to_num(0.0).item() if pair.shape[1] > 2 else 0.0
    return Registration(
        target_from_source=motion,
        log_scale=log_scale,
        overlap=seen.float().mean().item() if len(seen) else 0.0,
        agreement=(on.sum() / seen.sum().clamp(min=1)).item(),
        correlation=correlation,
        near=near,
    )


def _size(sight: Sight) -> float:
    """Return the median distance of a view's points, in mm."""
    points = sight.points[0]
    return points.norm(dim=-1).median().item() if len(points) else 1.0
