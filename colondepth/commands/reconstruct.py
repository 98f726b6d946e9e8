"""`colondepth reconstruct`: from a video to the wall, what was seen of it, and polyp sizes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from colondepth.commands.devices import usable_device
from colondepth.commands.folders import require_folder
from colondepth.commands.notes import tell_skipped
from colondepth.commands.predict import network_of, opened, thinned
from colondepth.console import err, out, print_json, progress, resumable
from colondepth.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from colondepth.prediction_files import FrameFiles
    from colondepth.reconstruction.camera_motion import CameraMotion, DepthFrame
    from colondepth.reconstruction.reconstructing import Reconstruction
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
    how = _motion_from(clip, motion, trajectory)
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
        "voxel (mm)": voxel_mm,
    }
    for warning in reading.warnings:
        _note(warning)
    stopped = f"finished stages are in {folder}; the same command goes on from there"
    bar = progress()
    bar.disable = not err.is_terminal
    with bar, resumable(stopped):
        frames: _Frames
        network = None
        if depth == "predicted":
            network = network_of(
                backbone, weights, device if device is None else usable_device(device)
            )
        require_same_settings(folder, made)
        if network is None:
            frames = _Frames(clip, None, masks)
        else:
            frames = _Frames(clip, _predicted(network, clip, folder / "depth", source, bar), masks)
        found, times_s = _found_motion(
            clip, frames, folder, how, trajectory, form, mm_per_unit, depth, bar
        )
        done = _fused(clip, frames, folder, found, times_s, made, voxel_mm, bar)
        if len(clip) == 1:
            _teach(done, frames)
        add_coverage(done)
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


@dataclass(frozen=True, slots=True)
class _Frames:
    """The frames of a clip with their depth; may be gone through more than once."""

    clip: "Clip"
    files: "Sequence[FrameFiles] | None"  # of predictions; None: depth came with the data
    masks: Path | None

    def __iter__(self) -> "Iterator[DepthFrame]":
        from contextlib import closing

        from colondepth.data.prefetch import prefetched
        from colondepth.reconstruction.camera_motion import DepthFrame

        with closing(prefetched(self.clip)) as views:  # type: ignore[type-var]
            for number, view in enumerate(views):
                depth_mm, std, valid = self._depth(number, view)
                yield DepthFrame(
                    name=view["frame_id"],
                    time_s=view.get("time_s", nan),
                    image=view["image"],
                    depth_mm=depth_mm,
                    log_depth_std=std,
                    valid=valid,
                    polyp=self._mask(view),
                    world_from_camera=view.get("world_from_camera"),
                )

    def _depth(self, number: int, view: Any) -> "tuple[Tensor, Tensor | None, Tensor | None]":
        if self.files is None:
            if "depth_mm" not in view:
                raise DataError(
                    f"frame {view['frame_id']!r} came without depth; --depth predicted makes it"
                )
            given: Tensor = view["depth_mm"]
            return given, None, view.get("valid")
        from colondepth.images import read_image
        from colondepth.prediction_files import read_depth_mm, read_log_depth_std

        files = self.files[number]
        std = None if files.log_depth_std is None else read_log_depth_std(files.log_depth_std)
        valid = None if files.valid is None else read_image(files.valid)[:1] > 0.5
        return read_depth_mm(files.depth), std, valid

    def _mask(self, view: Any) -> "Tensor | None":
        if self.masks is None:
            there: Tensor | None = view.get("polyp")
            return there
        from colondepth.images import read_image

        path = self.masks / f"{view['frame_id']}.png"
        if not path.exists():
            return None
        mask = read_image(path)[:1] > 0.5
        if mask.shape[-2:] != view["image"].shape[-2:]:
            height, width = mask.shape[-2:]
            raise DataError(
                f"{path} is {height}x{width}, its frame {view['image'].shape[-2]}x"
                f"{view['image'].shape[-1]}; expected one size"
            )
        return mask


def _motion_from(clip: "Clip", motion: str | None, trajectory: Path | None) -> Any:
    from colondepth.reconstruction.camera_motion import MotionFrom

    if trajectory is not None:
        if motion is not None:
            raise DataError("--trajectory stands beside --motion; expected one of them")
        if not trajectory.exists():
            raise DataError(f"--trajectory {trajectory} does not exist")
        return MotionFrom.FILE
    if len(clip) == 1:
        return MotionFrom.NONE
    choices = (MotionFrom.DATA, MotionFrom.ODOMETRY, MotionFrom.SFM)
    if motion is not None and motion not in choices:
        raise DataError(f"--motion is {motion!r}, expected {', '.join(choices)}")
    there = "world_from_camera" in clip[0]
    if motion is None:
        return MotionFrom.DATA if there else MotionFrom.ODOMETRY
    if motion == MotionFrom.DATA and not there:
        raise DataError("--motion data: the input has no poses; odometry and sfm find them")
    return MotionFrom(motion)


def _predicted(network: Any, clip: "Clip", place: Path, source: str, bar: Any) -> Any:
    from functools import partial

    from colondepth.prediction_files import MapForm
    from colondepth.prediction_run import predict_clip

    task = bar.add_task("Depth", total=len(clip))
    done = predict_clip(
        network,
        clip,
        place,
        source=Path(source).name,
        batch_size=1,
        form=MapForm.PNG,
        with_valid=True,
        tick=partial(bar.advance, task),
    )
    return done.files


def _found_motion(
    clip: "Clip",
    frames: _Frames,
    folder: Path,
    how: Any,
    trajectory: Path | None,
    form: str | None,
    mm_per_unit: float | None,
    depth: str,
    bar: Any,
) -> "tuple[CameraMotion, list[float]]":
    import torch

    from colondepth.reconstruction.camera_motion import (
        MotionFrom,
        given_motion,
        motion_from_file,
        odometry_motion,
    )
    from colondepth.reconstruction.reconstructing import read_motion, write_motion
    from colondepth.reconstruction.sfm import sfm_motion

    if there := read_motion(folder):
        return there
    task = bar.add_task("Motion", total=len(clip))
    times: list[float] = []

    def timed() -> "Iterator[DepthFrame]":
        for frame in frames:
            times.append(frame.time_s)
            yield frame

    def tick() -> None:
        bar.advance(task)

    if how is MotionFrom.ODOMETRY:
        found = odometry_motion(timed(), clip.camera, tick=tick)
    elif how is MotionFrom.SFM:
        found = sfm_motion(
            frames,
            clip.camera,
            folder / "sfm",
            count=len(clip),
            tick=lambda share: bar.update(task, completed=share * len(clip)),
        )
    else:
        if how is MotionFrom.FILE:
            assert trajectory is not None
            poses = motion_from_file(
                trajectory, frames=len(clip), form=form, mm_per_unit=mm_per_unit
            )
        elif how is MotionFrom.NONE:
            poses = [torch.eye(4, dtype=torch.float64)]
        else:
            poses = [frame["world_from_camera"] for frame in clip]
        fit = depth == "predicted" and how is not MotionFrom.NONE
        found = given_motion(how, poses, timed(), clip.camera, fit_scale=fit, tick=tick)
    if len(times) < len(clip):
        times = [view.get("time_s", nan) for view in clip]
    write_motion(folder, found, times)
    return found, times


def _fused(
    clip: "Clip",
    frames: _Frames,
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


def _teach(done: "Reconstruction", frames: _Frames) -> None:
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
