"""Still Box on disk, in the published layout, whose unit is the metre.

    FOLDER/metadata.json        {"args": {"fov": degrees across, "resolution": [width, height]},
                                 "scenes": [{"imgs": [...], "depth": [...], "speed": [x, y, z] m/s,
                                 "time_step": s, "orientation": [[w, x, y, z], ...] or []}]}
    FOLDER/RGB_XXXX_XX.jpg      scene and frame, both from 0
    FOLDER/Depth_XXXX_XX.npy    float32 (height, width), z in metres

A published set is a folder of such folders. The camera is at frame * time_step * speed, in the axes
that it had when it was not turned: x right, y down, z forward. `orientation` is empty where nothing
turns. The order w x y z and the place of the camera are those of the author's own evaluation code
(unsupervised-depthnet, `get_poses`); the names of depth files are ours, readers take them from the
metadata.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import degrees, radians
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera
from colondepth.errors import DataError
from colondepth.images import read_image
from colondepth.motion import quaternion_from_rotation, rigid_motion, rotation_from_quaternion
from colondepth.views import Clip, View
from synthetic_colons.worlds.still_box import StillBoxes, StillBoxSettings, draw_still_boxes

_MM_PER_M = 1000.0
_JPEG_QUALITY = 95  # artefacts stay below the noise of any camera
_NAME = "metadata.json"


def write_still_box(
    settings: StillBoxSettings,
    folder: Path | str,
    *,
    scenes: Sequence[int],
    seed: int,
    device: torch.device | str = "cpu",
    after_scene: Callable[[], None] = lambda: None,
) -> None:
    """Render scenes into a folder; the metadata come last, so that half a folder is none.

    Args:
        settings: of the set; a rotated set has `fastest_turn_rad_per_s` above 0.
        folder: must be empty or new.
        scenes: which scenes of the seed; files count them from 0.
        seed: of the set.
        device: where to render.
        after_scene: called after each scene, for progress.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; nothing is overwritten")
    if not scenes:
        raise DataError(f"there is no scene to write to {folder}")
    rows = []
    for number, scene in enumerate(scenes):
        boxes = draw_still_boxes(settings, (scene,), seed=seed, device=device)
        rows.append(_write_scene(boxes, folder, number))
        after_scene()
    fov_deg = degrees(settings.field_of_view_rad)
    args = {"fov": round(fov_deg, 9), "resolution": [settings.width, settings.height]}
    with written_whole(folder / _NAME) as temporary:
        temporary.write_text(json.dumps({"args": args, "scenes": rows}))


def open_still_box(folder: Path | str) -> tuple[Clip, ...]:
    """Open the scenes of one folder, ours or published, as clips; frames are read when asked for.

    Views have image, camera, depth_mm, world_from_camera, time_s and frame_id.
    """
    folder = Path(folder)
    metadata = _metadata(folder)
    camera = _camera(metadata, folder)
    clips = []
    for number, row in enumerate(metadata["scenes"]):
        world_from_camera = _places(row, folder, number)
        names = [str(name) for name in row["imgs"]]
        if len(names) != len(row["depth"]):
            raise DataError(
                f"{folder / _NAME}: scene {number} has {len(names)} images and {len(row['depth'])}"
                " depth maps"
            )
        clips.append(
            Clip(
                partial(_read_view, folder, row, camera, world_from_camera),
                [Path(name).stem for name in names],
                camera=camera,
                name=f"{folder.name} scene {number:04d}",
            )
        )
    return tuple(clips)


def _write_scene(boxes: StillBoxes, folder: Path, number: int) -> dict[str, Any]:
    """Render one scene's frames one by one, and return its entry in the metadata."""
    settings = boxes.settings
    images, depths, turns = [], [], []
    for frame in range(settings.frames):
        at = torch.tensor([frame], device=boxes.velocity_mm_per_s.device)
        sight = boxes.see(at)
        images.append(f"RGB_{number:04d}_{frame:02d}.jpg")
        depths.append(f"Depth_{number:04d}_{frame:02d}.npy")
        pixels = (sight.image[0].cpu().clamp(0, 1) * 255).round().byte().movedim(0, -1).numpy()
        with written_whole(folder / images[-1]) as temporary:
            Image.fromarray(pixels).save(temporary, quality=_JPEG_QUALITY, subsampling=0)
        with written_whole(folder / depths[-1]) as temporary:
            np.save(temporary, (sight.depth_mm[0, 0].double() / _MM_PER_M).float().cpu().numpy())
        rotation = boxes.world_from_camera(at)[0, :3, :3].double().cpu()
        x, y, z, w = quaternion_from_rotation(rotation).tolist()
        turns.append([w, x, y, z])
    speed = (boxes.velocity_mm_per_s[0].double().cpu() / _MM_PER_M).tolist()
    return {
        "imgs": images,
        "depth": depths,
        "speed": speed,
        "time_step": settings.time_step_s,
        "orientation": turns if settings.fastest_turn_rad_per_s > 0 else [],
    }


def _read_view(
    folder: Path,
    row: Mapping[str, Any],
    camera: Camera,
    world_from_camera: Tensor,
    frame: int,
) -> View:
    image = read_image(folder / row["imgs"][frame])
    path = folder / row["depth"][frame]
    if not path.is_file():
        raise DataError(f"{path} does not exist; {_NAME} names it")
    depth_mm = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32)) * _MM_PER_M
    size = (camera.height, camera.width)
    for name, found in (("image", image.shape[-2:]), ("depth", depth_mm.shape)):
        if tuple(found) != size:
            raise DataError(
                f"{path.parent}: the {name} of frame {frame} has {tuple(found)} pixels, {_NAME}"
                f" says {size}"
            )
    return View(
        image=image,
        camera=camera,
        frame_id=Path(row["imgs"][frame]).stem,
        time_s=frame * float(row["time_step"]),
        depth_mm=depth_mm[None],
        world_from_camera=world_from_camera[frame],
    )


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / _NAME
    if not path.is_file():
        inside = sorted(p.parent.name for p in folder.glob(f"*/{_NAME}"))[:3]
        cure = f"; a set holds several folders, open one of {inside}" if inside else ""
        raise DataError(f"{path} does not exist{cure}")
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
        if not metadata["scenes"]:
            raise DataError(f"{path} has no scene")
        _ = metadata["args"]["fov"], metadata["args"]["resolution"]
        for row in metadata["scenes"]:
            _ = row["imgs"], row["depth"], row["speed"], row["time_step"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not Still Box metadata: {type(error).__name__} {error}; expected args with"
            " fov and resolution, and scenes with imgs, depth, speed and time_step"
        ) from error
    return dict(metadata)


def _camera(metadata: Mapping[str, Any], folder: Path) -> Camera:
    try:
        width, height = (int(pixels) for pixels in metadata["args"]["resolution"])
        field_rad = radians(metadata["args"]["fov"])
    except (TypeError, ValueError) as error:
        raise DataError(f"{folder / _NAME}: args are {metadata['args']}: {error}") from error
    return StillBoxSettings(height=height, width=width, field_of_view_rad=field_rad).camera()


def _places(row: Mapping[str, Any], folder: Path, number: int) -> Tensor:
    """Return world_from_camera of every frame, (F, 4, 4) float32."""
    count = len(row["imgs"])
    velocity_mm_per_s = torch.tensor(row["speed"], dtype=torch.float64) * _MM_PER_M
    time_s = torch.arange(count, dtype=torch.float64) * row["time_step"]
    turns = row.get("orientation") or [[1.0, 0.0, 0.0, 0.0]] * count
    if len(turns) != count:
        raise DataError(
            f"{folder / _NAME}: scene {number} has {len(turns)} orientations for {count} frames"
        )
    w, x, y, z = torch.tensor(turns, dtype=torch.float64).unbind(dim=-1)
    rotation = rotation_from_quaternion(torch.stack([x, y, z, w], dim=-1))
    return rigid_motion(rotation, time_s[:, None] * velocity_mm_per_s).float()
