"""The surface where signed distance in blocks of voxels is 0, without a seam.

Marching cubes of scikit-image, chunk by chunk. Chunks overlap by one voxel, so every cube is in one
chunk, and two chunks that share a cube's edge cut it in the same place: a corner is named by its
edge (a voxel and an axis), and corners of one name are one. A cube with a voxel that no frame
has seen has no surface.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from colondepth.reconstruction.blocks import SIDE, Blocks
from colondepth.reconstruction.surface import Surface

STEEPEST = 1.25  # change of distance over the distance itself, between two voxels of a wall
CHUNK = 8  # blocks along the edge of what is marched at once
# A corner exactly on a voxel would lie on six edges at once. In mm, of voxels about 1 mm apart.
_NUDGE = 1e-3


def blocks_surface(blocks: Blocks, *, voxel_mm: float, least_seen: int) -> Surface:
    """Return the surface, its triangles counter-clockwise as seen from where distance is positive.

    Args:
        blocks: of what `Fusion` keeps of a voxel.
        voxel_mm: the grid's step.
        least_seen: corners that fewer frames looked at are left out, with their triangles.
    """
    edges, places, faces = _marched(blocks)
    if not len(faces):
        return _empty()
    # A corner's name: its edge's first voxel and axis. Its place: how far along the edge it lies.
    names, first, number = np.unique(edges, axis=0, return_index=True, return_inverse=True)
    faces = number.reshape(-1)[faces]
    whole = (faces[:, [0, 1, 2]] != faces[:, [1, 2, 0]]).all(axis=1)
    start = torch.from_numpy(names[:, :3])
    along = torch.nn.functional.one_hot(torch.from_numpy(names[:, 3]), 3)
    share = torch.from_numpy(places[first])[:, None].float()
    device = blocks.values("voxels").device
    low, _ = blocks.look_up("voxels", start.to(device))
    high, _ = blocks.look_up("voxels", (start + along).to(device))
    low, high = low.cpu(), high.cpu()
    between = torch.lerp(low, high, share)
    # Across a wall the distance changes by a voxel at most. Where it leaps and no frame has a point
    # nearby, the shadow behind a fold's edge meets the open space past that edge: no wall is there.
    smooth = (high[:, 0] - low[:, 0]).abs() <= STEEPEST * voxel_mm
    there = smooth | (torch.maximum(low[:, 7], high[:, 7]) > 0)
    seen = torch.maximum(low[:, 3], high[:, 3]).long()
    surface = Surface(
        vertices_mm=(start + along * share) * voxel_mm,
        faces=torch.from_numpy(faces[whole].astype(np.int64)),
        colours=between[:, 4:7].clamp(0, 1),
        std_mm=between[:, 2].clamp(min=0).sqrt(),
        seen=seen,
    )
    return surface.kept(((seen >= least_seen) & there)[surface.faces].all(dim=1))


def _marched(
    blocks: Blocks,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return edges (V, 4), how far along them (V,) and triangles (F, 3) of all chunks."""
    from skimage.measure import marching_cubes

    numbers = blocks.numbers.cpu()
    values = blocks.values("voxels")
    edges: list[NDArray[np.int64]] = []
    places: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    count = 0
    chunk_of = numbers.div(CHUNK, rounding_mode="floor")
    # A chunk also needs the first voxels of the blocks beyond it.
    for chunk in chunk_of.unique(dim=0):
        distance, known = _dense(blocks, values, chunk * CHUNK)
        if not (known.any() and distance[known].min() < 0 < distance[known].max()):
            continue
        corners, triangles, _, _ = marching_cubes(
            distance, level=0.0, gradient_direction="descent", allow_degenerate=True
        )
        # The cube of a triangle holds its middle. Only cubes all of whose corners are known count.
        cube = np.floor(corners[triangles].mean(axis=1)).astype(np.int64)
        whole = _whole_cubes(known)
        cube = np.minimum(cube, np.array(whole.shape) - 1)
        triangles = triangles[whole[cube[:, 0], cube[:, 1], cube[:, 2]]]
        if not len(triangles):
            continue
        used, triangles = np.unique(triangles, return_inverse=True)
        corners = corners[used].astype(np.float64)
        off = np.abs(corners - np.round(corners))
        axis = off.argmax(axis=1)
        start = np.round(corners).astype(np.int64)
        row = np.arange(len(corners))
        start[row, axis] = np.floor(corners[row, axis]).astype(np.int64)
        edges.append(
            np.concatenate([start + (chunk * CHUNK * SIDE).numpy(), axis[:, None]], axis=1)
        )
        places.append(corners[row, axis] - start[row, axis])
        faces.append(triangles.reshape(-1, 3) + count)
        count += len(corners)
    if not faces:
        return np.empty((0, 4), np.int64), np.empty(0), np.empty((0, 3), np.int64)
    return np.concatenate(edges), np.concatenate(places), np.concatenate(faces)


def _dense(
    blocks: Blocks, values: Tensor, first: Tensor
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return signed distance and what is known in a chunk and one voxel beyond, (65, 65, 65)."""
    steps = torch.arange(CHUNK + 1)
    wanted = first + torch.cartesian_prod(steps, steps, steps)
    slots = blocks.find(wanted.to(values.device))
    there = slots >= 0
    side = (CHUNK + 1) * SIDE
    both = values.new_zeros(len(wanted), SIDE**3, 2)
    both[there] = values[slots[there], :, :2]
    grid = both.reshape(*[CHUNK + 1] * 3, *[SIDE] * 3, 2).permute(0, 3, 1, 4, 2, 5, 6)
    grid = grid.reshape(side, side, side, 2)[tuple([slice(CHUNK * SIDE + 1)] * 3)].cpu()
    distance, known = grid[..., 0], grid[..., 1] > 0
    nudged = torch.where(
        distance.abs() < _NUDGE, torch.where(distance < 0, -_NUDGE, _NUDGE), distance
    )
    return torch.where(known, nudged, 1.0).numpy(), known.numpy()


def _whole_cubes(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which cubes have all of their corners known."""
    for axis in range(3):
        low, high = [slice(None)] * 3, [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        known = known[tuple(low)] & known[tuple(high)]
    return known


def _empty() -> Surface:
    return Surface(
        vertices_mm=torch.empty(0, 3),
        faces=torch.empty(0, 3, dtype=torch.int64),
        colours=torch.empty(0, 3),
        std_mm=torch.empty(0),
        seen=torch.empty(0, dtype=torch.int64),
    )
