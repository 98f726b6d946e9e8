"""The line through the colon, its frame, and coordinates along it."""

import math

import pytest
import torch
from torch.testing import assert_close

from colondepth.centre_line import CentreLine, centre_line, sharpest_bends


def bent(length_mm: float = 640.0) -> CentreLine:
    t = torch.arange(9, dtype=torch.float64)
    controls = torch.stack([(t / 1.7).sin(), (t / 2.1).cos(), 0.6 * t], dim=-1)
    return centre_line(controls, length_mm=length_mm)


def test_nodes_are_a_millimetre_apart_along_the_line():
    steps = bent().nodes[:, :3].double().diff(dim=0).norm(dim=-1)
    assert_close(steps, torch.ones_like(steps), atol=2e-4, rtol=0)


def test_tangent_and_bend_are_the_derivatives_of_the_place():
    line = bent()
    arc = torch.linspace(20.2, 600.4, 40)
    step = 0.2
    before, here, after = (line.at(arc + k * step)[0].double() for k in (-1, 0, 1))
    tangent = (after - before) / (2 * step)
    assert_close(line.at(arc)[1][..., 2].double(), tangent, atol=2e-3, rtol=0)
    bend = (after - 2 * here + before).norm(dim=-1) / step**2
    node = arc.round().long()
    assert_close(bend, line.nodes[node, 6:9].double().norm(dim=-1), atol=4e-3, rtol=0)


def test_the_frame_is_orthonormal_right_handed_and_does_not_twist():
    line = bent()
    arc = torch.arange(1.0, 638.0)
    frame = line.at(arc)[1].double()
    unit = torch.eye(3, dtype=torch.float64)
    assert_close(frame.mT @ frame, unit.expand_as(frame), atol=1e-6, rtol=0)
    assert_close(torch.linalg.det(frame), torch.ones(len(arc)).double(), atol=1e-6, rtol=0)
    # A frame that does not twist turns about an axis across the tangent only.
    u, v = frame[..., 0], frame[..., 1]
    twist = ((u[1:] - u[:-1]) * (v[1:] + v[:-1]) / 2).sum(dim=-1)
    assert twist.abs().max() < 1e-5


def test_a_circle_has_its_own_radius():
    t = torch.linspace(0, 1.5 * math.pi, 40, dtype=torch.float64)
    circle = torch.stack([50 * t.cos(), 50 * t.sin(), 0 * t], dim=-1)
    line = centre_line(circle, length_mm=50 * 1.5 * math.pi)
    inner = line.bend_radius_mm()[20:-20]
    assert_close(inner, torch.full_like(inner, 50.0), rtol=4e-3, atol=0)
    bends = sharpest_bends(circle, length_mm=50 * 1.5 * math.pi)[4:-4]
    assert_close(bends, torch.full_like(bends, 50.0), rtol=4e-3, atol=0)


def test_the_nearest_place_of_a_point_beside_the_line_is_where_it_was_put():
    line = bent()
    arc = torch.linspace(15.3, 620.8, 33)
    angle = torch.linspace(0, 6, 33)
    points = line.point(arc, angle, torch.full_like(arc, 12.0))
    assert_close(line.nearest(points), arc, atol=2e-3, rtol=0)


def test_a_line_of_too_few_nodes_is_refused():
    with pytest.raises(ValueError, match="expected 4 or more"):
        CentreLine(torch.zeros(3, 12))
