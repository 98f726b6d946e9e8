"""Inverses without a formula: roots of increasing functions, with right gradients.

A root is found without recording the search; one last Newton step is then taken in the open, from
the root itself. Its value is the root again, and its derivative is that of the implicit function,
dx = -(df/dx)^-1 df, so gradients reach the target and every parameter inside the function.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Value and slope of a function, both elementwise.
Increasing = Callable[[Tensor], tuple[Tensor, Tensor]]

_MAX_STEPS = 60  # bisection alone gains a bit a step: 60 exhaust a float64; Newton needs 4 to 6
_SAMPLES = 512  # places where a slope is looked at to find the end of the increasing stretch


def solve_increasing(function: Increasing, target: Tensor, start: Tensor, upper: Tensor) -> Tensor:
    """Return t in [0, upper] with function(t) = target, by Newton steps kept inside a bracket.

    Args:
        function: gives value and slope; increasing on [0, upper], below `target` at 0.
        target: the value to reach; at most function(upper), or the answer is `upper`.
        start: a first guess, clamped into the bracket.
        upper: end of the stretch on which the function increases, broadcast with `target`.
    """
    with torch.no_grad():
        low, high = torch.zeros_like(target), upper.expand_as(target).clone()
        root = torch.minimum(start.expand_as(target), high)
        tolerance = 4 * torch.finfo(target.dtype).eps
        for _ in range(_MAX_STEPS):
            value, slope = function(root)
            error = value - target
            high = torch.where(error > 0, root, high)
            low = torch.where(error > 0, low, root)
            step = error / torch.where(slope > 0, slope, torch.ones_like(slope))
            newton = root - step
            trusted = (slope > 0) & (newton >= low) & (newton <= high)
            following = torch.where(trusted, newton, (low + high) / 2)
            moved = (following - root).abs() > tolerance * (1 + following.abs())
            root = following
            if not bool(moved.any()):
                break
    return _open_step(function, target, root)


# The Jacobian [[a, b], [c, d]] of a map of the plane, as four tensors: stacking them into one
# matrix cost a quarter of the time.
Jacobian = tuple[Tensor, Tensor, Tensor, Tensor]


def solve_on_plane(
    function: Callable[[Tensor], tuple[Tensor, Jacobian]], target: Tensor, start: Tensor
) -> Tensor:
    """Return the point p with function(p) = target by Newton steps in two dimensions.

    Args:
        function: (..., 2) -> value (..., 2) and its Jacobian.
        target: where to arrive, shape (..., 2).
        start: a guess near enough for Newton's method, shape (..., 2).
    """
    with torch.no_grad():
        root = start.clone()
        tolerance = 4 * torch.finfo(target.dtype).eps
        for _ in range(_MAX_STEPS // 4):
            value, jacobian = function(root)
            step = solve_2x2(jacobian, value - target)
            root = root - step
            if not bool((step.abs() > tolerance * (1 + root.abs())).any()):
                break
    value, jacobian = function(root.detach())
    a, b, c, d = (slope.detach() for slope in jacobian)
    return root.detach() - solve_2x2((a, b, c, d), value - target)


def solve_2x2(jacobian: Jacobian, right: Tensor) -> Tensor:
    """Return x (..., 2) with [[a, b], [c, d]] x = right, by Cramer's rule; 0 / 1 where singular.

    torch.linalg.solve factorises a million tiny systems one by one, and has no 16-bit form.
    """
    a, b, c, d = jacobian
    x, y = right.unbind(dim=-1)
    determinant = a * d - b * c
    safe = torch.where(determinant.abs() > 0, determinant, torch.ones_like(determinant))
    return torch.stack([(d * x - b * y) / safe, (a * y - c * x) / safe], dim=-1)


def increasing_until(slope: Callable[[Tensor], Tensor], stop: Tensor) -> Tensor:
    """Return the end of the stretch [0, end] on which `slope` stays positive, at most `stop`.

    The end is rounded down to one of 512 equal steps. `stop` has shape (*B,), and so has the end.
    """
    with torch.no_grad():
        steps = torch.linspace(0, 1, _SAMPLES, dtype=stop.dtype, device=stop.device)
        places = stop[..., None] * steps  # (*B, S)
        rising = (slope(places) > 0).to(torch.int64).cumprod(dim=-1)  # 1 up to the first failure
        last = (rising.sum(dim=-1) - 1).clamp(min=0)
        return places.gather(-1, last[..., None])[..., 0]


def _open_step(function: Increasing, target: Tensor, root: Tensor) -> Tensor:
    value, slope = function(root.detach())
    slope = slope.detach()
    return root.detach() - (value - target) / torch.where(slope > 0, slope, torch.ones_like(slope))
