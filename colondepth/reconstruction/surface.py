"""Surfaces of triangles, and the one that a single view makes.

Points are in millimetres, in the world or, where no motion is given, in the camera frame (x right,
y down, z forward). Triangles are counter-clockwise as seen from the lumen, so that their normals
point into it. What is not known of all vertices is None.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import unproject
from colondepth.motion import require_rigid, transform
from colondepth.shapes import (
    require_bool,
    require_finite,
    require_float,
    require_precise,
    require_shapes,
)

# What a view's surface leaves out. A wall seen along itself and an edge with another wall behind it
# look alike between two pixels; the angle tells them apart where pixels are small (a step of 15%
# over 0.2 degrees is at 89 degrees), the step where they are so large that the angle cannot.
JUMP = 0.15  # of the distance, between neighbouring pixels; `geometry` calls the same an edge
JUMP_STD = 1.0  # standard deviations of a difference of two pixels that may be noise, not a step
GRAZING_RAD = math.radians(80)  # there a pixel is stretched 6 times, and an error of depth with it
MOST_LOG_STD = 0.3  # of log depth: the wall may be 1.8 times as far, which is on the next fold
UNSURE = 1.5  # medians of the frame: where all of it is unsure, that is its scale, not its shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """Triangles with what is known of their corners; it may be empty."""

    vertices_mm: Tensor  # (V, 3) float32
    faces: Tensor  # (F, 3) int64, counter-clockwise as seen from the lumen
    colours: Tensor | None = None  # (V, 3) in [0, 1], RGB as images are
    std_mm: Tensor | None = None  # (V,), how sure, along the ray
    seen: Tensor | None = None  # (V,) whole numbers, how many frames saw it

    def __post_init__(self) -> None:
        """Refuse what is no surface: shapes, NaN, corners that do not exist."""
        require_shapes(vertices_mm=(self.vertices_mm, "V 3"), faces=(self.faces, "F 3"))
        floats = {"vertices_mm": (self.vertices_mm, "V 3")}
        if self.colours is not None:
            floats["colours"] = (self.colours, "V 3")
        if self.std_mm is not None:
            floats["std_mm"] = (self.std_mm, "V")
        require_shapes(**floats)
        for name, (tensor, _) in floats.items():
            require_float(**{name: tensor})
            require_finite(**{name: tensor})
        if self.seen is not None:
            require_shapes(vertices_mm=(self.vertices_mm, "V 3"), seen=(self.seen, "V"))
            _require_whole(seen=self.seen)
        _require_whole(faces=self.faces)
        _require_corners(self.faces, len(self.vertices_mm))

    def areas_mm2(self) -> Tensor:
        """Return the area of every triangle, (F,)."""
        doubled: Tensor = _across(self.vertices_mm, self.faces).norm(dim=-1)
        return doubled / 2

    def normals(self) -> Tensor:
        """Return the unit normal of every triangle, into the lumen, (F, 3); 0 without an area."""
        return torch.nn.functional.normalize(_across(self.vertices_mm, self.faces), dim=-1)

    def moved(self, target_from_source: Tensor) -> "Surface":
        """Return this surface in another frame; the motion is rigid, shape (4, 4)."""
        require_shapes(target_from_source=(target_from_source, "4 4"))
        require_rigid(target_from_source=target_from_source)
        moved = transform(target_from_source.double(), self.vertices_mm.double())
        return replace(self, vertices_mm=moved.to(self.vertices_mm))

    def kept(self, keep: Tensor) -> "Surface":
        """Return some of the triangles, and of the vertices those that they use.

        Args:
            keep: True for the triangles to keep, (F,).
        """
        require_shapes(faces=(self.faces, "F 3"), keep=(keep, "F"))
        require_bool(keep=keep)
        corners = self.faces[keep]
        used = torch.zeros(len(self.vertices_mm), dtype=torch.bool, device=corners.device)
        used[corners] = True
        return Surface(
            vertices_mm=self.vertices_mm[used],
            faces=(used.cumsum(dim=0) - 1)[corners],
            colours=None if self.colours is None else self.colours[used],
            std_mm=None if self.std_mm is None else self.std_mm[used],
            seen=None if self.seen is None else self.seen[used],
        )


def view_surface(
    view_image: Tensor | None,
    depth_mm: Tensor,
    camera: Camera,
    *,
    log_depth_std: Tensor | None = None,
    valid: Tensor | None = None,
    world_from_camera: Tensor | None = None,
    jump: float = JUMP,
    jump_std: float = JUMP_STD,
    grazing_rad: float = GRAZING_RAD,
    most_log_std: float = MOST_LOG_STD,
) -> Surface:
    """Make the surface that one view shows: every pixel's centre lifted to its depth.

    The vertices are Z K^-1 m (Ruano et al. 2023), with the ray of any lens in the place of K^-1 m;
    two triangles join each square of four pixels. Nothing is joined across a step in distance.

    Args:
        view_image: colours in [0, 1], shape (3, H, W), or None for a surface without.
        depth_mm: z-depth, 0 where unknown, shape (1, H, W).
        camera: of the view, without batch axes; any lens.
        log_depth_std: standard deviation of log depth, shape (1, H, W).
        valid: False where a pixel is not to be used, shape (1, H, W).
        world_from_camera: where the camera stood, (4, 4); the surface stays in its frame by
            default.
        jump: the largest step between neighbours, as a share of the distance (of its logarithm).
        jump_std: how many standard deviations of the two pixels' difference a step may be longer
            for; both are added as squares. Without `log_depth_std` there is no such allowance.
        grazing_rad: triangles are left out whose normal is as far as this from the line of sight.
        most_log_std: pixels less sure than this are left out, or than `UNSURE` medians of the
            frame where that is more: an error of scale, which all pixels share, bends no wall.

    Returns:
        The surface; it is empty if nothing is left. `seen` is 1 everywhere.
    """
    _require_limits(jump, jump_std, grazing_rad, most_log_std)
    shape = "1 H W"
    maps = {"depth_mm": (depth_mm, shape)}
    if view_image is not None:
        maps["view_image"] = (view_image, "3 H W")
    if log_depth_std is not None:
        maps["log_depth_std"] = (log_depth_std, shape)
    if valid is not None:
        maps["valid"] = (valid, shape)
    require_shapes(**maps)
    require_precise(depth_mm=depth_mm)
    if valid is not None:
        require_bool(valid=valid)
    if camera.batch:
        raise DataError(f"the camera is a batch {camera.batch}, expected the one of this view")
    # In 64 bits, because near 90 degrees from the axis z is a small share of the distance.
    points = unproject(depth_mm.double(), camera)  # (H, W, 3)
    distance = points.norm(dim=-1)  # (H, W)
    known = (depth_mm[0] > 0) & (distance > 0)
    if valid is not None:
        known &= valid[0]
    std = None if log_depth_std is None else log_depth_std[0].to(points)
    if std is not None:
        known &= std <= surest(std, known, most_log_std)  # False for NaN
        std = torch.where(known, std, 0)
    faces = _joined(_steps(distance, known, std, jump=jump, jump_std=jump_std))  # (F, 3)
    vertices = points.flatten(end_dim=-2)  # (HW, 3)
    faces = _facing(vertices, faces, grazing_rad)
    whole = Surface(
        vertices_mm=vertices.float(),
        faces=faces,
        colours=None if view_image is None else view_image.flatten(start_dim=1).mT,
        std_mm=None if std is None else (std * distance).flatten().float(),
        seen=torch.ones(len(vertices), dtype=torch.int64, device=vertices.device),
    )
    surface = whole.kept(torch.ones(len(faces), dtype=torch.bool, device=faces.device))
    return surface if world_from_camera is None else surface.moved(world_from_camera)


def surest(log_std: Tensor, known: Tensor, most_log_std: float) -> float:
    """Return up to which standard deviation of log depth a frame's pixels are used."""
    stds = log_std[known & ~log_std.isnan()]
    return max(most_log_std, UNSURE * float(stds.median())) if stds.numel() else most_log_std


def _steps(
    distance: Tensor, known: Tensor, std: Tensor | None, *, jump: float, jump_std: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return how long the steps between neighbours are, in the longest that is joined.

    Returns:
        Steps along rows (H, W-1), down columns (H-1, W), and on the two diagonals of every square
        (H-1, W-1), that from top left and that from top right; infinite where a pixel is unknown.
    """
    log = torch.where(known, distance, 1).log()

    def step(one: tuple[slice, slice], other: tuple[slice, slice]) -> Tensor:
        limit = torch.full_like(log[one], jump**2)
        if std is not None:
            limit = limit + jump_std**2 * (std[one].square() + std[other].square())
        share = (log[one] - log[other]).abs() / limit.sqrt()
        return torch.where(known[one] & known[other], share, torch.inf)

    all_, but_last, but_first = slice(None), slice(None, -1), slice(1, None)
    return (
        step((all_, but_last), (all_, but_first)),
        step((but_last, all_), (but_first, all_)),
        step((but_last, but_last), (but_first, but_first)),
        step((but_last, but_first), (but_first, but_last)),
    )


def _joined(steps: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
    """Return the triangles (F, 3) of pixels, counted along rows, that no step parts.

    A square is cut along the diagonal with the shorter step, so that an edge between two walls
    takes one triangle and not both.
    """
    across, down, falling, rising = steps
    height, width = down.shape[0] + 1, across.shape[1] + 1
    pixel = torch.arange(height * width, device=across.device).reshape(height, width)
    a, b = pixel[:-1, :-1], pixel[:-1, 1:]  # top left, top right
    c, d = pixel[1:, :-1], pixel[1:, 1:]
    top, bottom, left, right = across[:-1], across[1:], down[:, :-1], down[:, 1:]
    falls = falling <= rising
    one = torch.where(falls[..., None], torch.stack([a, c, d], -1), torch.stack([a, c, b], -1))
    two = torch.where(falls[..., None], torch.stack([a, d, b], -1), torch.stack([c, d, b], -1))
    diagonal = torch.minimum(falling, rising)
    one_step = torch.maximum(torch.where(falls, torch.maximum(left, bottom), 0), diagonal)
    one_step = torch.maximum(one_step, torch.where(falls, 0, torch.maximum(left, top)))
    two_step = torch.maximum(torch.where(falls, torch.maximum(right, top), 0), diagonal)
    two_step = torch.maximum(two_step, torch.where(falls, 0, torch.maximum(right, bottom)))
    return torch.cat([one[one_step <= 1], two[two_step <= 1]])


def _facing(vertices: Tensor, faces: Tensor, grazing_rad: float) -> Tensor:
    """Turn triangles towards the camera at 0, and leave out those that are seen edge-on."""
    across = _across(vertices, faces)
    sight = vertices[faces].mean(dim=1)
    towards = -(across * sight).sum(dim=-1)
    least = math.cos(grazing_rad) * across.norm(dim=-1) * sight.norm(dim=-1)
    turned = torch.where((towards < 0)[:, None], faces.flip(-1), faces)
    return turned[towards.abs() > least]


def _across(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the normal of every triangle, as long as two areas, (F, 3)."""
    a, b, c = vertices[faces].unbind(dim=1)
    across: Tensor = torch.linalg.cross(b - a, c - a)
    return across


def _require_whole(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.dtype == torch.bool:
            raise DataError(
                f"{name} holds {str(tensor.dtype).removeprefix('torch.')}, expected whole numbers;"
                " .long() makes them"
            )


def _require_corners(faces: Tensor, count: int) -> None:
    if faces.numel() and not (int(faces.min()) >= 0 and int(faces.max()) < count):
        raise DataError(
            f"faces name vertices {int(faces.min())} to {int(faces.max())}, expected 0 to"
            f" {count - 1}: there are {count} vertices"
        )


def _require_limits(jump: float, jump_std: float, grazing_rad: float, most_log_std: float) -> None:
    if not (jump > 0 and jump_std >= 0 and most_log_std > 0):
        raise DataError(
            f"jump {jump}, jump_std {jump_std} and most_log_std {most_log_std}: expected numbers"
            " above 0 (jump_std: or 0); math.inf leaves nothing out"
        )
    if not 0 < grazing_rad <= math.pi / 2:
        raise DataError(
            f"grazing_rad is {grazing_rad}, expected above 0 and at most pi / 2, which leaves"
            " nothing out; math.radians makes radians of degrees"
        )
