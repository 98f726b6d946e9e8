"""Which triangles of a known wall a view shows: rays to their middles, through Embree.

A triangle is shown if its middle falls on a pixel that may be used, it turns its front to the
camera, and nothing lies before its middle. Triangles far smaller than what is to be decided
about them (a millimetre) make this exact enough; what a view sees of one is all of it or nothing.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.errors import DataError, MissingExtraError
from colondepth.motion import inverse, require_rigid, transform
from colondepth.reconstruction.surface import Surface
from colondepth.shapes import require_bool, require_shapes

# Seen from flatter than this, or farther off, a wall has not been looked at (Leifman 2023 asks
# experts; this is a light's cosine and the depth of field that scopes are sold with).
SEEN_COSINE, SEEN_MM = 0.1, 100.0
# Before a triangle's middle another one may come by so much and still be the same wall: rounding
# of rays in 32 bits at the far end of a colon.
_TOUCHING_MM, _TOUCHING_SHARE = 0.02, 2e-4


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """What a view shows of a wall."""

    face: Tensor  # (N,) int64, the triangles it shows
    cosine: Tensor  # (N,) between the triangle's normal and the line of sight
    distance_mm: Tensor  # (N,) from the camera


class KnownWall:
    """A wall of triangles that can be asked what a camera sees of it.

    Args:
        surface: its triangles are counter-clockwise as seen from the lumen.
    """

    def __init__(self, surface: Surface) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise MissingExtraError(
                "embreex, which follows rays to a known wall, is not installed; get it with pip"
                " install embreex (it has no build for Linux on ARM)"
            ) from error
        if not len(surface.faces):
            raise DataError("the wall has no triangles; expected the mesh of a colon")
        corners = surface.vertices_mm.double().cpu()[surface.faces.cpu()]  # (F, 3, 3)
        self.origin_mm = corners.mean(dim=(0, 1))  # near it 32 bits are finest
        self.middles_mm = corners.mean(dim=1)  # (F, 3)
        self.normals = surface.normals().double().cpu()  # (F, 3), into the lumen
        self.areas_mm2 = surface.areas_mm2().double().cpu()  # (F,)
        self._scene: Any = EmbreeScene(robust=True)
        TriangleMesh(self._scene, (corners - self.origin_mm).float().contiguous().numpy())

    def shown(
        self,
        camera: Camera,
        world_from_camera: Tensor,
        *,
        farthest_mm: float,
        valid: Tensor | None = None,
    ) -> Shown:
        """Return what a view shows.

        Args:
            camera: of the view, without batch axes.
            world_from_camera: rigid, shape (4, 4).
            farthest_mm: what is farther is in the dark.
            valid: False where a pixel shows no wall, such as the black border, shape (1, H, W).
        """
        require_shapes(world_from_camera=(world_from_camera, "4 4"))
        require_rigid(world_from_camera=world_from_camera)
        if valid is not None:
            require_shapes(valid=(valid, f"1 {camera.height} {camera.width}"))
            require_bool(valid=valid)
        place = world_from_camera[:3, 3].double().cpu()
        away = self.middles_mm - place
        distance = away.norm(dim=-1)
        cosine = -(away * self.normals).sum(dim=-1) / distance.clamp(min=1e-9)
        face = ((cosine > 0) & (distance < farthest_mm)).nonzero()[:, 0]
        own = transform(inverse(world_from_camera.double().cpu()), self.middles_mm[face])
        pixels, sighted = camera.project(own.to(camera.centre).cpu())
        on = sighted & camera.contains(pixels)
        face, pixels = face[on], pixels[on]
        if valid is not None:
            u, v = (pixels + 0.5).floor().long().unbind(dim=-1)
            u, v = u.clamp(0, camera.width - 1), v.clamp(0, camera.height - 1)
            face = face[valid[0].cpu()[v, u]]
        if not len(face):
            return Shown(face, cosine[face], distance[face])
        rays = (away[face] / distance[face, None]).float().contiguous().numpy()
        start = (place - self.origin_mm).float().expand(len(face), 3).contiguous().numpy()
        found = self._scene.run(start, rays, output=True)
        itself = torch.from_numpy(found["primID"]).long() == face
        before = distance[face] - torch.from_numpy(found["tfar"]).double()
        touching = before < _TOUCHING_MM + _TOUCHING_SHARE * distance[face]
        face = face[itself | touching]
        return Shown(face, cosine[face], distance[face])
