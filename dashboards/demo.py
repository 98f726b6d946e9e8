"""The demo: the whole chain on a withdrawal through a drawn colon, of which everything is true.

A clip of level 6 - fisheye or pinhole, black border, fluid, blur, noise - is rendered; depth is
predicted for every frame, scored, and fused along the camera's known way; what was seen and missed
is estimated and held against the mesh; polyps are sized and held against the size that they were
drawn with. Nothing is downloaded, and every figure is measured in this run.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from colondepth import inference
from colondepth.atomic import written_whole
from colondepth.pages import figure, rows_table, write_page
from colondepth.pictures import image_panel, values_panel, write_row
from colondepth.reconstruction.camera_motion import DepthFrame, MotionFrom, given_motion
from colondepth.reconstruction.coverage import Coverage, KnownCoverage
from colondepth.reconstruction.polyp_tracks import words_of
from colondepth.reconstruction.reconstructing import (
    Reconstruction,
    add_coverage,
    add_pictures,
    fuse,
    write_motion,
    write_polyps,
    write_walls,
)
from colondepth.reconstruction.reconstruction_page import write_words
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.unrolled import write_unrolled
from evaluation.meshes import Surface as Mesh
from evaluation.meshes import mesh_errors
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.colon_mesh import colon_mesh

LEVEL, SEED = "6", 52  # a way of 6 cm that passes two polyps
FRAMES, FRAMES_PER_S = 48, 4.0
SIZE = (144, 180)
BACKBONE = "sfsnet"
SHOWN = (0.1, 0.4, 0.75)  # of the clip: frames on the page
AROUND_MM = 130.0  # of the colon beyond both ends of the way, for the true mesh
LEAST_LOOKS = 3  # frames: a polyp that fewer show is not told of
POINTS = 60_000  # drawn from each surface


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the page, and how it was made."""

    name: str
    value: float
    unit: str
    made: str


def show(folder: Path, *, tick: Callable[[str], None]) -> tuple[Figure, ...]:
    """Make the page, its pictures and figures.json in `folder`; `tick` hears of each step."""
    tick("Drawing a colon")
    clip = SyntheticClip(
        LEVEL,
        seed=SEED,
        frames=FRAMES,
        height=SIZE[0],
        width=SIZE[1],
        frames_per_s=FRAMES_PER_S,
    )
    known = KnownCoverage(_mesh(clip))
    frames, truths, errors = _predicted(clip, known, tick)
    figures = _depth_figures(errors)
    for name, share in zip("abc", SHOWN, strict=True):
        number = int(share * FRAMES)
        _picture(frames[number], truths[number], folder / "pictures" / f"depth_{name}.png")
    tick("Finding the scale that the motion shows")
    poses = list(clip.path.world_from_camera)
    motion = given_motion(MotionFrom.DATA, poses, frames, clip.camera, fit_scale=True)
    made: dict[str, Any] = {
        "source": clip.name,
        "frames": FRAMES,
        "frames a second": FRAMES_PER_S,
        "depth": BACKBONE,
        "camera": "calibrated",
        "motion": "data",
        "voxel (mm)": 1.0,
    }
    wall = Reconstruction(
        folder=folder / "wall",
        camera=clip.camera,
        made=made,
        motion=motion,
        times_s=[frame.time_s for frame in frames],
        notes=list(motion.notes),
    )
    write_motion(wall.folder, motion, wall.times_s)
    tick("Fusing the wall")
    walls, wall.polyps = fuse(frames, motion, clip.camera, voxel_mm=1.0)
    write_walls(wall, walls)
    tick("What was seen and what was missed")
    add_coverage(wall)
    figures += _wall_figures(wall, known, clip)
    tick("Drawing pictures")
    add_pictures(wall, fly=True, tick=lambda share: None)
    write_polyps(wall)
    write_words(wall)
    if wall.coverage is not None:
        true = known.coverage(wall.coverage.wall.line)
        both = {"estimated from predicted depth": wall.coverage, "true, by rays to the mesh": true}
        write_unrolled(folder / "pictures" / "unrolled.png", both)
        figures.append(_coverage_figure(wall.coverage, true))
    _write_page(folder, figures, wall, clip)
    return tuple(figures)


def _mesh(clip: SyntheticClip) -> Surface:
    arc = clip.path.arc_mm(clip.path.times_s)
    low = max(0.0, float(arc.min()) - AROUND_MM)
    high = min(clip.colon.length_mm, float(arc.max()) + AROUND_MM)
    mesh = colon_mesh(clip.colon, along_mm=1.0, around=160, stretch=(low, high))
    return Surface(vertices_mm=mesh.vertices.float(), faces=mesh.faces)


def _predicted(
    clip: SyntheticClip, known: KnownCoverage, tick: Callable[[str], None]
) -> tuple[list[DepthFrame], list[Tensor], list[tuple[float, float, float]]]:
    """Return frames with predicted depth, true depths, and the errors of each frame."""
    predictor = inference.load(BACKBONE)
    frames, truths, errors = [], [], []
    for number in range(FRAMES):
        tick(f"Rendering and predicting frame {number + 1} of {FRAMES}")
        view = clip[number].view
        answer = predictor.predict(view["image"], view["camera"])
        depth_mm = answer.depth_mm.where(answer.valid, 0.0)[None].clone() * view["valid"]
        std = None if answer.log_depth_std is None else answer.log_depth_std[None].clone()
        known.add(
            clip.camera, view["world_from_camera"], valid=view["valid"], time_s=view["time_s"]
        )
        frames.append(
            DepthFrame(
                name=view["frame_id"],
                time_s=view["time_s"],
                image=view["image"],
                depth_mm=depth_mm,
                log_depth_std=std,
                valid=view["valid"],
                polyp=view["polyp"],
            )
        )
        truths.append(view["depth_mm"])
        both = view["valid"] & (depth_mm > 0) & (view["depth_mm"] > 0)
        if bool(both.any()):
            errors.append(_errors(depth_mm[both], view["depth_mm"][both]))
    return frames, truths, errors


def _errors(found: Tensor, true: Tensor) -> tuple[float, float, float]:
    """Return AbsRel as predicted and after one scale, and delta 1.25 after it."""
    scaled = found * (true.median() / found.median())
    ratio = torch.maximum(scaled / true, true / scaled)
    return (
        float(((found - true).abs() / true).mean()),
        float(((scaled - true).abs() / true).mean()),
        float((ratio < 1.25).double().mean()),
    )


def _depth_figures(errors: list[tuple[float, float, float]]) -> list[Figure]:
    metric, scaled, delta = np.mean(errors, axis=0)
    over = f"mean over {len(errors)} frames of {SIZE[0]}x{SIZE[1]}, level {LEVEL}, {BACKBONE}"
    one = "after one scale a frame (medians)"
    return [
        Figure("AbsRel, metric", float(metric), "", over),
        Figure("AbsRel", float(scaled), "", f"{one}, {over}"),
        Figure("pixels within a factor of 1.25", 100 * float(delta), "%", f"{one}, {over}"),
    ]


def _wall_figures(wall: Reconstruction, known: KnownCoverage, clip: SyntheticClip) -> list[Figure]:
    if wall.wall is None:
        return []
    rng = np.random.default_rng(0)
    true = _mesh(clip)
    seen = true.kept(known.looks > 0)
    own, whole, part = (
        Mesh(each.vertices_mm.double().numpy(), each.faces.numpy())
        for each in (wall.wall, true, seen)
    )
    there, back = (
        mesh_errors(own, each, threshold_mm=2.0, points=POINTS, rng=rng) for each in (whole, part)
    )
    chamfer = (there["mesh_accuracy_mm"] + back["mesh_completeness_mm"]) / 2
    made = "fused wall against the mesh, completeness over what was seen; known camera motion"
    figures = [Figure("Chamfer distance", chamfer, "mm", made)]
    return [*figures, *_polyp_figures(wall, clip)]


def _polyp_figures(wall: Reconstruction, clip: SyntheticClip) -> list[Figure]:
    drawn = clip.colon.draw.polyps
    figures = []
    for number, track in enumerate(wall.polyps, start=1):
        label = _label(clip, track.frames[len(track.frames) // 2])
        size = track.size
        if len(track.frames) < LEAST_LOOKS or label is None or size.size_mm != size.size_mm:
            continue
        made = (
            f"drawn with {drawn[label].size_mm:.1f} mm; {size.words()}; from {len(track.frames)}"
            " masks, which are the true ones"
        )
        figures.append(Figure(f"polyp {number}", size.size_mm, "mm", made))
    return figures


def _label(clip: SyntheticClip, name: str) -> int | None:
    """Return the number of the polyp that a frame's mask shows most of."""
    seen = clip.rendering(int(name))
    count = len(clip.colon.draw.polyps)
    labels = seen.label[seen.valid & (seen.label > 0) & (seen.label <= count)].long()
    return int(labels.bincount().argmax()) - 1 if len(labels) else None


def _coverage_figure(found: Coverage, true: Coverage) -> Figure:
    made = (
        f"estimated {found.seen_share:.1%}, true {true.seen_share:.1%} of the wall beside the"
        " camera's way"
    )
    off = 100 * abs(found.seen_share - true.seen_share)
    return Figure("coverage is off by", off, "points", made)


def _picture(frame: DepthFrame, true_mm: Tensor, path: Path) -> None:
    known = (true_mm > 0) & frame.usable_mm.bool()
    far = float(true_mm[known].quantile(0.98)) if bool(known.any()) else 100.0
    panels = [
        image_panel(f"frame {frame.name}", frame.image),
        values_panel("predicted depth", frame.depth_mm, known=known, unit="mm", limits=(0, far)),
        values_panel("true depth", true_mm, known=known, unit="mm", limits=(0, far)),
    ]
    if frame.log_depth_std is not None:
        unsure = 100 * frame.log_depth_std
        panels.append(values_panel("how unsure", unsure, known=known, unit="% of depth"))
    write_row(panels, path)


def _write_page(
    folder: Path, figures: list[Figure], wall: Reconstruction, clip: SyntheticClip
) -> None:
    rows = [
        (
            escape(each.name),
            f"<span class=n>{each.value:.3g} {escape(each.unit)}</span>",
            escape(each.made),
        )
        for each in figures
    ]
    polyps = "".join(f"<li>{escape(line)}" for line in words_of(wall.polyps)) or "<li>none"
    depth = "".join(
        figure(f"pictures/depth_{name}.png", "A frame, what the network says, what is true.")
        for name in "abc"
    )
    body = (
        f"<h2>Figures of this run</h2>{rows_table(rows)}"
        f"<h2>Depth</h2>{depth}"
        "<h2>The wall</h2><p>Fused from the predicted depths along the camera's way. Drag turns,"
        " the wheel zooms, a double click goes inside."
        ' <a href="wall/index.html">Its own page</a> has every file.</p>'
        '<iframe src="wall/viewer.html"></iframe>'
        "<video src='wall/fly_through.mp4' controls loop muted></video>"
        "<h2>What was seen, and what was missed</h2>"
        + figure("pictures/unrolled.png", "Above as estimated from depth, below as it is.")
        + f"<h2>Polyps</h2><ul>{polyps}</ul>"
    )
    lead = (
        f"Version {version('colondepth')}. A withdrawal through a drawn colon ({clip.name}), made"
        " and measured on this machine: no data, no network."
    )
    write_page(folder / "index.html", title="colondepth demo", lead=escape(lead), body=body)
    answer = {"version": version("colondepth"), "figures": [asdict(f) for f in figures]}
    with written_whole(folder / "figures.json") as temporary:
        temporary.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
