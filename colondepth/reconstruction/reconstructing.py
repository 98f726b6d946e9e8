"""From a clip with depth to everything: motion, wall, coverage, polyps, pictures; stage by stage.

What a stage made stays in the folder. Run again with the same settings, depth and motion are read
and not made anew; with other settings the folder is refused. A stage that cannot be done says why
in a sentence, which goes into the report, and those that can be done without it go on.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import nan
from pathlib import Path
from typing import Any

import torch

from colondepth.atomic import written_whole
from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.reconstruction.camera_motion import CameraMotion, DepthFrame, MotionFrom
from colondepth.reconstruction.coverage import (
    Coverage,
    KnownCoverage,
    estimated_coverage,
    facing_the_lumen,
    write_coverage,
)
from colondepth.reconstruction.fly_through import write_fly_through
from colondepth.reconstruction.fusion import Fusion
from colondepth.reconstruction.polyp_tracks import PolypTrack, PolypTracks
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.surface_files import read_surface, write_surface
from colondepth.reconstruction.unrolled import write_unrolled
from colondepth.reconstruction.viewer import write_viewer
from colondepth.trajectories import Trajectory, TrajectoryForm, write_trajectory

SCHEMA = 1
SETTINGS, MOTION, REPORT = "reconstruct.json", "motion.json", "index.html"
LEAST_PIECE = 10  # frames of a piece besides the largest that is fused as well
WALL_FORMS = (".ply", ".glb", ".stl", ".obj")


@dataclass(slots=True, kw_only=True)
class Reconstruction:
    """What was made of a clip; what could not be made is None, and `notes` say why."""

    folder: Path
    camera: Camera
    made: dict[str, Any]
    motion: CameraMotion
    times_s: list[float]
    wall: Surface | None = None
    coverage: Coverage | None = None
    known: Coverage | None = None  # of a mesh that was given
    polyps: list[PolypTrack] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: list[tuple[str, str]] = field(default_factory=list)  # name, what it is


def require_same_settings(folder: Path, made: dict[str, Any]) -> None:
    """Refuse a folder that holds something else; note the settings in a new one."""
    path = folder / SETTINGS
    if path.exists():
        try:
            there = json.loads(path.read_text(encoding="utf-8"))["made"]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} cannot be read ({error}); choose another --out") from error
        if differing := [name for name in made if there.get(name) != made[name]]:
            name = differing[0]
            raise DataError(
                f"--out {folder} was made with {name} {there.get(name)!r}, not {made[name]!r};"
                " choose another folder"
            )
        return
    if folder.is_dir() and (others := sorted(p.name for p in folder.iterdir())):
        raise DataError(
            f"--out {folder} holds {others[0]!r} and no {SETTINGS}; expected a new folder, an empty"
            " one or one of `colondepth reconstruct`"
        )
    _write_json(path, {"schema": SCHEMA, "version": version("colondepth"), "made": made})


def read_motion(folder: Path) -> tuple[CameraMotion, list[float]] | None:
    """Return the motion that a folder has, with the time of every frame; None without one."""
    path = folder / MOTION
    if not path.exists():
        return None
    table = json.loads(path.read_text(encoding="utf-8"))
    poses = [
        None if each is None else torch.tensor(each, dtype=torch.float64)
        for each in table["world_from_camera"]
    ]
    motion = CameraMotion(
        how=MotionFrom(table["how"]),
        world_from_camera=tuple(poses),
        factor=tuple(table["factor"]),
        piece=tuple(table["piece"]),
        notes=tuple(table["notes"]),
    )
    return motion, [nan if each is None else each for each in table["times_s"]]


def write_motion(folder: Path, motion: CameraMotion, times_s: Sequence[float]) -> None:
    """Write motion.json, and the placed frames of the largest piece as a TUM file in mm."""
    poses = [None if pose is None else pose.tolist() for pose in motion.world_from_camera]
    _write_json(
        folder / MOTION,
        {
            "schema": SCHEMA,
            "how": str(motion.how),
            "largest_piece": motion.largest,
            "notes": list(motion.notes),
            "piece": list(motion.piece),
            "factor": list(motion.factor),
            "times_s": [None if each != each else each for each in times_s],
            "world_from_camera": poses,
        },
    )
    numbers = motion.of_piece(motion.largest)
    if not numbers:
        return
    times = [times_s[k] if times_s[k] == times_s[k] else float(k) for k in numbers]
    placed = torch.stack([motion.world_from_camera[k] for k in numbers])  # type: ignore[misc]
    trajectory = Trajectory(placed, torch.tensor(times, dtype=torch.float64))
    write_trajectory(trajectory, folder / "trajectory.txt", form=TrajectoryForm.TUM, mm_per_unit=1)


def fuse(
    frames: Iterable[DepthFrame],
    motion: CameraMotion,
    camera: Camera,
    *,
    voxel_mm: float,
    tick: Callable[[], None] = lambda: None,
) -> tuple[dict[int, Fusion], list[PolypTrack]]:
    """Fuse every piece that has frames enough, and size the polyps whose masks come along."""
    largest = motion.largest
    kept = {
        piece
        for piece in set(motion.piece)
        if piece == largest or len(motion.of_piece(piece)) >= LEAST_PIECE
    }
    walls: dict[int, Fusion] = {}
    tracks = PolypTracks(camera)
    for number, frame in enumerate(frames):
        pose, piece = motion.world_from_camera[number], motion.piece[number]
        depth_mm = frame.depth_mm * motion.factor[number]
        if frame.polyp is not None and bool(frame.polyp.any()):
            tracks.add(
                frame.name,
                depth_mm,
                frame.polyp,
                log_depth_std=frame.log_depth_std,
                world_from_camera=pose if piece == largest else None,
                inside=frame.depth_mm > 0,
            )
        if pose is not None and piece in kept:
            wall = walls.setdefault(piece, Fusion(voxel_mm=voxel_mm))
            wall.integrate(
                depth_mm,
                camera,
                pose,
                image=frame.image,
                log_depth_std=frame.log_depth_std,
                valid=frame.valid,
            )
        tick()
    return {piece: wall for piece, wall in walls.items() if wall.frames}, tracks.tracks


def write_walls(done: Reconstruction, walls: dict[int, Fusion]) -> None:
    """Write the wall of the largest piece in all forms, and those of the others as PLY."""
    largest = done.motion.largest
    for piece, fusion in walls.items():
        surface = fusion.surface()
        if not len(surface.faces):
            continue
        if piece == largest:
            done.wall = surface
            for form in WALL_FORMS:
                write_surface(surface, done.folder / f"wall{form}")
        else:
            write_surface(surface, done.folder / f"wall_piece_{piece}.ply")
    if done.wall is None:
        used = sum(fusion.frames for fusion in walls.values())
        done.notes.append(f"no wall: {used} frames had a place and a pixel with depth to use")


def read_wall(folder: Path) -> Surface | None:
    """Return the wall that a folder has."""
    path = folder / "wall.ply"
    return read_surface(path) if path.exists() else None


def add_coverage(done: Reconstruction) -> None:
    """Estimate coverage of the largest piece, or note why it cannot be."""
    if done.wall is None:
        return
    numbers = done.motion.of_piece(done.motion.largest)
    poses = [pose for k in numbers if (pose := done.motion.world_from_camera[k]) is not None]
    places = torch.stack([pose[:3, 3] for pose in poses])
    try:
        done.coverage = estimated_coverage(
            done.wall, places, times_s=[done.times_s[k] for k in numbers]
        )
    except DataError as error:
        done.notes.append(f"no coverage: {error}")
        return
    if done.coverage.turns_back:
        done.notes.append("the lumen's line comes near to itself: coverage there mixes two bends")
    write_coverage(done.folder / "coverage.json", done.coverage, made_with=done.made)


def add_known_coverage(
    done: Reconstruction,
    mesh: Surface,
    frames: Iterable[DepthFrame],
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Follow the rays of every placed frame to a mesh that is known, in the frame of the poses."""
    poses = [pose for pose in done.motion.world_from_camera if pose is not None]
    wall = facing_the_lumen(mesh, done.camera, poses[:: max(1, len(poses) // 5)])
    known = KnownCoverage(wall)
    for frame, pose, time_s in zip(
        frames, done.motion.world_from_camera, done.times_s, strict=True
    ):
        if pose is not None:
            inside = frame.depth_mm > 0 if frame.valid is None else frame.valid
            known.add(done.camera, pose, valid=inside, time_s=time_s)
        tick()
    # On the line of the estimate, so that the two can be laid side by side.
    line = None if done.coverage is None else done.coverage.wall.line
    done.known = known.coverage(line)
    write_coverage(done.folder / "coverage_known.json", done.known, made_with=done.made)


def add_pictures(done: Reconstruction, *, fly: bool, tick: Callable[[float], None]) -> None:
    """Write the wall laid flat, the viewer, the wall from outside and the flight through it."""
    from colondepth.images import write_image
    from colondepth.reconstruction.surface_pictures import surface_picture

    maps = {"estimated from depth": done.coverage, "known: rays followed to the mesh": done.known}
    if there := {title: coverage for title, coverage in maps.items() if coverage is not None}:
        write_unrolled(done.folder / "unrolled.png", there)
    if done.wall is None:
        return
    numbers = done.motion.of_piece(done.motion.largest)
    poses = [pose for k in numbers if (pose := done.motion.world_from_camera[k]) is not None]
    way = torch.stack([pose[:3, 3] for pose in poses]).float() if poses else None
    write_viewer(done.wall, done.folder / "viewer.html", title="The wall", path_mm=way)
    picture = torch.from_numpy(surface_picture(done.wall, height=520, width=900))
    write_image(picture.movedim(-1, 0).float() / 255, done.folder / "outside.png")
    if fly and done.coverage is not None:
        wall = done.coverage.wall
        stretch = (wall.start_mm, wall.start_mm + wall.rows * 2.0)
        write_fly_through(done.wall, wall.line, stretch, done.folder / "fly_through.mp4", tick=tick)


def write_polyps(done: Reconstruction) -> None:
    """Write polyps.json."""
    _write_json(
        done.folder / "polyps.json",
        {
            "schema": SCHEMA,
            "version": version("colondepth"),
            "warning": "Research software, not for diagnosis.",
            "made_with": done.made,
            "polyps": [track.table() for track in done.polyps],
        },
    )


def summary(done: Reconstruction) -> dict[str, Any]:
    """Return what was made as plain values."""
    placed = len(done.motion.of_piece(done.motion.largest))
    area = None if done.wall is None else round(float(done.wall.areas_mm2().sum()), 1)
    return {
        "folder": str(done.folder),
        "frames": len(done.motion.world_from_camera),
        "placed": placed,
        "pieces": len(set(done.motion.piece)),
        "motion": str(done.motion.how),
        "wall_area_mm2": area,
        "seen_share": None if done.coverage is None else done.coverage.seen_share,
        "known_seen_share": None if done.known is None else done.known.seen_share,
        "gaps": None
        if done.coverage is None
        else [asdict(gap) for gap in done.coverage.gaps if not gap.open_end],
        "polyps": [track.table() for track in done.polyps],
        "notes": done.notes,
    }


def _write_json(path: Path, table: dict[str, Any]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
