"""What is true of a whole clip: which wall was seen so far, and which polyps in which frames."""

from typing import Any

import torch
from torch import Tensor

from colondepth.errors import DataError
from colondepth.reconstruction.visibility import SEEN_COSINE, SEEN_MM
from synthetic_colons.clips import Frame, SyntheticClip
from synthetic_colons.draw_json import to_json
from synthetic_colons.ground_truth import (
    COVERAGE_COLUMNS,
    COVERAGE_MM,
    Coverage,
    facing,
)

SHORTEST_MM = 4.0  # of the stretch that a mesh is made of


class ClipTruth:
    """Collects from the frames of a clip, one after the other."""

    def __init__(self, clip: SyntheticClip) -> None:
        """Begin before the first frame."""
        self._clip = clip
        self._coverage = Coverage(clip.colon, (0.0, clip.colon.length_mm))
        self._rays = clip.camera.rays(clip.camera.height, clip.camera.width)
        self._first_seen = torch.full_like(self._coverage.seen, -1, dtype=torch.int32)
        self._pixels: list[Tensor] = []  # of every frame, (P,) of each polyp
        self._segments: list[str] = []
        self._shown_mm: list[tuple[float, float]] = []

    def add(self, number: int, frame: Frame) -> None:
        """Count what the next frame shows."""
        if number != len(self._pixels):
            raise DataError(f"frame {number} comes after {len(self._pixels)} frames")
        seen = frame.rendering
        self._coverage.add(seen, facing(seen, self._rays))
        self._first_seen[self._coverage.seen & (self._first_seen < 0)] = number
        count = len(self._clip.colon.draw.polyps)
        label = seen.label[seen.valid & (seen.label <= count)].long()
        self._pixels.append(label.bincount(minlength=count + 1)[1:].cpu())
        self._segments.append(frame.segment)
        arc = seen.arc_mm[seen.valid]
        if len(arc):
            self._shown_mm.append((float(arc.min()), float(arc.max())))

    @property
    def shown_mm(self) -> tuple[float, float]:
        """Arc lengths between which lies all wall that any pixel shows."""
        low, high = self._passed_mm()
        low = min([low, *(each for each, _ in self._shown_mm)])
        high = max([high, *(each for _, each in self._shown_mm)])
        middle, half = (low + high) / 2, max(high - low, SHORTEST_MM) / 2
        length = self._clip.colon.length_mm
        middle = min(max(middle, SHORTEST_MM / 2), length - SHORTEST_MM / 2)
        return max(0.0, middle - half), min(length, middle + half)

    def coverage(self) -> dict[str, Any]:
        """Return the share of the wall seen so far, frame by frame, of two stretches."""
        rows = (self._first_seen >= 0).any(dim=1).nonzero()[:, 0].tolist()
        looked_at = (rows[0], rows[-1] + 1) if rows else None
        low, high = (round(each / COVERAGE_MM) for each in self._passed_mm())
        arc = self._clip.path.arc_mm(self._clip.path.times_s)
        return {
            "passed": self._share_seen((low, high + 1)),
            "looked_at": self._share_seen(looked_at) if looked_at else None,
            "segment": self._segments,
            "tip_arc_mm": arc.tolist(),
            "cell": {"along_mm": COVERAGE_MM, "around": COVERAGE_COLUMNS},
            "counts_as_seen": {"cosine_above": SEEN_COSINE, "nearer_than_mm": SEEN_MM},
        }

    def polyps(self) -> list[dict[str, Any]]:
        """Return every polyp of the colon, with the frames that show it."""
        colon = self._clip.colon
        found = []
        for number, polyp in enumerate(colon.draw.polyps):
            pixels = [int(each[number]) for each in self._pixels]
            frames = [{"frame": k, "pixels": count} for k, count in enumerate(pixels) if count]
            where = {"label": number + 1, "segment": colon.segment_name(polyp.arc_mm)}
            found.append({**where, **to_json(polyp), "seen": frames})
        return found

    def _passed_mm(self) -> tuple[float, float]:
        arc = self._clip.path.arc_mm(self._clip.path.times_s)
        length = self._clip.colon.length_mm
        return max(0.0, float(arc.min())), min(length, float(arc.max()))

    def _share_seen(self, rows: tuple[int, int]) -> dict[str, Any]:
        first = self._first_seen[slice(*rows)]
        area = self._coverage.area_mm2[slice(*rows)].double()
        new = torch.zeros(len(self._pixels), dtype=torch.float64, device=area.device)
        new.index_add_(0, first[first >= 0].long(), area[first >= 0])
        return {
            "stretch_mm": [rows[0] * COVERAGE_MM, rows[1] * COVERAGE_MM],
            "area_mm2": float(area.sum()),
            "seen_share": (new.cumsum(0) / area.sum()).tolist(),
        }
