"""What can be known about depth on images with a polyp's mask and without depth.

ETIS-Larib, CVC-ClinicDB, CVC-ColonDB and Kvasir-SEG have no depth and no calibration. Each module
`etis_*` measures one thing that can be known all the same and says what it cannot tell; here they
are put together for one image and run over a dataset. None of them stands for accuracy: the
documents' page on them has what each was worth on rendered polyps, where depth is known.

Images are measured at `LONGEST_PX` on the longer side, so that pixels mean the same in every
dataset. Pixels on highlights, burnt-in text and outside the aperture are left out. Of several
polyps in a mask the largest counts for relief and pairs; the others are no wall either.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from colondepth.errors import DataError
from colondepth.masks import find_aperture, find_specular, find_text
from colondepth.reconstruction.polyps import PolypSize, polyp_size
from colondepth.reconstruction.relief import Relief, relief
from colondepth.remapping import resize_view
from colondepth.views import MAP_KINDS, Clip, View
from evaluation.etis_borders import Borders, borders
from evaluation.etis_ordinal import PointPair, disagreement
from evaluation.etis_pairs import NEIGHBOURS, Agreement, Seen, agreement, grey_of
from evaluation.etis_shading import Shading, lighting_of, shading
from evaluation.etis_stability import Predict, Stability, stability
from evaluation.quantities import Quantity

LONGEST_PX = 320

# Every score of an image, in the order of the tables. `relief_mm` and `size_mm` have no better end:
# they are facts about depth, to be held against what is known of the polyp.
SCORES: Mapping[str, Quantity] = {
    "relief_mm": Quantity("height of the polyp above the wall", "mm", lower_is_better=False),
    "relief_to_noise": Quantity(
        "height of the polyp over the roughness around it", "", lower_is_better=False
    ),
    "border_f_depth": Quantity(
        "breaks of depth on the mask's border, F", "", lower_is_better=False
    ),
    "border_f_normals": Quantity(
        "breaks of normals on the mask's border, F", "", lower_is_better=False
    ),
    "border_f_chance": Quantity(
        "F of calling every pixel a break, a control", "", lower_is_better=False, ranks=False
    ),
    "shading": Quantity("correlation of relit depth and image", "", lower_is_better=False),
    "shading_detail": Quantity("the same without what is broad in both", "", lower_is_better=False),
    "shading_margin": Quantity(
        "lead over flat, mirrored and another image's depth", "", lower_is_better=False
    ),
    "shading_trivial": Quantity(
        "correlation of 1/sqrt(luminance), a control", "", lower_is_better=False, ranks=False
    ),
    "stability": Quantity(
        "median |log ratio| after changes of the image, mean over them", "", lower_is_better=True
    ),
    "whdr": Quantity("point pairs in the wrong order", "", lower_is_better=True),
    "size_mm": Quantity(
        "longest diameter, if camera and depth were right: see sizes.csv",
        "mm",
        lower_is_better=False,
        ranks=False,
    ),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class Measured:
    """One image with all that was measured on it."""

    clip: str
    frame: str
    view: View  # at the size at which it was measured
    depth_mm: Tensor  # (1, H, W), 0 where unknown
    usable: Tensor  # (1, H, W) bool
    relief: Relief
    borders: Borders
    shading: Shading
    stability: Stability | None  # None where it was not asked for
    whdr: float
    point_pairs: int
    size: PolypSize

    @property
    def scores(self) -> dict[str, float]:
        """The scores by the names of `SCORES`; nan for what could not be measured."""
        nan = float("nan")
        return {
            "relief_mm": self.relief.height_mm,
            "relief_to_noise": self.relief.signal_to_noise,
            "border_f_depth": self.borders.depth_f,
            "border_f_normals": self.borders.normals_f,
            "border_f_chance": self.borders.chance,
            "shading": self.shading.correlation,
            "shading_detail": self.shading.detail,
            "shading_margin": self.shading.margin,
            "shading_trivial": self.shading.trivial,
            "stability": nan if self.stability is None else self.stability.mean,
            "whdr": self.whdr,
            "size_mm": self.size.size_mm,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An image that was not measured, and why."""

    clip: str
    frame: str
    why: str


@dataclass(kw_only=True)
class EtisRun:
    """What a run over a dataset leaves beside its images: pairs, and what was left out."""

    agreements: list[Agreement] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def measure_image(
    view: View,
    depth_mm: Tensor,
    *,
    clip: str,
    predict: Predict | None = None,
    other_depth_mm: Tensor | None = None,
    point_pairs: Sequence[PointPair] = (),
    labelled_size: tuple[int, int] | None = None,
) -> Measured:
    """Measure all that can be known about depth on one image.

    Args:
        view: image, camera and the mask `polyp`, of the size at which to measure.
        depth_mm: of these pixels, (1, H, W), z, 0 where unknown.
        clip: name of where the image is from.
        predict: the network, for stability; without it there is none.
        other_depth_mm: another image's depth, for the control of shading.
        point_pairs: which of two points is nearer, in pixels of `labelled_size`.
        labelled_size: (height, width) of the image that was labelled; the view's own if absent.
    """
    image, camera = view["image"], view["camera"]
    if "polyp" not in view or not bool(view["polyp"].any()):
        raise DataError(f"image {view.get('frame_id', '')!r} has no polyp in its mask")
    inside = find_aperture(image)
    usable = inside & ~find_specular(image, inside=inside) & ~find_text(image, inside=inside)
    polyp = largest_piece(view["polyp"])
    wall_or_polyp = usable & ~(view["polyp"] & ~polyp)
    # A highlight on the polyp or on the wall hides nothing from the network's own depth.
    seen = inside & ~(view["polyp"] & ~polyp)
    wrong, count = disagreement(
        depth_mm, point_pairs, size=labelled_size or (image.shape[-2], image.shape[-1])
    )
    return Measured(
        clip=clip,
        frame=view.get("frame_id", ""),
        view=view,
        depth_mm=depth_mm,
        usable=wall_or_polyp,
        relief=relief(depth_mm, camera, polyp=polyp, usable=seen),
        borders=borders(depth_mm, camera, polyp=view["polyp"], usable=inside),
        shading=shading(
            depth_mm,
            camera,
            lighting_of(image, camera, usable=usable, other_depth_mm=other_depth_mm),
        ),
        stability=None
        if predict is None
        else stability(depth_mm, image, camera, usable=inside, predict=predict),
        whdr=wrong,
        point_pairs=count,
        size=polyp_size(depth_mm, camera, polyp, inside=inside),
    )


def measure_clips(
    clips: Iterable[Clip],
    predict: Predict,
    run: EtisRun,
    *,
    point_pairs: Mapping[str, Sequence[PointPair]] | None = None,
    with_stability: bool = True,
) -> Iterator[Measured]:
    """Measure the images of a dataset one after the other; nothing is kept but near neighbours.

    Another image's depth, the control of shading, is that of the next image of the same clip, or
    of the one before for the last.

    Args:
        clips: with masks.
        predict: the network.
        run: takes the pairs that are found and what is left out, while the images come.
        point_pairs: of each frame, by its name.
        with_stability: whether the network answers eight more times for every image.
    """
    for clip in clips:
        before: list[Seen] = []
        for view, size, depth_mm, other_mm in _with_other(_predicted(clip, predict, run)):
            measured = measure_image(
                view,
                depth_mm,
                clip=clip.name,
                predict=predict if with_stability else None,
                other_depth_mm=other_mm,
                point_pairs=(point_pairs or {}).get(view["frame_id"], ()),
                labelled_size=size,
            )
            seen = Seen(
                frame=measured.frame,
                grey=grey_of(view["image"]),
                polyp=largest_piece(view["polyp"])[0].cpu().numpy(),
                depth_mm=depth_mm,
                relief=measured.relief,
            )
            pairs = (agreement(earlier, seen) for earlier in before)
            run.agreements += [pair for pair in pairs if pair is not None]
            before = [*before, seen][-NEIGHBOURS:]
            yield measured


def working_view(view: View) -> View:
    """Return the view with `LONGEST_PX` on its longer side; a smaller one stays as it is."""
    height, width = view["image"].shape[-2:]
    shrink = LONGEST_PX / max(height, width)
    if shrink >= 1:
        return view
    size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
    keys = [name for name in MAP_KINDS if name in view]
    return cast(View, resize_view(view, keys, size, kinds={}))


def largest_piece(polyp: Tensor) -> Tensor:
    """Return the largest connected piece of a mask, (1, H, W) bool."""
    pieces, count = ndimage.label(polyp[0].cpu().numpy())
    if count < 2:
        return polyp
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    return torch.from_numpy(pieces == largest)[None].to(polyp.device)


_Predicted = tuple[View, tuple[int, int], Tensor]  # at its working size, its own size, its depth


def _predicted(clip: Clip, predict: Predict, run: EtisRun) -> Iterator[_Predicted]:
    """Give the views of a clip with depth; what cannot be measured is listed."""
    for view in clip:
        frame = view["frame_id"]
        if "polyp" not in view:
            raise DataError(
                f"clip {clip.name!r} has no polyp masks; expected ETIS-Larib, CVC or Kvasir-SEG:"
                " images/ beside masks/, or Original/ beside Ground Truth/"
            )
        if not bool(view["polyp"].any()):
            run.left_out.append(LeftOut(clip=clip.name, frame=frame, why="mask without polyp"))
            continue
        size = (view["image"].shape[-2], view["image"].shape[-1])
        small = working_view(view)
        if not bool(small["polyp"].any()):
            run.left_out.append(LeftOut(clip=clip.name, frame=frame, why="polyp below a pixel"))
            continue
        depth_mm = predict(small["image"], small["camera"])
        if not bool((depth_mm > 0).any()):
            run.left_out.append(LeftOut(clip=clip.name, frame=frame, why="no depth predicted"))
            continue
        yield small, size, depth_mm


def _with_other(
    images: Iterable[_Predicted],
) -> Iterator[tuple[View, tuple[int, int], Tensor, Tensor | None]]:
    """Give every image with the depth of the next one, the last with that of the one before."""
    waiting: _Predicted | None = None
    before: Tensor | None = None
    for each in images:
        if waiting is not None:
            yield *waiting, each[2]
            before = waiting[2]
        waiting = each
    if waiting is not None:
        yield *waiting, before
