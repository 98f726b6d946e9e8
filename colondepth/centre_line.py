"""The line through the middle of a colon, and a frame that travels along it without twisting.

World: right-handed, millimetres. Arc length s runs from the first node (in a drawn colon from the
rectum to the caecum). At every node, `NODE_STEP_MM` apart, the line has a place P, a unit tangent
T, a curvature vector K and a rotation-minimising normal U (Wang, Juttler, Zheng and Liu 2008).
Between nodes it is its own second order: c(s) = P + d T + d^2 K / 2 with d = s - s_node, at most
half a step. What that leaves out, K' d^3 / 6, is 1e-4 mm at the sharpest bend.

Wall coordinates of a point: s of the nearest place on the line, the angle around it from U towards
T x U, and the distance from it. They are unique where the distance is below the bend's radius.
"""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.shapes import require_finite, require_float, require_shapes

NODE_STEP_MM = 1.0
NODE_NUMBERS = 12  # P, T, K and U of a node, one row of the table
_DENSER = 16  # samples a node when arc length is measured: leaves 1e-4 of a step
_PROBES = 16  # places a span where its bend is looked at
_STRAIGHT = 1e-9  # per unit of length: less is no bend
_NEWTON_ROUNDS = 4  # from the nearest node, each squares what is left


@dataclass(frozen=True, slots=True, eq=False)
class CentreLine:
    """The line as a table of nodes (N, 12): P, T, K, U in float32, `NODE_STEP_MM` apart."""

    nodes: Tensor

    def __post_init__(self) -> None:
        """Refuse a table that is none."""
        require_shapes(nodes=(self.nodes, f"N {NODE_NUMBERS}"))
        require_float(nodes=self.nodes)
        require_finite(nodes=self.nodes)
        if len(self.nodes) < 4:
            raise DataError(f"a centre line of {len(self.nodes)} nodes; expected 4 or more")

    @property
    def length_mm(self) -> float:
        """The arc length from the first node to the last."""
        return (len(self.nodes) - 1) * NODE_STEP_MM

    def to(self, device: torch.device | str) -> Self:
        """Return this line on another device."""
        return replace(self, nodes=self.nodes.to(device))

    def at(self, arc_mm: Tensor) -> tuple[Tensor, Tensor]:
        """Return places (*B, 3), and frames (*B, 3, 3) with the columns U, T x U, T.

        Args:
            arc_mm: arc lengths (*B); beyond the ends the line goes on as its last parabola.
        """
        node = (arc_mm / NODE_STEP_MM).round().clamp(0, len(self.nodes) - 1)
        delta = (arc_mm - node * NODE_STEP_MM)[..., None].to(self.nodes)
        place, tangent, bend, normal = self.nodes[node.long()].split(3, dim=-1)
        here = place + delta * (tangent + 0.5 * delta * bend)
        tangent = torch.nn.functional.normalize(tangent + delta * bend, dim=-1)
        normal = normal - (normal * tangent).sum(dim=-1, keepdim=True) * tangent
        normal = torch.nn.functional.normalize(normal, dim=-1)
        side = torch.linalg.cross(tangent, normal, dim=-1)
        return here, torch.stack([normal, side, tangent], dim=-1)

    def point(self, arc_mm: Tensor, angle_rad: Tensor, radius_mm: Tensor) -> Tensor:
        """Return the world points (*B, 3) of wall coordinates (*B)."""
        here, frame = self.at(arc_mm)
        x, y = radius_mm * angle_rad.cos(), radius_mm * angle_rad.sin()
        return here + x[..., None] * frame[..., 0] + y[..., None] * frame[..., 1]

    def bend_radius_mm(self) -> Tensor:
        """Return the radius of curvature at every node, (N,)."""
        bend: Tensor = self.nodes[:, 6:9].norm(dim=-1).clamp(min=_STRAIGHT)
        return 1 / bend

    def nearest(self, points: Tensor) -> Tensor:
        """Return s of the nearest place on the line for points (P, 3), shape (P,)."""
        require_shapes(points=(points, "P 3"))
        places = self.nodes[:, :3].to(points)
        node = torch.cat([torch.cdist(each, places).argmin(dim=-1) for each in points.split(8192)])
        arc = node.to(points) * NODE_STEP_MM
        for _ in range(_NEWTON_ROUNDS):
            here, frame = self.at(arc)
            _, _, bend, _ = self.nodes[
                (arc / NODE_STEP_MM).round().long().clamp(0, len(places) - 1)
            ].split(3, dim=-1)
            away = points - here.to(points)
            slope = 1 - (away * bend.to(points)).sum(dim=-1)
            arc = arc + (away * frame[..., 2].to(points)).sum(dim=-1) / slope.clamp(min=0.2)
            arc = arc.clamp(0, self.length_mm)
        return arc


def centre_line(controls: Tensor, *, length_mm: float) -> CentreLine:
    """Make the smooth line of a cubic B-spline, scaled to a length.

    Args:
        controls: control points (C, 3) in order, C at least 4; the unit does not matter.
        length_mm: of the whole line.
    """
    require_shapes(controls=(controls, "C 3"))
    count = int(length_mm / NODE_STEP_MM) + 1
    controls = controls.double()
    dense = torch.linspace(0, 1, _DENSER * count, dtype=torch.float64, device=controls.device)
    steps = _spline(controls, dense)[0].diff(dim=0).norm(dim=-1)
    along = torch.cat([steps.new_zeros(1), steps.cumsum(dim=0)])
    wanted = torch.linspace(0, float(along[-1]), count, dtype=torch.float64, device=along.device)
    right = torch.searchsorted(along, wanted).clamp(1, len(along) - 1)
    share = (wanted - along[right - 1]) / (along[right] - along[right - 1])
    where = dense[right - 1] + share * (dense[right] - dense[right - 1])  # evenly spaced along s
    places, first, second = _spline(controls, where)
    scale = (count - 1) * NODE_STEP_MM / float(along[-1])
    speed = first.norm(dim=-1, keepdim=True)
    tangent = first / speed
    across = second - (second * tangent).sum(dim=-1, keepdim=True) * tangent
    bend = across / speed.square() / scale
    normal = _untwisted(places, tangent)
    return CentreLine(torch.cat([places * scale, tangent, bend, normal], dim=-1).float())


def sharpest_bends(controls: Tensor, *, length_mm: float) -> Tensor:
    """Return the smallest radius of curvature within a span of each control point, (C,)."""
    spans = len(controls) - 1
    where = torch.linspace(0, 1, spans * _PROBES + 1, dtype=torch.float64, device=controls.device)
    places, first, second = _spline(controls.double(), where)
    scale = length_mm / places.diff(dim=0).norm(dim=-1).sum()
    speed = first.norm(dim=-1)
    bend = torch.linalg.cross(first, second, dim=-1).norm(dim=-1) / speed**3  # (P,)
    reach = 2 * _PROBES + 1
    worst = torch.nn.functional.max_pool1d(bend[None], reach, _PROBES, _PROBES)[0]  # (C,)
    radius: Tensor = scale / worst.clamp(min=_STRAIGHT)
    return radius


def _spline(controls: Tensor, where: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return place and two derivatives (N, 3) of a clamped uniform cubic B-spline on [0, 1]."""
    first, last = controls[:1], controls[-1:]
    # Reflected ends: the curve starts and ends on its control points, without curvature there.
    points = torch.cat([2 * first - controls[1:2], controls, 2 * last - controls[-2:-1]])
    spans = len(controls) - 1
    t = (where * spans).clamp(0, spans)
    index = t.floor().clamp(max=spans - 1)
    u = (t - index)[:, None]
    a, b, c, d = (points[index.long() + k] for k in range(4))
    place = (
        (1 - u) ** 3 * a
        + (3 * u**3 - 6 * u**2 + 4) * b
        + (-3 * u**3 + 3 * u**2 + 3 * u + 1) * c
        + u**3 * d
    ) / 6
    first_d = (
        -((1 - u) ** 2) * a + (3 * u**2 - 4 * u) * b + (-3 * u**2 + 2 * u + 1) * c + u**2 * d
    ) / 2
    second_d = (1 - u) * a + (3 * u - 2) * b + (1 - 3 * u) * c + u * d
    return place, first_d * spans, second_d * spans**2


def _untwisted(places: Tensor, tangents: Tensor) -> Tensor:
    """Return normals carried along by double reflection, (N, 3)."""
    # In numpy: a thousand short steps that hang on each other cost torch a second.
    place, tangent = places.cpu().numpy(), tangents.cpu().numpy()
    axis = np.eye(3)[np.abs(tangent[0]).argmin()]
    normal = axis - (axis @ tangent[0]) * tangent[0]
    normals = [normal / np.sqrt(normal @ normal)]
    for k in range(len(place) - 1):
        step = place[k + 1] - place[k]
        twice = 2 / (step @ step)
        carried = normals[-1] - twice * (step @ normals[-1]) * step
        turned = tangent[k + 1] - (tangent[k] - twice * (step @ tangent[k]) * step)
        square = turned @ turned
        if square > 0:
            carried = carried - 2 / square * (turned @ carried) * turned
        carried = carried - (carried @ tangent[k + 1]) * tangent[k + 1]
        normals.append(carried / np.sqrt(carried @ carried))
    return torch.from_numpy(np.stack(normals)).to(places)
