import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from colondepth.errors import DataError, ShapeError
from colondepth.motion import (
    align_points,
    interpolate,
    inverse,
    nearest_rigid,
    quaternion_from_rotation,
    relative,
    require_rigid,
    rigid_motion,
    rotation_from_quaternion,
    se3_exp,
    se3_log,
    so3_exp,
    so3_log,
    transform,
)

ANGLES_RAD = [0.0, 1e-9, 1e-4, 0.2003, 1.3, 2 * math.pi / 3, math.pi - 1e-4, math.pi - 1e-6]
AXES = torch.tensor(
    # One axis each way, the axis on which all four quaternion branches meet, and a crooked one.
    [[0, 0, 1], [0, -1, 0], [1, 1, 1], [0.2, -0.7, 0.4]],
    dtype=torch.float64,
)
AXES = AXES / AXES.norm(dim=-1, keepdim=True)
ALONG_MM = torch.tensor(
    [[3.0, -1, 20], [0, 0, 0], [-7, 2.5, 1], [40, 30, -11]], dtype=torch.float64
)

numbers = st.floats(-50, 50)
triples = st.tuples(numbers, numbers, numbers)


@st.composite
def rotation_vectors(draw: st.DrawFn) -> Tensor:
    axis = torch.tensor(draw(triples.filter(lambda v: sum(map(abs, v)) > 1e-3)), dtype=torch.double)
    return torch.nn.functional.normalize(axis, dim=-1) * draw(st.floats(0, math.pi - 1e-6))


@st.composite
def twists(draw: st.DrawFn) -> Tensor:
    return torch.cat([torch.tensor(draw(triples), dtype=torch.double), draw(rotation_vectors())])


def same(actual: Tensor, expected: Tensor, atol: float = 1e-10) -> None:
    assert_close(actual, expected, atol=atol, rtol=0)


def hat(twist: Tensor) -> np.ndarray:
    (p, q, r), (x, y, z) = twist[:3].tolist(), twist[3:].tolist()
    return np.array([[0, -z, y, p], [z, 0, -x, q], [-y, x, 0, r], [0, 0, 0, 0]])


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    turn = so3_exp(torch.tensor([0, 0, math.pi / 2], dtype=torch.double))
    same(turn, torch.tensor([[0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.double))


def test_a_screw_about_z_rises_by_its_pitch_and_circles_its_axis() -> None:
    # Half a turn about the line x = 2, y = 0 while rising 5: v = rise - turn x (a point on it).
    twist = torch.tensor([0, -2 * math.pi, 5, 0, 0, math.pi], dtype=torch.double)
    start = torch.tensor([3.0, 1, 7], dtype=torch.double)
    same(transform(se3_exp(twist), start), torch.tensor([1.0, -1, 12], dtype=torch.double))


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_exp_agrees_with_scipy(angle_rad: float) -> None:
    vectors = AXES * angle_rad
    same(so3_exp(vectors), torch.from_numpy(Rotation.from_rotvec(vectors.numpy()).as_matrix()))
    twist = torch.cat([ALONG_MM, vectors], dim=-1)
    series = np.stack([expm(hat(one)) for one in twist])
    same(se3_exp(twist), torch.from_numpy(series))


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_exp_and_log_have_the_right_gradients(angle_rad: float) -> None:
    vector = (AXES[2:] * angle_rad).requires_grad_()
    twist = torch.cat([ALONG_MM, AXES * angle_rad], dim=-1)[2:].requires_grad_()
    rotation = so3_exp(vector).detach().requires_grad_()
    motion = se3_exp(twist).detach().requires_grad_()
    for function, at in (
        (so3_exp, vector),
        (so3_log, rotation),
        (lambda v: so3_log(so3_exp(v)), vector),
        (se3_exp, twist),
        (se3_log, motion),
        (lambda v: se3_log(se3_exp(v)), twist),
        (quaternion_from_rotation, rotation),
    ):
        assert gradcheck(function, (at,), eps=1e-7, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_the_derivative_of_log_after_exp_is_the_identity(angle_rad: float) -> None:
    twist = torch.tensor([3.0, -1, 20, *(AXES[3] * angle_rad)], dtype=torch.double)
    slope = torch.autograd.functional.jacobian(lambda v: se3_log(se3_exp(v)), twist)
    same(slope, torch.eye(6, dtype=torch.double))


@pytest.mark.parametrize("angle_rad", ANGLES_RAD)
def test_single_precision_round_trips_to_single_precision(angle_rad: float) -> None:
    twist = torch.cat([ALONG_MM / 40, AXES * angle_rad], dim=-1).float()
    motion = se3_exp(twist)
    assert motion.dtype == torch.float32
    same(motion, se3_exp(twist.double()).float(), atol=1e-6)
    if angle_rad < 3:
        same(se3_log(motion), twist, atol=1e-5)
    same(se3_exp(se3_log(motion)), motion, atol=1e-5)


@given(vector=rotation_vectors())
def test_the_log_of_an_exp_is_where_it_began(vector: Tensor) -> None:
    same(so3_log(so3_exp(vector)), vector)


@given(twist=twists())
def test_the_log_of_a_screw_is_where_it_began(twist: Tensor) -> None:
    same(se3_log(se3_exp(twist)), twist, atol=1e-9)


@pytest.mark.parametrize("axis", range(4))
def test_the_log_of_a_half_turn_is_one_of_its_two_vectors(axis: int) -> None:
    half = 2 * AXES[axis, :, None] * AXES[axis, None] - torch.eye(3, dtype=torch.double)
    vector = so3_log(half)
    same(vector.norm(), torch.tensor(math.pi, dtype=torch.double))
    same(vector.abs(), (AXES[axis] * math.pi).abs())


@given(twist=twists())
def test_the_exp_of_the_opposite_twist_is_the_inverse(twist: Tensor) -> None:
    same(se3_exp(-twist), inverse(se3_exp(twist)), atol=1e-9)


@given(one=twists(), other=twists())
def test_conjugating_a_screw_turns_and_moves_its_twist(one: Tensor, other: Tensor) -> None:
    # The adjoint in (translation, rotation) order: (v, w) -> (R v + t x R w, R w).
    motion = se3_exp(one)
    turn, shift = motion[:3, :3], motion[:3, 3]
    w = turn @ other[3:]
    v = turn @ other[:3] + torch.linalg.cross(shift, w)
    same(motion @ se3_exp(other) @ inverse(motion), se3_exp(torch.cat([v, w])), atol=1e-8)


def test_relative_takes_points_from_one_camera_to_the_other() -> None:
    cameras = se3_exp(torch.cat([ALONG_MM, AXES * 1.3], dim=-1))
    target_from_source = relative(cameras[:2], cameras[2:])
    same(target_from_source, torch.linalg.inv(cameras[:2]) @ cameras[2:])


def test_interpolation_begins_at_the_start_and_finishes_at_the_end() -> None:
    cameras = se3_exp(torch.cat([ALONG_MM, AXES * 1.3], dim=-1))
    same(interpolate(cameras[:2], cameras[2:], 0), cameras[:2])
    same(interpolate(cameras[:2], cameras[2:], 1), cameras[2:])


def test_interpolation_moves_straight_and_turns_at_constant_speed() -> None:
    start = se3_exp(torch.tensor([1.0, 2, 3, 0.3, 0, -0.2], dtype=torch.double))
    turn = so3_exp(torch.tensor([0.4, -1.0, 0.6], dtype=torch.double))
    end = rigid_motion(start[:3, :3] @ turn, start[:3, 3] + torch.tensor([9.0, -3, 6]))
    path = interpolate(start, end, torch.linspace(0, 1, 4, dtype=torch.double))
    thirds = torch.tensor([3.0, -1, 2], dtype=torch.double).expand(3, 3)
    same(path[:, :3, 3].diff(dim=0), thirds)
    turns = so3_log(relative(path[:-1], path[1:])[:, :3, :3])
    same(turns, torch.tensor([0.4, -1.0, 0.6], dtype=torch.double).expand(3, 3) / 3)


def test_quaternions_agree_with_scipy_in_order_and_sign() -> None:
    vectors = torch.cat([AXES * angle for angle in (0.0, 0.3, 2.0, 3.1)])
    expected = Rotation.from_rotvec(vectors.numpy()).as_quat(canonical=True)
    same(quaternion_from_rotation(so3_exp(vectors)), torch.from_numpy(expected))


def test_a_long_quaternion_is_the_rotation_of_its_direction() -> None:
    long = torch.tensor([[1.0, -2, 3, 4], [0, 0, 5, 0]], dtype=torch.double)
    expected = torch.from_numpy(Rotation.from_quat(long.numpy()).as_matrix())
    same(rotation_from_quaternion(long), expected)
    assert gradcheck(rotation_from_quaternion, (long.requires_grad_(),))


def test_a_zero_quaternion_is_refused_by_number() -> None:
    with pytest.raises(DataError, match=r"quaternion\[1\] is 0 0 0 0"):
        rotation_from_quaternion(torch.tensor([[0, 0, 0, 1.0], [0, 0, 0, 0]]))


@pytest.mark.parametrize("axes", [(), (5,), (4, 7)])
def test_a_batch_of_motions_moves_each_its_own_points(axes: tuple[int, ...]) -> None:
    motions = se3_exp(torch.cat([ALONG_MM, AXES * 1.3], dim=-1))
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(4, *axes, 3, generator=generator, dtype=torch.double)
    moved = transform(motions, points)
    assert moved.shape == points.shape
    for motion, before, after in zip(motions, points, moved, strict=True):
        ones = torch.ones(*axes, 1, dtype=torch.double)
        same(after, torch.cat([before, ones], dim=-1) @ motion.T[:, :3])


def test_one_motion_moves_points_of_any_shape_and_has_gradients() -> None:
    motion = se3_exp(torch.tensor([1.0, 2, 3, 0.4, -0.1, 0.7], dtype=torch.double))
    points = torch.arange(18, dtype=torch.double).reshape(2, 3, 3)
    expected = points @ motion[:3, :3].T + motion[:3, 3]
    same(transform(motion, points), expected)
    assert gradcheck(transform, (motion.requires_grad_(), points.requires_grad_()))


def test_points_with_fewer_axes_than_the_motions_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected the batch axes"):
        transform(torch.eye(4).expand(2, 4, 4), torch.zeros(3))


def test_autocast_does_not_round_motions_to_16_bits() -> None:
    twist = torch.cat([ALONG_MM, AXES * 1.3], dim=-1).float()
    motions = se3_exp(twist)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = relative(motions[:2], se3_exp(twist)[2:])
        points = transform(rounded, ALONG_MM[:2].float())
    same(rounded, relative(motions[:2], motions[2:]), atol=1e-6)
    same(points, transform(rounded, ALONG_MM[:2].float()), atol=1e-6)


def cloud(*shape: int, seed: int = 0) -> Tensor:
    spread = torch.tensor([9.0, 5, 2], dtype=torch.double)
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, 3, generator=generator, dtype=torch.double) * spread


@pytest.mark.parametrize("with_scale", [False, True])
def test_a_moved_cloud_is_found_again(with_scale: bool) -> None:
    truth = se3_exp(torch.cat([ALONG_MM, AXES * 2.2], dim=-1))
    scale = torch.tensor([0.3, 1.7, 25, 1], dtype=torch.double)
    scale = scale if with_scale else torch.ones_like(scale)
    source = cloud(4, 11)
    found = align_points(
        source, transform(truth, scale[:, None, None] * source), with_scale=with_scale
    )
    same(found.target_from_source, truth)
    same(found.scale, scale)
    same(found.apply(source), transform(truth, scale[:, None, None] * source))


def test_a_flat_cloud_is_found_again_without_a_mirror() -> None:
    flat = cloud(7) * torch.tensor([1.0, 1, 0])
    truth = se3_exp(torch.tensor([4.0, -2, 9, 0.5, 1.1, -0.8], dtype=torch.double))
    found = align_points(flat, transform(truth, flat), with_scale=True)
    same(found.target_from_source, truth)


@pytest.mark.parametrize("with_scale", [False, True])
def test_no_small_step_away_fits_a_mirrored_cloud_better(with_scale: bool) -> None:
    source = cloud(13)
    target = source * torch.tensor([-1.0, 1, 1]) + cloud(13, seed=1) / 10
    found = align_points(source, target, with_scale=with_scale)
    require_rigid(target_from_source=found.target_from_source)
    best = (found.apply(source) - target).square().sum()
    for step in torch.cat([torch.eye(6), -torch.eye(6)]).double() * 1e-3:
        nudged = transform(se3_exp(step), found.apply(source))
        assert (nudged - target).square().sum() > best
    for factor in (0.999, 1.001) if with_scale else ():
        centre = found.apply(source).mean(dim=0)
        swollen = centre + factor * (found.apply(source) - centre)
        assert (swollen - target).square().sum() > best


def test_a_noisy_alignment_agrees_with_scipy() -> None:
    source = cloud(20)
    truth = se3_exp(torch.tensor([4.0, -2, 9, 0.5, 1.1, -0.8], dtype=torch.double))
    target = transform(truth, source) + cloud(20, seed=1) / 20
    found = align_points(source, target, with_scale=False)
    x, y = (cloud_ - cloud_.mean(dim=0) for cloud_ in (source, target))
    expected, _ = Rotation.align_vectors(y.numpy(), x.numpy())
    same(found.target_from_source[:3, :3], torch.from_numpy(expected.as_matrix()), atol=1e-7)


# Off the origin, so that single precision rounds its points off the line.
LINE = torch.tensor([0.7, -0.3, 0.4]).double() * torch.arange(6)[:, None] + 700


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (cloud(2), cloud(2), "2 points cannot be aligned"),
        (LINE, cloud(6), "source lie on one line"),
        (LINE.float(), cloud(6).float(), "source lie on one line"),
        (cloud(6), LINE, "target lie on one line"),
        (torch.full((6, 3), 0.1), cloud(6).float(), "source coincide"),
        (torch.stack([cloud(6), LINE]), cloud(2, 6), r"source\[1\] lie on one line"),
        (cloud(6) / 0, cloud(6), "source has 18 of 18 values that are NaN"),
    ],
)
def test_clouds_that_leave_a_rotation_free_are_refused(
    source: Tensor, target: Tensor, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        align_points(source, target, with_scale=True)


def spoiled(**changes: float) -> Tensor:
    matrices = se3_exp(torch.cat([ALONG_MM, AXES * 1.3], dim=-1))
    for row_column, value in changes.items():
        matrices[2, int(row_column[1]), int(row_column[2])] = value
    return matrices


def with_third(matrix: Tensor) -> Tensor:
    matrices = spoiled()
    matrices[2] = matrix
    return matrices


FLIP = torch.diag(torch.tensor([1, -1, 1, 1], dtype=torch.double))
STRETCH = torch.diag(torch.tensor([2.5, 2.5, 2.5, 1], dtype=torch.double))


@pytest.mark.parametrize(
    ("matrices", "words"),
    [
        (spoiled(m01=math.nan), r"m\[2\] holds NaN or infinity"),
        (spoiled(m33=2.0), r"m\[2\] ends in the row 0 0 0 2, expected 0 0 0 1$"),
        (
            with_third(spoiled()[2].T),
            r"m\[2\] ends in the row -5.97.* 1, expected 0 0 0 1; .*: transpose",
        ),
        (spoiled(m11=7.0), r"m\[2\] is no rotation: R\^T R is off the identity by"),
        (with_third(spoiled()[2] @ STRETCH), "scaled by 2.5: divide it out"),
        (with_third(spoiled()[2] @ FLIP), r"m\[2\] is left-handed \(determinant -1\)"),
        (torch.zeros(4, 4), "m ends in the row 0 0 0 0"),
    ],
)
def test_what_is_not_rigid_is_named_with_its_cure(matrices: Tensor, words: str) -> None:
    with pytest.raises(DataError, match=words):
        require_rigid(m=matrices)


def test_a_matrix_of_three_rows_is_refused_with_its_cure() -> None:
    with pytest.raises(ShapeError, match=r"m has shape \(5, 3, 4\).*append 0 0 0 1"):
        require_rigid(m=torch.zeros(5, 3, 4))


def test_rigid_motions_pass_the_check_in_both_precisions() -> None:
    require_rigid(double=spoiled(), single=spoiled().float(), alone=spoiled()[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_the_accelerator_finds_what_the_processor_finds() -> None:
    twist = torch.cat([ALONG_MM, AXES * 1.3], dim=-1)
    there = se3_exp(twist.cuda())
    same(there.cpu(), se3_exp(twist))
    same(se3_log(there).cpu(), twist)
    source = cloud(4, 11).cuda()
    same(align_points(source, transform(there, source), with_scale=True).target_from_source, there)


def test_what_drifted_from_the_rigid_motions_is_brought_back_to_the_nearest():
    motions = se3_exp(torch.tensor([[1.0, -2, 3, 0.4, -0.2, 0.9], [0, 5, 1, -1, 2, 0.3]]).double())
    bent = motions.clone()
    bent[..., :3, :3] *= 1.001
    assert_close(nearest_rigid(bent), motions, atol=1e-12, rtol=0)
    dice = torch.Generator().manual_seed(0)
    bent[..., :3, :3] += 1e-3 * torch.randn(2, 3, 3, generator=dice, dtype=torch.float64)
    mended = nearest_rigid(bent)
    require_rigid(mended=mended)
    away = (mended - bent)[..., :3, :3].norm(dim=(-2, -1))
    assert (away <= (motions - bent)[..., :3, :3].norm(dim=(-2, -1))).all()
    assert_close(mended[..., :3, 3], bent[..., :3, 3])


def test_the_nearest_of_a_mirror_is_a_rotation_still():
    mirror = torch.diag(torch.tensor([1.0, 1, -1, 1]).double())
    assert_close(torch.linalg.det(nearest_rigid(mirror)[:3, :3]).item(), 1.0)
