"""Where rays meet a mesh by Embree, and where they meet the surface itself by brute force.

Embree works in float32: the mesh is brought into the camera's frame in double precision before, so
that its last bits are fine where the camera is and the rays are the camera's own.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from colondepth.errors import MissingExtraError
from colondepth.motion import inverse
from colondepth.shapes import require_shapes
from synthetic_colons.colon import Colon
from synthetic_colons.colon_mesh import ColonMesh
from synthetic_colons.mesh_columns import ground

SEARCH_STEP_MM = 0.01  # a piece of wall that is thinner than this along the ray may be passed
_SEARCHED_AT_ONCE = 200_000  # places: bounds the memory
_HALVINGS = 30
_TINY = 1e-20


@dataclass(frozen=True, slots=True, eq=False)
class MeshHits:
    """Where rays (R,) meet a mesh; 0 where `met` is False. In the camera's frame."""

    met: Tensor  # (R,) bool, a triangle from its front
    distance_mm: Tensor  # (R,) float64
    facet: Tensor  # (R, 3) float64, unit normal of the triangle
    smooth: Tensor  # (R, 3) float64, unit normal between those of the triangle's corners


def require_embree() -> None:
    """Say how to get Embree where it is missing."""
    try:
        import embreex.mesh_construction
        import embreex.rtcore_scene  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "embreex, which is what the renderer is compared with, is not installed; get it with"
            " pip install embreex"
        ) from error


def mesh_hits(mesh: ColonMesh, world_from_camera: Tensor, rays: Tensor) -> MeshHits:
    """Follow a camera's rays to a mesh.

    A ray that meets a triangle from behind has left the mesh where it was cut: it met nothing.

    Args:
        mesh: of the world.
        world_from_camera: (4, 4) float64.
        rays: (R, 3) float32, unit, in the camera's frame.
    """
    require_shapes(world_from_camera=(world_from_camera, "4 4"), rays=(rays, "R 3"))
    require_embree()
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene

    back = inverse(world_from_camera.double())
    vertices = mesh.vertices @ back[:3, :3].T + back[:3, 3]  # (V, 3)
    scene = EmbreeScene(robust=True)
    TriangleMesh(scene, vertices.float()[mesh.faces].numpy())
    found = scene.run(torch.zeros_like(rays).numpy(), rays.contiguous().numpy(), output=True)
    triangle = torch.from_numpy(found["primID"]).long()  # (R,), -1 where nothing is met
    corners = mesh.faces[triangle.clamp(min=0)]  # (R, 3)
    across = _across(vertices, mesh.faces)  # (F, 3)
    facet = _unit(across[triangle.clamp(min=0)])
    u, v = (torch.from_numpy(found[name]).double() for name in ("u", "v"))
    share = torch.stack([1 - u - v, u, v], dim=-1)  # (R, 3)
    smooth = _unit((share[..., None] * _at_corners(vertices, mesh.faces)[corners]).sum(dim=1))
    met = (triangle >= 0) & ((facet * rays).sum(dim=-1) < 0)
    return MeshHits(
        met=met,
        distance_mm=torch.from_numpy(found["tfar"]).double() * met,
        facet=facet * met[:, None],
        smooth=smooth * met[:, None],
    )


def first_crossing_mm(
    colon: Colon, origin: Tensor, directions: Tensor, near_mm: Tensor, far_mm: Tensor
) -> Tensor:
    """Return where rays first leave the lumen, by small steps and halving in double precision.

    It knows `Colon.field` and nothing of bounds, strides or triangles.

    Args:
        colon: on the CPU.
        origin: (3,) of all rays, in the world.
        directions: (R, 3) unit, in the world.
        near_mm: (R,) where the search begins.
        far_mm: (R,) where it ends.

    Returns:
        Distances (R,) float64; nan where no step crosses the surface, or the first is behind it.
    """
    exact = replace(colon, tables=ground(colon).tables)
    origin, directions = origin.double(), directions.double()
    near, far = near_mm.double(), far_mm.double()
    steps = ((far - near) / SEARCH_STEP_MM).ceil().long().clamp(min=1) + 1  # (R,)
    found = torch.full_like(near, math.nan)
    for own in _batches(steps):
        number = torch.arange(int(steps[own].max()))  # (N,)
        at = torch.minimum(near[own, None] + number * SEARCH_STEP_MM, far[own, None])  # (r, N)
        points = origin + at[..., None] * directions[own, None]  # (r, N, 3)
        behind = exact.field(points.flatten(0, 1)).reshape(at.shape) < 0
        first = behind.int().argmax(dim=1)
        crossed = behind.any(dim=1) & (first > 0)
        which, first = own[crossed], first[crossed]
        low = near[which] + (first - 1) * SEARCH_STEP_MM
        high = torch.minimum(near[which] + first * SEARCH_STEP_MM, far[which])
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            outside = exact.field(origin + middle[:, None] * directions[which]) < 0
            low, high = torch.where(outside, low, middle), torch.where(outside, middle, high)
        found[which] = (low + high) / 2
    return found


def _batches(steps: Tensor) -> list[Tensor]:
    """Put rays of similar numbers of steps together, so many that their places fit."""
    batches: list[list[int]] = []
    for number in steps.argsort(descending=True).tolist():
        most = int(steps[batches[-1][0]]) if batches else 0
        if not batches or (len(batches[-1]) + 1) * most > _SEARCHED_AT_ONCE:
            batches.append([])
        batches[-1].append(number)
    return [torch.tensor(batch) for batch in batches]


def _at_corners(vertices: Tensor, faces: Tensor) -> Tensor:
    """Return the normals of vertices (V, 3): of their triangles, each by its angle there."""
    corners = vertices[faces]  # (F, 3, 3)
    normal = _unit(_across(vertices, faces))
    total = torch.zeros_like(vertices)
    for k in range(3):
        one = corners[:, (k + 1) % 3] - corners[:, k]
        other = corners[:, (k + 2) % 3] - corners[:, k]
        turn = torch.linalg.cross(one, other).norm(dim=-1)
        angle = torch.atan2(turn, (one * other).sum(dim=-1))  # (F,)
        total.index_add_(0, faces[:, k], angle[:, None] * normal)
    return _unit(total)


def _across(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = vertices[faces].unbind(dim=1)
    across: Tensor = torch.linalg.cross(b - a, c - a)
    return across


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1, eps=_TINY)
