"""Masks of polyps in many frames: which are of one polyp, and what size they give together.

Every connected piece of a mask is a polyp. Two pieces are of one polyp if their middles, lifted to
the wall, lie near each other: depth errs by a share of the distance, so the limit grows with it.
Without poses every piece is a polyp of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy import ndimage
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import unproject
from colondepth.motion import transform
from colondepth.reconstruction.polyps import PolypSize, combined, polyp_size

SAME_MM = 10.0  # polyps lie farther apart than their own width, seldom nearer
SAME_SHARE = 0.35  # of the distance from the camera, which may count more
LEAST_PIXELS = 30  # of a piece: smaller ones are crumbs of a mask


@dataclass(slots=True)
class PolypTrack:
    """One polyp over the frames that show it."""

    place_mm: Tensor  # (3,), running mean; in the world, or in the camera's frame without a pose
    frames: list[str] = field(default_factory=list)
    sizes: list[PolypSize] = field(default_factory=list)

    @property
    def size(self) -> PolypSize:
        """What all frames say together."""
        return combined(self.sizes)

    def table(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "place_mm": [round(each, 2) for each in self.place_mm.tolist()],
            "size": self.size.table(),
            "frames": [
                {"frame": name, **size.table()}
                for name, size in zip(self.frames, self.sizes, strict=True)
            ],
        }


class PolypTracks:
    """Collects masks frame by frame."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.tracks: list[PolypTrack] = []

    def add(
        self,
        name: str,
        depth_mm: Tensor,
        polyp: Tensor,
        *,
        log_depth_std: Tensor | None = None,
        world_from_camera: Tensor | None = None,
        inside: Tensor | None = None,
    ) -> list[PolypSize]:
        """Size the pieces of a frame's mask (1, H, W), and put each to the polyp that it shows."""
        pieces, count = ndimage.label(polyp[0].cpu().numpy())
        found = []
        for number in range(1, count + 1):
            piece = torch.from_numpy(pieces == number)[None]
            if int(piece.sum()) >= LEAST_PIXELS:
                found.append(
                    self._add(name, depth_mm, piece, log_depth_std, world_from_camera, inside)
                )
        return found

    def _add(
        self,
        name: str,
        depth_mm: Tensor,
        polyp: Tensor,
        log_depth_std: Tensor | None,
        world_from_camera: Tensor | None,
        inside: Tensor | None,
    ) -> PolypSize:
        size = polyp_size(depth_mm, self._camera, polyp, log_depth_std=log_depth_std, inside=inside)
        known = polyp & (depth_mm > 0)
        if not bool(known.any()):
            place, away = torch.full((3,), torch.nan, dtype=torch.float64), 0.0
        else:
            points = unproject(depth_mm.double(), self._camera)[known[0]]
            place = points.median(dim=0).values
            away = float(place.norm())
            if world_from_camera is not None:
                place = transform(world_from_camera.double(), place[None])[0]
        track = self._nearest(place, away, name) if world_from_camera is not None else None
        if track is None:
            track = PolypTrack(place)
            self.tracks.append(track)
        else:
            count = len(track.frames)
            track.place_mm = (track.place_mm * count + place) / (count + 1)
        track.frames.append(name)
        track.sizes.append(size)
        return size

    def _nearest(self, place: Tensor, away_mm: float, name: str) -> PolypTrack | None:
        """Return the polyp at a place; one frame does not show it twice."""
        limit = max(SAME_MM, SAME_SHARE * away_mm)
        others = [track for track in self.tracks if track.frames[-1] != name]
        off = [float((track.place_mm - place).norm()) for track in others]
        near = [k for k, each in enumerate(off) if each < limit]
        return others[min(near, key=lambda k: off[k])] if near else None


def words_of(tracks: Sequence[PolypTrack]) -> list[str]:
    """Return a line a polyp."""
    return [
        f"polyp {number} ({len(track.frames)} frame{'' if len(track.frames) == 1 else 's'},"
        f" {track.frames[0]} first): {track.size.words()}"
        for number, track in enumerate(tracks, start=1)
    ]
