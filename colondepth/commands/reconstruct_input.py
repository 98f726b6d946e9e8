"""What `colondepth reconstruct` works on: frames with depth, and where the camera was."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colondepth.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from colondepth.prediction_files import FrameFiles
    from colondepth.reconstruction.camera_motion import CameraMotion, DepthFrame
    from colondepth.views import Clip


@dataclass(frozen=True, slots=True)
class Frames:
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


def motion_from(clip: "Clip", motion: str | None, trajectory: Path | None) -> Any:
    """Return the `MotionFrom` that the options and the input make."""
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


def predicted_by(network: Any, clip: "Clip", place: Path, source: str, bar: Any) -> Any:
    """Predict what is not in `place` yet and return the files of every frame."""
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


def found_motion(
    clip: "Clip",
    frames: Frames,
    folder: Path,
    how: Any,
    trajectory: Path | None,
    form: str | None,
    mm_per_unit: float | None,
    depth: str,
    bar: Any,
) -> "tuple[CameraMotion, list[float]]":
    """Return the motion that the folder has, or find it; and the time of every frame."""
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

    class Timed:  # may be gone through more than once, as `frames`
        def __iter__(self) -> "Iterator[DepthFrame]":
            times.clear()
            for frame in frames:
                times.append(frame.time_s)
                yield frame

    def tick() -> None:
        bar.advance(task)

    if how is MotionFrom.ODOMETRY:
        found = odometry_motion(Timed(), clip.camera, tick=tick)
    elif how is MotionFrom.SFM:
        found = sfm_motion(
            Timed(),
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
        found = given_motion(how, poses, Timed(), clip.camera, fit_scale=fit, tick=tick)
    if len(times) < len(clip):
        times = [view.get("time_s", nan) for view in clip]
    write_motion(folder, found, times)
    return found, times
