"""Synthetic clips as folders that explain themselves, each whole or not there at all.

A clip is written into a hidden folder beside its own, `.NAME.unfinished`, which takes the clip's
name when the last file stands. What a layout has no place for is left out by name, in its README.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import torch

from colondepth.data import ruano
from colondepth.data.writers import write_c3vd, write_ruano
from colondepth.errors import DataError
from colondepth.trajectories import Trajectory, TrajectoryForm, write_trajectory
from colondepth.views import Clip, View
from synthetic_colons.anatomy import ColonDraw
from synthetic_colons.clip_readme import readme
from synthetic_colons.clip_truth import ClipTruth
from synthetic_colons.clips import Frame, SyntheticClip, dice
from synthetic_colons.colon_mesh import colon_mesh
from synthetic_colons.draw_json import from_json, to_json
from synthetic_colons.light import Lamps
from synthetic_colons.mesh_files import write_mesh
from synthetic_colons.provenance import made_with
from synthetic_colons.sensor_draws import SensorSettings, draw_sensor
from synthetic_colons.tissue import TissueSettings, draw_tissue

# What a disk must hold, from above: C3VD's 3 bytes of colour, 2 of depth, 6 of normals and 6 of
# flow hardly pack when a sensor adds noise; Ruano's JPEGs are of the highest quality.
BYTES_A_PIXEL = {"c3vd": 18, "ruano": 4}
MESH_BYTES = 45_000_000  # of the longest colon, seen from end to end
_TEXT_BYTES, _TEXT_BYTES_A_FRAME = 200_000, 500  # parameters; pose, coverage and polyps


class Layout(StrEnum):
    """Whose files the frames look like."""

    C3VD = "c3vd"
    RUANO = "ruano"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOrder:
    """What somebody wants to have written."""

    level: str
    seed: int
    number: int
    frames: int
    height: int
    width: int
    frames_per_s: float
    layout: Layout
    mesh: bool

    @property
    def name(self) -> str:
        """The clip's, and so the folder's, as `SyntheticClip.name`."""
        return f"level{self.level}_seed{self.seed}_clip{self.number}"


def is_written(order: ClipOrder, out: Path) -> bool:
    """Return whether a clip stands whole in its folder; another one in its place is an error."""
    folder = out / order.name
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    asked = _parameters(folder)["asked"]
    own = to_json(order)
    if differs := [name for name in own if asked.get(name) != own[name]]:
        words = ", ".join(f"{name} {asked.get(name)}, now {own[name]}" for name in differs)
        raise DataError(f"{folder} was made with {words}; nothing is overwritten: take another out")
    return True


def require_room(orders: Sequence[ClipOrder], out: Path) -> int:
    """Refuse a disk that is too small for the clips; return the bytes that they need at most."""
    needed = sum(_bytes(order) for order in orders)
    place = next(each for each in (out.resolve(), *out.resolve().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataError(
            f"{out} needs up to {needed / 1e9:.2f} GB for {len(orders)} clips and has"
            f" {free / 1e9:.2f} GB free; take another disk, or fewer, shorter or smaller clips"
        )
    return needed


def write_clip(
    order: ClipOrder,
    out: Path,
    *,
    device: torch.device | str = "cpu",
    tick: Callable[[], None] = lambda: None,
) -> Path:
    """Render a clip and write its folder; return it.

    Args:
        order: which clip; `is_written` says whether it stands already.
        out: the folder of the clip's folder.
        device: where frames are rendered.
        tick: called after every frame.
    """
    folder, unfinished = out / order.name, out / f".{order.name}.unfinished"
    try:
        out.mkdir(parents=True, exist_ok=True)
        if unfinished.exists():  # of a run that was killed
            shutil.rmtree(unfinished)
        _write(order, unfinished, device, tick)
        if folder.exists():
            folder.rmdir()  # it is empty, or this is an error
        unfinished.replace(folder)
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def read_colon(folder: Path) -> ColonDraw:
    """Return the numbers of the colon that a clip's folder shows; `build_colon` builds it."""
    return from_json(ColonDraw, _parameters(folder)["colon"])


def _write(
    order: ClipOrder, folder: Path, device: torch.device | str, tick: Callable[[], None]
) -> None:
    clip = SyntheticClip(
        order.level,
        seed=order.seed,
        number=order.number,
        frames=order.frames,
        height=order.height,
        width=order.width,
        frames_per_s=order.frames_per_s,
        device=device,
    )
    truth = ClipTruth(clip)
    ids = [f"{k:05d}" for k in range(len(clip))]
    read = partial(_view, clip, truth, order.layout, tick)
    views = Clip(read, ids, camera=clip.camera, name=clip.name)
    if order.layout is Layout.C3VD:
        write_c3vd(views, folder)
    else:
        write_ruano(views, folder)
        way = Trajectory(clip.path.world_from_camera, clip.path.times_s)
        path = folder / "trajectory.txt"
        write_trajectory(way, path, form=TrajectoryForm.TUM, mm_per_unit=1.0)
    stretch = truth.shown_mm if order.mesh else None
    if stretch is not None:
        write_mesh(colon_mesh(clip.colon, stretch=stretch), folder / "mesh.ply")
    _write_json({"polyps": truth.polyps()}, folder / "polyps.json")
    _write_json(truth.coverage(), folder / "coverage.json")
    (folder / "README.txt").write_text(readme(order.layout, mesh=order.mesh), encoding="utf-8")
    camera = json.loads((folder / "camera.json").read_text(encoding="utf-8"))
    drawn = _drawn(clip, order)
    whole = {
        "asked": to_json(order),
        "made_with": made_with(clip.device),
        "mesh_stretch_mm": stretch,
        "camera": camera,
        **drawn,
    }
    _write_json(whole, folder / "parameters.json")


def _view(
    clip: SyntheticClip, truth: ClipTruth, layout: Layout, tick: Callable[[], None], number: int
) -> View:
    """Return what the layout has a place for, and count the rest."""
    frame: Frame = clip[number]
    truth.add(number, frame)
    tick()
    own = frame.view
    view = View(image=own["image"], camera=own["camera"], valid=own["valid"])
    if layout is Layout.RUANO:
        distance = own["distance_mm"]
        reach = ruano.MM_PER_COUNT * 255
        view["distance_mm"] = torch.where(distance <= reach, distance, 0)
        view["polyp"] = own["polyp"]
        return view
    view["depth_mm"], view["normals"] = own["depth_mm"], own["normals"]
    view["world_from_camera"] = own["world_from_camera"]
    nothing = torch.zeros_like(own["image"][:2])
    back, known = frame.flow_to_previous_px, frame.flow_to_previous_known
    view["flow_to_previous_px"] = nothing if back is None else back
    view["flow_to_previous_known"] = nothing[:1] > 0 if known is None else known
    return view


def _drawn(clip: SyntheticClip, order: ClipOrder) -> dict[str, Any]:
    """Return every number that was drawn; tissue and sensor are drawn again from their dice."""
    level = clip.level

    def again(purpose: str) -> torch.Generator:
        return dice(level.name, order.seed, order.number, purpose)

    coloured = TissueSettings(
        coloured=level.coloured, relief=level.relief, randomised=level.randomised
    )
    sensor = None
    if level.clinic:
        size = (order.height, order.width)
        sensor = to_json(draw_sensor(again("sensor"), 1, *size, SensorSettings()).clip)
    return {
        "level": to_json(level),
        "colon": to_json(clip.colon.draw),
        "path": to_json(clip.path.draw),
        "lamps": _lamps(clip.lamps),
        "tissue": to_json(draw_tissue(again("looks"), coloured)),
        "sensor": sensor,
        "clinic": None if clip.clinic is None else to_json(clip.clinic),
    }


def _lamps(lamps: Lamps) -> list[dict[str, Any]]:
    rows = lamps.numbers[0].tolist()
    return [
        {"place_mm": n[:3], "axis": n[3:6], "power_rgb": n[6:9], "cosine_exponent": n[9]}
        for n in rows
        if any(n[6:9])  # the others are dark
    ]


def _parameters(folder: Path) -> dict[str, Any]:
    path = folder / "parameters.json"
    if not path.is_file():
        raise DataError(
            f"{folder} exists and has no parameters.json, so it is no clip of ours; nothing is"
            " overwritten: move it away or take another out"
        )
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["asked"]["level"]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DataError(f"{path} is not what a clip of ours has there: {error}") from error
    return found


def _bytes(order: ClipOrder) -> int:
    pixels = order.frames * order.height * order.width
    text = _TEXT_BYTES + _TEXT_BYTES_A_FRAME * order.frames
    return BYTES_A_PIXEL[order.layout] * pixels + text + MESH_BYTES * order.mesh


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
