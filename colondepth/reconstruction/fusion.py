"""Many depth maps become one wall: a truncated signed distance in blocks of voxels.

Every voxel keeps the weighted mean of its signed distance from the wall that each frame shows, in
millimetres, positive in the lumen (Curless and Levoy 1996). The distance of a voxel is measured
from the plane of the pixel that it falls on - through that pixel's point, across its normal - and
not along the ray, which at grazing angles is several times as long. A frame's weight is the cosine
of its angle over its variance; behind the wall it falls to 0 at the truncation. A frame changes
the blocks around what it sees, and carves those in front of that which an earlier one filled.

Colours are averaged with the same weights, and so is the variance: frames of one clip share their
errors, so a place that is seen often is not surer than the mean of its frames.
"""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.geometry import normals_from_depth, unproject
from colondepth.motion import inverse, require_rigid, transform
from colondepth.reconstruction.block_surface import blocks_surface
from colondepth.reconstruction.blocks import SIDE, Blocks
from colondepth.reconstruction.surface import MOST_LOG_STD, Surface, surest
from colondepth.reconstruction.visibility import SEEN_COSINE, SEEN_MM
from colondepth.shapes import require_bool, require_precise, require_shapes

VOXEL_MM = 1.0
TRUNCATION_VOXELS = 3.0  # a fold is 3 to 6 mm thick, and both of its sides must stay apart
WIDEST_TRUNCATION_VOXELS = 6.0  # of an unsure pixel: frames that disagree must still overlap
STD_IF_UNKNOWN = 0.02  # of log depth: near views weigh more than far ones, as with a network
LEAST_STD_VOXELS = 0.25  # no voxel is surer than the grid can say
FARTHEST_MM = 120.0  # beyond, a pixel of a colonoscope is wider than a voxel, and light is gone
_BEHIND = 2.0  # truncations along the ray: what is farther behind a pixel is not of its wall
_NEARBY_VOXELS = 1.5  # from a point that was seen: both ends of a grid's edge through it are nearer
_AT_ONCE = 512  # blocks whose voxels are worked on together: they stay in the cache
_FORMAT = "colondepth-fusion-1"


class Fusion:
    """A wall that grows with every view.

    Args:
        voxel_mm: the grid's step; details below it are lost.
        farthest_mm: walls beyond are left to nearer views.
        device: a GPU or "cpu".
    """

    def __init__(
        self,
        *,
        voxel_mm: float = VOXEL_MM,
        farthest_mm: float = FARTHEST_MM,
        device: torch.device | str = "cpu",
    ) -> None:
        if not (voxel_mm > 0 and farthest_mm > voxel_mm):
            raise DataError(
                f"voxel_mm is {voxel_mm} and farthest_mm {farthest_mm}, expected 0 < voxel_mm"
                " < farthest_mm"
            )
        self.voxel_mm, self.farthest_mm = voxel_mm, farthest_mm
        self.frames = 0  # that had at least a pixel to use
        # In one row, so that one lookup moves all: signed distance, weight, variance, looks, red,
        # green, blue, and by how much a point that was seen came nearer than `_NEARBY_VOXELS`.
        self._blocks = Blocks({"voxels": 8}, device=device)
        self._device = torch.device(device)

    def integrate(
        self,
        depth_mm: Tensor,
        camera: Camera,
        world_from_camera: Tensor,
        *,
        image: Tensor | None = None,
        log_depth_std: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> int:
        """Add a view and return how many of its pixels could be used; 0 changes nothing.

        Args:
            depth_mm: z-depth, 0 where unknown, shape (1, H, W).
            camera: of the view, without batch axes.
            world_from_camera: rigid, shape (4, 4).
            image: colours in [0, 1], shape (3, H, W); grey without.
            log_depth_std: standard deviation of log depth, shape (1, H, W).
            valid: False where a pixel is not to be used, shape (1, H, W).
        """
        _require(depth_mm, camera, world_from_camera, image, log_depth_std, valid)
        depth = depth_mm.to(self._device, torch.float32)
        points = unproject(depth, camera)  # (H, W, 3)
        distance = points.norm(dim=-1)  # (H, W)
        normals = normals_from_depth(depth, camera).movedim(0, -1)  # (H, W, 3)
        cosine = -(normals * points).sum(dim=-1) / distance.clamp(min=1e-6)
        log_std = (
            torch.full_like(distance, STD_IF_UNKNOWN)
            if log_depth_std is None
            else log_depth_std[0].to(distance)
        )
        usable = (depth[0] > 0) & (cosine > SEEN_COSINE) & (distance < self.farthest_mm)
        usable &= log_std <= surest(log_std, usable, MOST_LOG_STD)  # False for NaN
        if valid is not None:
            usable &= valid[0].to(self._device)
        used = int(usable.sum())
        if not used:
            return 0
        std_mm = (log_std * distance).clamp(min=LEAST_STD_VOXELS * self.voxel_mm)
        near, far = TRUNCATION_VOXELS * self.voxel_mm, WIDEST_TRUNCATION_VOXELS * self.voxel_mm
        # A network's std is mostly of the scale that all pixels share; half of it parts frames.
        truncation = near if log_depth_std is None else (std_mm / 2).clamp(near, far)
        truncation = torch.as_tensor(truncation).to(distance).expand_as(distance)
        colours = torch.full_like(points, 0.5) if image is None else image.to(points).movedim(0, -1)
        weight = usable * cosine / std_mm.square()
        seen = torch.cat(
            [
                points,
                normals,
                distance[..., None],
                truncation[..., None],
                weight[..., None],
                std_mm.square()[..., None],
                colours,
            ],
            dim=-1,
        ).flatten(end_dim=-2)  # (HW, 13)
        camera_from_world = inverse(world_from_camera).to(points)
        slots = self._blocks.add(
            self._around(points, distance, truncation, usable, world_from_camera.to(points))
        )
        in_front = self._in_front(slots, distance, usable, camera, camera_from_world)
        for part in torch.cat([slots, in_front]).split(_AT_ONCE):
            self._update(part, seen, camera, camera_from_world)
        self.frames += 1
        return used

    def surface(self, *, least_seen: int = 0) -> Surface:
        """Return the wall so far; empty before the first view.

        Args:
            least_seen: frames that must have looked at a place for it to be kept. `seen` of the
                surface counts them; it is 0 where the wall was only ever seen from afar.
        """
        return blocks_surface(self._blocks, voxel_mm=self.voxel_mm, least_seen=least_seen)

    def save(self, path: Path) -> None:
        """Write all to a safetensors file from which `load` goes on."""
        facts = {
            "format": _FORMAT,
            "voxel_mm": repr(self.voxel_mm),
            "farthest_mm": repr(self.farthest_mm),
            "frames": str(self.frames),
        }
        state = {name: tensor.cpu().contiguous() for name, tensor in self._blocks.state().items()}
        with written_whole(path) as temporary:
            save_file(state, temporary, metadata=facts)

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> "Fusion":
        """Read what `save` wrote."""
        try:
            with safe_open(path, framework="pt") as file:
                facts = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # safetensors has errors of its own kind, and OSError
            raise DataError(f"{path} is no fused wall ({error}); fuse the frames again") from error
        if facts.get("format") != _FORMAT:
            raise DataError(f"{path} is {facts.get('format')!r}, expected {_FORMAT!r}")
        fusion = cls(
            voxel_mm=float(facts["voxel_mm"]),
            farthest_mm=float(facts["farthest_mm"]),
            device=device,
        )
        fusion._blocks.restore(state)
        fusion.frames = int(facts["frames"])
        return fusion

    def _around(
        self,
        points: Tensor,
        distance: Tensor,
        truncation: Tensor,
        usable: Tensor,
        world_from_camera: Tensor,
    ) -> Tensor:
        """Return the numbers of the blocks that the truncation around a view's wall reaches."""
        side = SIDE * self.voxel_mm
        # Every second pixel: at 100 mm two of a wide lens are 2 mm apart, and a block has 8.
        grid = (slice(None, None, 2), slice(None, None, 2))
        grid = grid if bool(usable[grid].any()) else (slice(None), slice(None))
        kept = usable[grid]
        world = transform(world_from_camera, points[grid][kept])  # (P, 3)
        ray = (world - world_from_camera[:3, 3]) / distance[grid][kept][:, None]
        reach = truncation[grid][kept][:, None]
        # Along the ray, half a block at a time, and beyond both ends of the truncation.
        numbers = []
        steps = int((reach.max() / (side / 2)).ceil())
        for step in range(-steps, steps + 1):
            ahead = (step * side / 2 * torch.ones_like(reach)).clamp(-reach, reach)
            numbers.append(((world + ahead * ray) / side).floor().long())
        found: Tensor = torch.cat(numbers)
        low = found.amin(dim=0)
        wide = found.amax(dim=0) - low + 1
        flat = (
            ((found[:, 0] - low[0]) * wide[1] + found[:, 1] - low[1]) * wide[2]
            + found[:, 2]
            - low[2]
        )
        flat = flat.unique()
        rest, z = flat.div(wide[2], rounding_mode="floor"), flat % wide[2]
        return torch.stack([rest.div(wide[1], rounding_mode="floor"), rest % wide[1], z], -1) + low

    def _in_front(
        self,
        touched: Tensor,
        distance: Tensor,
        usable: Tensor,
        camera: Camera,
        camera_from_world: Tensor,
    ) -> Tensor:
        """Return the slots of other blocks that lie in the open before what a view sees."""
        side = SIDE * self.voxel_mm
        # From the first voxel of a block to its last one.
        middle = (self._blocks.numbers + (SIDE - 1) / (2 * SIDE)) * side
        middle = transform(camera_from_world, middle.to(distance))  # (N, 3)
        pixels, sighted = camera.project(middle)
        index, inside = _nearest(pixels, sighted, distance.shape)
        half = side * 3**0.5 / 2
        free = inside & usable.flatten()[index]
        free &= middle.norm(dim=-1) + half < distance.flatten()[index]
        free[touched] = False
        return free.nonzero()[:, 0]

    def _update(
        self, slots: Tensor, seen: Tensor, camera: Camera, camera_from_world: Tensor
    ) -> None:
        offsets = self._blocks.voxel_offsets()
        numbers = self._blocks.numbers[slots]
        voxels = (numbers[:, None] * SIDE + offsets).to(seen) * self.voxel_mm  # (N, 512, 3)
        own = transform(camera_from_world, voxels.flatten(end_dim=-2))
        pixels, sighted = camera.project(own)
        index, inside = _nearest(pixels, sighted, (camera.height, camera.width))
        row = seen[index]  # (N 512, 13)
        point, normal, colours = row[:, :3], row[:, 3:6], row[:, 10:]
        away, truncation, weight, variance = row[:, 6], row[:, 7], row[:, 8], row[:, 9]
        offset = own - point
        signed = (offset * normal).sum(dim=-1)
        along = away - own.norm(dim=-1)  # in front of the wall, along the ray
        near = inside & (signed > -truncation) & (along > -_BEHIND * truncation)
        near &= (along > 0) | (signed < truncation)  # behind a wall nothing is known to be free
        fading = (1 + signed / truncation).clamp(0, 1)
        weight = weight * near * fading
        widest = WIDEST_TRUNCATION_VOXELS * self.voxel_mm
        # A look counts where a place is near enough to be looked at (see `visibility`).
        on_wall = (weight > 0) & (signed < truncation) & (away < SEEN_MM)
        signed = signed.clamp(max=widest)
        nearby = _NEARBY_VOXELS * self.voxel_mm - offset.norm(dim=-1)
        values = self._blocks.values("voxels")
        old = values[slots].flatten(end_dim=-2)  # (N 512, 8)
        total = old[:, 1] + weight
        step = (weight / total.clamp(min=1e-12))[:, None]
        fresh = torch.cat([signed[:, None], variance[:, None], colours], dim=-1)
        kept = old[:, [0, 2, 4, 5, 6]]
        mixed = kept + step * (fresh - kept)
        new = torch.stack(
            [
                mixed[:, 0],
                total,
                mixed[:, 1],
                old[:, 3] + on_wall,
                mixed[:, 2],
                mixed[:, 3],
                mixed[:, 4],
                torch.maximum(old[:, 7], torch.where(weight > 0, nearby, 0.0)),
            ],
            dim=-1,
        )
        values[slots] = new.unflatten(0, (len(slots), -1))


def _nearest(pixels: Tensor, sighted: Tensor, size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the number of the pixel under each place (N, 2), and which places have one."""
    height, width = size
    rounded = (pixels + 0.5).floor()
    u, v = rounded.unbind(dim=-1)
    inside = sighted & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    index = torch.where(inside, v * width + u, torch.zeros_like(u)).long()
    return index, inside


def _require(
    depth_mm: Tensor,
    camera: Camera,
    world_from_camera: Tensor,
    image: Tensor | None,
    log_depth_std: Tensor | None,
    valid: Tensor | None,
) -> None:
    maps = {"depth_mm": (depth_mm, "1 H W")}
    if image is not None:
        maps["image"] = (image, "3 H W")
    if log_depth_std is not None:
        maps["log_depth_std"] = (log_depth_std, "1 H W")
    if valid is not None:
        maps["valid"] = (valid, "1 H W")
    require_shapes(**maps)
    require_shapes(world_from_camera=(world_from_camera, "4 4"))
    require_precise(depth_mm=depth_mm)
    if valid is not None:
        require_bool(valid=valid)
    if camera.batch:
        raise DataError(f"the camera is a batch {camera.batch}, expected the one of this view")
    require_rigid(world_from_camera=world_from_camera)
