"""Rotations and rigid motions: exponentials, logarithms, products, and the motion between clouds.

Motions: target_from_source, a 4x4 matrix that multiplies column vectors; translation in mm.
Rotation vectors: axis times angle in radians. Quaternions: x y z w, written with w >= 0.
Twists: (translation, rotation), translation first, as in Sophus and lietorch; the translation of a
twist is what a screw would reach without turning, so it is the matrix's only where nothing turns.
Gradients hold everywhere but at a half turn, where the logarithm jumps. Small products are written
as sums, not with `@`, because autocast would round a product of matrices to 16 bits.
"""

from dataclasses import dataclass
from math import factorial

import torch
from torch import Tensor

from colondepth.errors import DataError, ShapeError
from colondepth.shapes import require_broadcast, require_finite, require_float, require_shapes

RIGID_TOLERANCE = 1e-3  # largest defect of R^T R - I: passes text with four digits, not a scale
LAST_ROW_TOLERANCE = 1e-6  # 0 0 0 1 is written, not computed: only float32 text may round it
LINE_TOLERANCE = 1e-6  # width over length under which a cloud is a line and may spin about itself
_SERIES_TERMS = 10  # 1 / (2 * 10 + 1)! is below the rounding of float64 for angles up to 1 rad
_SMALL_SINE2 = 1e-2  # sin^2 of half the angle under which the log takes its series, to 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class PointAlignment:
    """The motion found by `align_points`: scale first, then move.

    `target_from_source` is rigid, shape (*B, 4, 4); `scale` has shape (*B,) and is 1 where none
    was asked for.
    """

    target_from_source: Tensor
    scale: Tensor

    def apply(self, points_mm: Tensor) -> Tensor:
        """Move points of shape (*B, ..., 3) from the source onto the target."""
        free = points_mm.ndim - self.scale.ndim
        scale = self.scale.reshape(*self.scale.shape, *[1] * free)  # (*B, 1, ..., 1)
        return transform(self.target_from_source, scale * points_mm)


def so3_exp(rotation_vector: Tensor) -> Tensor:
    """Return the rotation by |v| radians about v, shape (*B, 3) -> (*B, 3, 3)."""
    require_shapes(rotation_vector=(rotation_vector, "*B 3"))
    require_float(rotation_vector=rotation_vector)
    x, y, z = rotation_vector.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1)  # (*B, 9)
    skew = skew.reshape(*x.shape, 3, 3)
    outer = rotation_vector[..., :, None] * rotation_vector[..., None, :]  # (*B, 3, 3)
    theta2 = rotation_vector.square().sum(dim=-1)[..., None, None]  # (*B, 1, 1)
    c1, c2, _, _ = _stumpff(theta2)
    unit = torch.eye(3, dtype=x.dtype, device=x.device)
    return unit + c1 * skew + c2 * (outer - theta2 * unit)  # Rodrigues; skew^2 = outer - theta^2 I


def so3_log(rotation: Tensor) -> Tensor:
    """Return the rotation vector, angle in [0, pi], shape (*B, 3, 3) -> (*B, 3).

    The matrix is trusted to be a rotation; of a half turn, either of its two vectors is returned.
    """
    quaternion = quaternion_from_rotation(rotation)  # (*B, 4)
    v, w = quaternion[..., :3], quaternion[..., 3:]  # sine and cosine of half the angle
    sine2 = v.square().sum(dim=-1, keepdim=True)  # (*B, 1)
    small = sine2 < _SMALL_SINE2
    # Swap before the root and the division: w is 0 at a half turn, the sine at the identity.
    cosine = torch.where(small, w, 1.0)
    slope2 = sine2 / cosine.square()  # tan^2 of half the angle, or at most 1 where not wanted
    near = torch.zeros_like(slope2)
    for k in reversed(range(_SERIES_TERMS)):
        near = 1 / (2 * k + 1) - slope2 * near  # atan(s) / s = 1 - s^2 / 3 + s^4 / 5 - ...
    sine = torch.where(small, 1.0, sine2).sqrt()
    half_over_sine = torch.where(small, near / cosine, torch.atan2(sine, w) / sine)
    return 2 * half_over_sine * v


def se3_exp(twist: Tensor) -> Tensor:
    """Return the screw motion of a twist (translation, rotation), (*B, 6) -> (*B, 4, 4)."""
    require_shapes(twist=(twist, "*B 6"))
    require_float(twist=twist)
    along, turn = twist[..., :3], twist[..., 3:]
    _, c2, c3, _ = _stumpff(turn.square().sum(dim=-1, keepdim=True))
    once = torch.linalg.cross(turn, along, dim=-1)  # (*B, 3)
    twice = torch.linalg.cross(turn, once, dim=-1)  # (*B, 3)
    return rigid_motion(so3_exp(turn), along + c2 * once + c3 * twice)


def se3_log(target_from_source: Tensor) -> Tensor:
    """Return the twist (translation, rotation) of a rigid motion, (*B, 4, 4) -> (*B, 6)."""
    require_shapes(target_from_source=(target_from_source, "*B 4 4"))
    turn = so3_log(target_from_source[..., :3, :3])  # (*B, 3)
    translation = target_from_source[..., :3, 3]
    _, c2, c3, c4 = _stumpff(turn.square().sum(dim=-1, keepdim=True))
    once = torch.linalg.cross(turn, translation, dim=-1)  # (*B, 3)
    twice = torch.linalg.cross(turn, once, dim=-1)  # (*B, 3)
    # (1 - (t/2) cot(t/2)) / t^2, without its 0/0 at t = 0 and finite up to t = 2 pi
    coefficient = (c3 - 2 * c4) / (2 * c2)
    return torch.cat([translation - once / 2 + coefficient * twice, turn], dim=-1)


def rigid_motion(rotation: Tensor, translation_mm: Tensor) -> Tensor:
    """Put a rotation (*B, 3, 3) and a translation (*B, 3) into one matrix (*B, 4, 4)."""
    require_shapes(rotation=(rotation, "*B 3 3"), translation_mm=(translation_mm, "*B 3"))
    batch = require_broadcast(rotation=rotation.shape[:-2], translation=translation_mm.shape[:-1])
    column = translation_mm[..., None].expand(*batch, 3, 1)
    top = torch.cat([rotation.expand(*batch, 3, 3), column], dim=-1)  # (*B, 3, 4)
    bottom = top.new_tensor([0, 0, 0, 1]).expand(*batch, 1, 4)
    return torch.cat([top, bottom], dim=-2)


def inverse(target_from_source: Tensor) -> Tensor:
    """Return source_from_target, by transposing; the matrix is trusted to be rigid."""
    require_shapes(target_from_source=(target_from_source, "*B 4 4"))
    back = target_from_source[..., :3, :3].mT  # (*B, 3, 3)
    return rigid_motion(back, -_product(back, target_from_source[..., :3, 3:])[..., 0])


def nearest_rigid(matrix: Tensor) -> Tensor:
    """Return the rigid motion nearest to a matrix that is almost one, (*B, 4, 4).

    Products of many motions drift from the rigid ones, and `inverse`, which transposes, then
    doubles what is wrong at every turn: take what was multiplied up through here now and then.
    """
    require_shapes(matrix=(matrix, "*B 4 4"))
    u, _, v = torch.linalg.svd(matrix[..., :3, :3])
    rotation = _product(u, v)
    turned = torch.linalg.det(rotation)[..., None, None]  # -1 for a mirror, which is none
    last = torch.cat([u[..., :2], u[..., 2:] * turned], dim=-1)
    return rigid_motion(_product(last, v), matrix[..., :3, 3])


def relative(world_from_target: Tensor, world_from_source: Tensor) -> Tensor:
    """Return target_from_source of two cameras that live in one world, (*B, 4, 4)."""
    pattern = "*B 4 4"
    require_shapes(
        world_from_target=(world_from_target, pattern),
        world_from_source=(world_from_source, pattern),
    )
    return _product(inverse(world_from_target), world_from_source)


def interpolate(start: Tensor, end: Tensor, fraction: Tensor | float) -> Tensor:
    """Go part of the way between two world_from_camera, on SO(3) x R^3.

    The centre moves on a straight line and the camera turns about one axis, both at constant
    speed. The screw between the two (the geodesic of SE(3)) would swing the centre out on a helix,
    through the wall of a narrow tube.

    Args:
        start: rigid, shape (*B, 4, 4).
        end: rigid, shape (*B, 4, 4), less than half a turn from `start`.
        fraction: 0 is `start`, 1 is `end`, beyond them the motion goes on; a number or (*B,).
    """
    require_shapes(start=(start, "*B 4 4"), end=(end, "*B 4 4"))
    part = torch.as_tensor(fraction, dtype=start.dtype, device=start.device)  # (*B,)
    batch = require_broadcast(
        start=start.shape[:-2], end=end.shape[:-2], fraction=tuple(part.shape)
    )
    part = part.expand(batch)[..., None]  # (*B, 1)
    turn = so3_log(_product(start[..., :3, :3].mT, end[..., :3, :3]))  # (*B, 3)
    rotation = _product(start[..., :3, :3], so3_exp(part * turn))  # (*B, 3, 3)
    return rigid_motion(rotation, (1 - part) * start[..., :3, 3] + part * end[..., :3, 3])


def quaternion_from_rotation(rotation: Tensor) -> Tensor:
    """Return the unit quaternion x y z w with w >= 0, shape (*B, 3, 3) -> (*B, 4)."""
    require_shapes(rotation=(rotation, "*B 3 3"))
    require_float(rotation=rotation)
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    fourfold = torch.stack(  # 4 q q^T for a rotation: every row is a multiple of q
        [
            *(1 + a - e - i, b + d, c + g, h - f),
            *(b + d, 1 - a + e - i, f + h, c - g),
            *(c + g, f + h, 1 - a - e + i, d - b),
            *(h - f, c - g, d - b, 1 + a + e + i),
        ],
        dim=-1,
    ).reshape(*a.shape, 4, 4)
    best = fourfold.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)[..., None, None]  # (*B, 1, 1)
    row = fourfold.gather(-2, best.expand(*best.shape[:-1], 4))  # (*B, 1, 4), length 2 or more
    # One power iteration: to first order the result, and so its gradient, is then the dominant
    # eigenvector's, whichever row it began with. The rows alone disagree off the group.
    quaternion = (fourfold * row).sum(dim=-1)  # (*B, 4)
    quaternion = quaternion / torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """Return the rotation of a quaternion x y z w of any length but 0, (*B, 4) -> (*B, 3, 3)."""
    require_shapes(quaternion=(quaternion, "*B 4"))
    require_float(quaternion=quaternion)
    require_finite(quaternion=quaternion)
    length = torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)  # (*B, 1)
    if bool((length == 0).any()):
        where = _first("quaternion", length[..., 0] == 0)
        raise DataError(f"{where} is 0 0 0 0, expected x y z w of a rotation; none is 0 0 0 1")
    x, y, z, w = (quaternion / length).unbind(-1)
    entries = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        *(2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        *(2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(entries, dim=-1).reshape(*x.shape, 3, 3)


def transform(target_from_source: Tensor, points_mm: Tensor) -> Tensor:
    """Move points into another frame.

    Args:
        target_from_source: rigid, shape (*B, 4, 4).
        points_mm: shape (*B, ..., 3); the batch axes lead, so that a batch of motions (B, 4, 4)
            takes (B, N, 3) as well as (B, H, W, 3).
    """
    require_shapes(target_from_source=(target_from_source, "*B 4 4"))
    require_shapes(points_mm=(points_mm, "*B 3"))
    batch = target_from_source.shape[:-2]
    free = points_mm.ndim - 1 - len(batch)
    if free < 0:
        raise ShapeError(
            f"points_mm has shape {tuple(points_mm.shape)}, expected the batch axes {tuple(batch)}"
            " of target_from_source first; add axes of size 1 to move the same points by each"
        )
    require_broadcast(target_from_source=batch, points_mm=points_mm.shape[: len(batch)])
    matrix = target_from_source.reshape(*batch, *[1] * free, 4, 4)
    x, y, z = points_mm[..., 0:1], points_mm[..., 1:2], points_mm[..., 2:3]  # (*B, ..., 1)
    a, b, c, d = (matrix[..., :3, k] for k in range(4))  # columns, (*B, ..., 3) each
    return x * a + y * b + z * c + d


def align_points(source: Tensor, target: Tensor, *, with_scale: bool) -> PointAlignment:
    """Find the motion that takes source onto target with the least squared error (Umeyama 1991).

    "Least-squares estimation of transformation parameters between two point patterns", TPAMI 13(4).
    The rotation is proper, also for clouds that are each other's mirror image. Gradients are those
    of the singular value decomposition and are no good for symmetric clouds.

    Args:
        source: shape (*B, N, 3), three points or more that do not lie on one line.
        target: shape (*B, N, 3), point by point the partner of `source`.
        with_scale: whether `source` may be scaled as well.
    """
    size = require_shapes(source=(source, "*B N 3"), target=(target, "*B N 3"))
    require_float(source=source, target=target)
    require_finite(source=source, target=target)
    if size["N"] < 3:
        raise DataError(f"{size['N']} points cannot be aligned: a rotation needs 3, not on a line")
    source_centre, target_centre = source.mean(dim=-2), target.mean(dim=-2)  # (*B, 3)
    x, y = source - source_centre[..., None, :], target - target_centre[..., None, :]
    _require_spread("source", x, source)
    _require_spread("target", y, target)
    covariance = (y[..., :, None] * x[..., None, :]).mean(dim=-3)  # (*B, 3, 3), Eq. 38
    u, singular, vh = torch.linalg.svd(covariance)
    lost = singular[..., 1] <= LINE_TOLERANCE**2 * singular[..., 0]
    if bool(lost.any()):
        where = _first("source and target", lost)
        raise DataError(f"{where} share no plane of motion; any rotation fits: check the pairing")
    mirror = torch.ones_like(singular)  # (*B, 3)
    mirror[..., 2] = (torch.linalg.det(u) * torch.linalg.det(vh)).sign()  # Eq. 39 and 43
    rotation = _product(u * mirror[..., None, :], vh)  # Eq. 40
    scale = torch.ones_like(singular[..., 0])  # (*B,)
    if with_scale:
        variance = x.square().sum(dim=-1).mean(dim=-1)  # (*B,), Eq. 36
        scale = (singular * mirror).sum(dim=-1) / variance  # Eq. 42
    moved = _product(rotation, (scale[..., None] * source_centre)[..., None])[..., 0]  # (*B, 3)
    return PointAlignment(rigid_motion(rotation, target_centre - moved), scale)  # Eq. 41


def require_rigid(**matrices: Tensor) -> None:
    """Check that matrices (*B, 4, 4) are right-handed rigid motions; the first bad one is named."""
    for name, matrix in matrices.items():
        if isinstance(matrix, Tensor) and matrix.shape[-2:] == (3, 4):
            raise ShapeError(
                f"{name} has shape {tuple(matrix.shape)}, expected (*B 4 4): append 0 0 0 1"
            )
        require_shapes(**{name: (matrix, "*B 4 4")})
        require_float(**{name: matrix})
        last, defect, determinant = _defects(matrix.detach())
        rigid = (last <= LAST_ROW_TOLERANCE) & (defect <= RIGID_TOLERANCE) & (determinant > 0)
        rigid &= matrix.detach().isfinite().all(dim=-1).all(dim=-1)
        if not bool(rigid.all()):
            index = tuple((~rigid).nonzero()[0].tolist())
            raise DataError(f"{_first(name, ~rigid)} {_fault(matrix.detach()[index])}")


def _defects(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    rotation = matrix[..., :3, :3]
    row = matrix.new_tensor([0, 0, 0, 1])
    last = (matrix[..., 3, :] - row).abs().amax(dim=-1)  # (*B,)
    unit = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    defect = (_product(rotation.mT, rotation) - unit).abs().amax(dim=(-2, -1))  # (*B,)
    x, y, z = rotation.unbind(-1)
    return last, defect, (torch.linalg.cross(x, y, dim=-1) * z).sum(dim=-1)


def _fault(matrix: Tensor) -> str:
    """Say what keeps one matrix (4, 4) from being rigid, and the cure if it is known."""
    if not bool(matrix.isfinite().all()):
        return "holds NaN or infinity, expected a rigid motion"
    last, defect, _ = (float(value) for value in _defects(matrix))
    if last > LAST_ROW_TOLERANCE:
        found = " ".join(f"{value:g}" for value in matrix[3].tolist())
        sideways = float(_defects(matrix.mT)[0]) <= LAST_ROW_TOLERANCE
        cure = "; the translation sits in the last row: transpose the matrix" if sideways else ""
        return f"ends in the row {found}, expected 0 0 0 1{cure}"
    if defect > RIGID_TOLERANCE:
        lengths = matrix[:3, :3].norm(dim=0)  # (3,)
        even = float(lengths.max() - lengths.min()) <= RIGID_TOLERANCE * float(lengths.max())
        scaled = even and float(lengths.min()) > 0 and abs(float(lengths.mean()) - 1) > 1e-4
        straight = scaled and float(_defects(matrix / lengths.mean())[1]) <= RIGID_TOLERANCE
        cure = f"; it is scaled by {lengths.mean():.6g}: divide it out" if straight else ""
        return (
            f"is no rotation: R^T R is off the identity by {defect:.3g},"
            f" expected at most {RIGID_TOLERANCE:g}{cure}"
        )
    return (
        "is left-handed (determinant -1), expected a rotation (+1); an axis was flipped on one"
        " side only: flip it on both, D @ M @ D with D = diag(1, -1, 1, 1)"
    )


def _require_spread(name: str, centred: Tensor, points: Tensor) -> None:
    """Refuse clouds (*B, N, 3) that are one point or one line: a rotation about it is free."""
    extent = torch.linalg.svdvals(centred.detach())  # (*B, 3)
    count = points.shape[-2]
    largest = points.detach().abs().amax(dim=(-2, -1))  # (*B,)
    rounding = 4 * torch.finfo(points.dtype).eps * largest * count**0.5
    for axis, shape in ((0, "coincide"), (1, "lie on one line")):
        flat = extent[..., axis] <= (LINE_TOLERANCE * extent[..., 0] * axis).maximum(rounding)
        if bool(flat.any()):
            where = _first(name, flat)
            raise DataError(f"the {count} points of {where} {shape}; a rotation about them is free")


def _first(name: str, bad: Tensor) -> str:
    """Name the first True of `bad` (*B): "name" without batch axes, else "name[3]"."""
    return name + "".join(f"[{i}]" for i in bad.nonzero()[0].tolist())


def _product(left: Tensor, right: Tensor) -> Tensor:
    return (left[..., :, :, None] * right[..., None, :, :]).sum(dim=-2)


def _stumpff(theta2: Tensor) -> list[Tensor]:
    """Return c_1 to c_4 of theta^2, where c_n(x) = sum over k of (-x)^k / (2k + n)!.

    c_1 = sin t / t, c_2 = (1 - cos t) / t^2, and c_(n+2) = (1 / n! - c_n) / t^2, which cancels for
    small t: there the series is used.
    """
    small = theta2 < 1
    # Swap before the root and the division: the gradient remembers the branch not taken.
    near, far = torch.where(small, theta2, 0.0), torch.where(small, 1.0, theta2)
    theta = far.sqrt()
    c1, c2 = theta.sin() / theta, (1 - theta.cos()) / far
    closed = [c1, c2, (1 - c1) / far, (0.5 - c2) / far]
    chosen = []
    for n, value in enumerate(closed, start=1):
        series = torch.zeros_like(near)
        for k in reversed(range(_SERIES_TERMS)):
            series = 1 / factorial(2 * k + n) - near * series
        chosen.append(torch.where(small, series, value))
    return chosen
