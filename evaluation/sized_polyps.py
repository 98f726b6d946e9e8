"""Sizes of rendered polyps, by true depth and by a network's, against what they were drawn with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluation.sizes import size_bias_mm, size_errors

if TYPE_CHECKING:
    from colondepth.inference import Predictor
    from colondepth.reconstruction.polyps import PolypSize
    from evaluation.rendered_polyps import RenderedPolyp

# A polyp that is looked at, and not touched: from 10 mm the depth of field begins.
FACE_MM = (10.0, 40.0)
TRUE = "true depth"


@dataclass(frozen=True, slots=True)
class SizesFound:
    """What one source of depth made of all polyps."""

    sizes: Sequence["PolypSize"]
    true_mm: NDArray[np.float64]

    def figures(self) -> dict[str, float]:
        """Return errors of the sizes that were answered, and of all intervals."""
        answered = np.array([size.answered for size in self.sizes])
        every = np.array([size.size_mm for size in self.sizes])
        told = np.where(answered, every, np.nan)
        low, high = (
            np.array([getattr(size, end) for size in self.sizes]) for end in ("low_mm", "high_mm")
        )
        inside = (low <= self.true_mm) & (self.true_mm <= high)
        measured = ~np.isnan(every)
        of_all = size_errors(every, self.true_mm)
        return {
            **{
                f"all_{name}": of_all[name]
                for name in ("size_mae_mm", "size_abs_rel", "size_agreement")
            },
            "all_size_bias_mm": size_bias_mm(every, self.true_mm),
            "all_interval_coverage": float(inside[measured].mean()),
            **size_errors(told, self.true_mm),
            "size_bias_mm": size_bias_mm(told, self.true_mm),
            "interval_coverage": float(inside[answered].mean()) if answered.any() else np.nan,
            "abstained": 1 - float(answered.mean()),
            "stated_log_std": float(
                np.mean([s.log_std for s in self.sizes if np.isfinite(s.log_std)])
            ),
            "log_error_rms": float(
                np.sqrt(np.square(np.log(every[measured] / self.true_mm[measured])).mean())
            ),
        }


def sizes_found(
    polyps: Sequence["RenderedPolyp"], predictor: "Predictor", *, name: str
) -> dict[str, SizesFound]:
    """Return sizes with true depth, and with a network's."""
    from colondepth.reconstruction.polyps import polyp_size

    true_mm = np.array([polyp.size_mm for polyp in polyps])
    with_truth, with_network = [], []
    for polyp in polyps:
        camera = polyp.camera
        with_truth.append(polyp_size(polyp.depth_mm, camera, polyp.polyp, scale_std=0.0))
        answer = predictor.predict(polyp.image, camera)
        depth_mm = answer.depth_mm.where(answer.valid, 0.0)[None]
        std = None if answer.log_depth_std is None else answer.log_depth_std[None]
        with_network.append(polyp_size(depth_mm, camera, polyp.polyp, log_depth_std=std))
    return {TRUE: SizesFound(with_truth, true_mm), name: SizesFound(with_network, true_mm)}
