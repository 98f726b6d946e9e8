"""`colondepth reconstruct`: from a video to the wall, what was seen of it, and polyp sizes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.folders import require_folder
from colondepth.commands.notes import tell_skipped
from colondepth.commands.predict import network_of, opened, thinned
from colondepth.commands.reconstruct_input import Frames, found_motion, motion_from, predicted_by
from colondepth.console import err, out, print_json, progress, resumable
from colondepth.errors import DataError

if TYPE_CHECKING:
    from colondepth.reconstruction.camera_motion import CameraMotion
    from colondepth.reconstruction.reconstructing import Reconstruction
    from colondepth.reconstruction.surface import Surface
    from colondepth.views import Clip

DEPTHS = ("predicted", "data")


def reconstruct(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="A video, an image, a folder or a glob in quotes."),
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for all that is made.")],
    motion: Annotated[
        str | None,
        typer.Option(help="data: poses that came along; odometry: from depth; sfm: pycolmap."),
    ] = None,
    trajectory: Annotated[
        Path | None, typer.Option(help="File of poses, one a frame, in place of --motion.")
    ] = None,
    form: Annotated[
        str | None, typer.Option(help="Of --trajectory: tum, kitti, c3vd, simcol3d.")
    ] = None,
    mm_per_unit: Annotated[
        float | None, typer.Option(help="Millimetres in a unit of --trajectory, for tum and kitti.")
    ] = None,
    depth: Annotated[
        str, typer.Option(help="predicted: by --backbone; data: depth that came along.")
    ] = "predicted",
    backbone: Annotated[str, typer.Option(help="Of `colondepth backbones`.")] = "sfsnet",
    weights: Annotated[
        Path | None, typer.Option(help="File of weights; those of the package if absent.")
    ] = None,
    camera: Annotated[
        Path | None, typer.Option(help="Calibration; else the input's own, else a guess.")
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of polyp masks, NAME.png for a frame NAME.")
    ] = None,
    mesh: Annotated[
        Path | None,
        typer.Option(
            help="The true wall in mm, in the poses' frame: what was seen of it, exactly."
        ),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to take of a video; 8 if absent.")
    ] = None,
    voxel_mm: Annotated[float, typer.Option(help="Grain of the wall.", min=0.2, max=10)] = 1.0,
    fly: Annotated[bool, typer.Option(help="Also write a flight through the wall.")] = True,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...; a GPU if there is one, if absent.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad files and frames out, and list them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Rebuild the colon wall in 3D, with what was seen and missed, and polyp sizes.

    One image gives the wall of its view. The folder explains itself; run again, the same command
    goes on where it stopped. Not for diagnosis.
    """
    from colondepth.cameras import from_file
    from colondepth.prediction_run import require_size
    from colondepth.reconstruction.reconstructing import (
        add_coverage,
        add_known_coverage,
        add_pictures,
        require_same_settings,
        summary,
        write_polyps,
    )
    from colondepth.reconstruction.reconstruction_page import write_words

    require_folder(folder, of="new or of a reconstruction")
    if depth not in DEPTHS:
        raise DataError(f"--depth is {depth!r}, expected {' or '.join(DEPTHS)}")
    lens = None if camera is None else from_file(camera)
    reading = opened(source, lens, skip_bad=skip_bad)
    if len(reading.clips) > 1:
        names = ", ".join(clip.name for clip in reading.clips[:4])
        raise DataError(
            f"{source} has {len(reading.clips)} clips ({names}, ...); expected one: give the folder"
            " of one of them"
        )
    rate = fps or (VIDEO_FPS if reading.dataset == "video" else None)
    clip = thinned(reading.clips[0], reading, source, rate, skip_bad=skip_bad)
    require_size(clip, source)
    how = motion_from(clip, motion, trajectory)
    made: dict[str, Any] = {
        "source": Path(source).name,
        "frames": len(clip),
        "frames a second": rate,
        "depth": f"{backbone}" if depth == "predicted" else "came with the data",
        "weights": None if weights is None else weights.name,
        "camera": "calibrated" if clip.camera.calibrated else "assumed, not calibrated",
        "motion": str(how),
        "trajectory": None if trajectory is None else trajectory.name,
        "masks": None if masks is None else masks.name,
        "mesh": None if mesh is None else mesh.name,
        "voxel (mm)": voxel_mm,
    }
    known_wall = _known_wall(mesh, how)
    for warning in reading.warnings:
        _note(warning)
    stopped = f"finished stages are in {folder}; the same command goes on from there"
    bar = progress()
    bar.disable = not err.is_terminal
    with bar, resumable(stopped):
        frames: Frames
        network = None
        if depth == "predicted":
            network = network_of(
                backbone, weights, device if device is None else usable_device(device)
            )
        require_same_settings(folder, made)
        if network is None:
            frames = Frames(clip, None, masks)
        else:
            frames = Frames(clip, predicted_by(network, clip, folder / "depth", source, bar), masks)
        found, times_s = found_motion(
            clip, frames, folder, how, trajectory, form, mm_per_unit, depth, bar
        )
        done = _fused(clip, frames, folder, found, times_s, made, voxel_mm, bar)
        if len(clip) == 1:
            _teach(done, frames)
        add_coverage(done)
        if known_wall is not None:
            task = bar.add_task("Known wall", total=len(clip))
            add_known_coverage(done, known_wall, frames, tick=lambda: bar.advance(task))
        flying = bar.add_task("Drawing", total=1.0)
        add_pictures(done, fly=fly, tick=lambda share: bar.update(flying, completed=share))
        if done.polyps:
            write_polyps(done)
        write_words(done)
    tell_skipped(reading.skipped)
    if as_json:
        print_json(summary(done))
        return
    _tell(done)


VIDEO_FPS = 8.0


def _known_wall(mesh: Path | None, how: Any) -> "Surface | None":
    from colondepth.reconstruction.camera_motion import MotionFrom
    from colondepth.reconstruction.mesh_reading import read_wall

    if mesh is None:
        return None
    if how not in (MotionFrom.DATA, MotionFrom.FILE):
        raise DataError(
            f"--mesh needs poses in its own frame, of the data or --trajectory; these are by {how}"
        )
    return read_wall(mesh)


def _fused(
    clip: "Clip",
    frames: Frames,
    folder: Path,
    motion: "CameraMotion",
    times_s: list[float],
    made: dict[str, Any],
    voxel_mm: float,
    bar: Any,
) -> "Reconstruction":
    from colondepth.reconstruction.reconstructing import Reconstruction, fuse, write_walls

    done = Reconstruction(
        folder=folder,
        camera=clip.camera,
        made=made,
        motion=motion,
        times_s=times_s,
        notes=list(motion.notes),
    )
    if not clip.camera.calibrated:
        done.notes.append("the camera is a guess, and so is every length: --camera takes its own")
    task = bar.add_task("Fusing", total=len(clip))
    walls, done.polyps = fuse(
        frames, motion, clip.camera, voxel_mm=voxel_mm, tick=lambda: bar.advance(task)
    )
    write_walls(done, walls)
    return done


def _teach(done: "Reconstruction", frames: Frames) -> None:
    """Make of a single view its own surface, which shows more than a grid of voxels can."""
    from colondepth.reconstruction.one_view import show_depth
    from colondepth.reconstruction.reconstructing import WALL_FORMS
    from colondepth.reconstruction.surface import view_surface
    from colondepth.reconstruction.surface_files import write_surface

    frame = next(iter(frames))
    surface = view_surface(
        frame.image,
        frame.depth_mm,
        done.camera,
        log_depth_std=frame.log_depth_std,
        valid=frame.depth_mm > 0,
    )
    if len(surface.faces):
        done.wall = surface
        done.notes = [note for note in done.notes if not note.startswith("no wall")]
        for form in WALL_FORMS:
            write_surface(surface, done.folder / f"wall{form}")
        show_depth(done, frame)


def _tell(done: "Reconstruction") -> None:
    from colondepth.reconstruction.polyp_tracks import words_of
    from colondepth.reconstruction.reconstruction_page import headline

    _say(headline(done))
    for line in words_of(done.polyps):
        _say(line)
    for note in done.notes:
        _note(note)
    _say(f"-> {done.folder / 'index.html'}")


def _say(words: str) -> None:
    out.print(words, markup=False, highlight=False, soft_wrap=True)


def _note(words: str) -> None:
    err.print("[yellow]note[/yellow] ", end="", highlight=False)
    err.print(words, markup=False, highlight=False, soft_wrap=True)
