"""Tubes of triangles, straight or bent, whole or with pieces taken out, for tests of coverage."""

import math

import torch

from colondepth.reconstruction.surface import Surface

RADIUS_MM = 18.0


def tube(*, length=140.0, bend_mm=None, step=1.0, around=112):
    """Return a tube along z, or along an arc of the radius `bend_mm` in the xz plane.

    Triangles are counter-clockwise as seen from inside; `seen` is 5 everywhere.

    Returns:
        The surface, and arc length and angle of the middle of every triangle.
    """
    arc = torch.arange(0, length + step / 2, step, dtype=torch.float64)
    angle = torch.arange(around, dtype=torch.float64) * (2 * math.pi / around)
    s, a = torch.meshgrid(arc, angle, indexing="ij")
    x, y = RADIUS_MM * a.cos(), RADIUS_MM * a.sin()
    if bend_mm is None:
        points = torch.stack([x, y, s], dim=-1)
    else:
        turn = s / bend_mm
        points = torch.stack(
            [bend_mm - (bend_mm - x) * turn.cos(), y, (bend_mm - x) * turn.sin()], dim=-1
        )
    rows, columns = len(arc), around
    i, j = torch.meshgrid(torch.arange(rows - 1), torch.arange(columns), indexing="ij")
    p, q = i * columns + j, i * columns + (j + 1) % columns
    r, t = p + columns, q + columns
    faces = torch.cat([torch.stack([p, r, q], -1), torch.stack([q, r, t], -1)]).reshape(-1, 3)
    own = (s.reshape(-1)[faces]).mean(dim=1)
    turns = (i.new_tensor(0) + j).reshape(-1).double() + 0.5
    middle = torch.cat([turns, turns]) * (2 * math.pi / around)
    order = torch.cat([torch.arange(len(turns)), torch.arange(len(turns))])
    assert len(order) == len(faces)
    surface = Surface(
        vertices_mm=points.reshape(-1, 3).float(),
        faces=faces,
        std_mm=torch.full((rows * columns,), 0.5),
        seen=torch.full((rows * columns,), 5, dtype=torch.int64),
    )
    return surface, own, middle


def axis(arc, bend_mm=None):
    """Return the places (T, 3) on the middle of the tube at arc lengths (T,)."""
    arc = torch.as_tensor(arc, dtype=torch.float64)
    if bend_mm is None:
        return torch.stack([0 * arc, 0 * arc, arc], dim=-1)
    turn = arc / bend_mm
    return torch.stack([bend_mm * (1 - turn.cos()), 0 * arc, bend_mm * turn.sin()], dim=-1)
