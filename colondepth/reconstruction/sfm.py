"""Where the camera went, by structure from motion: COLMAP's features, matches and adjustment.

Glare, text and what lies outside the aperture is masked. Frames of a lens that is no plain pinhole
are shown to COLMAP as one would have taken them, so that it never has to know the lens. It knows no
millimetres: a piece gets its scale from the depth that its points have in the frames, the median of
the frames' medians, and each frame the factor that makes its own depth agree.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from math import exp, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from colondepth.cameras import Camera, Pinhole
from colondepth.errors import MissingExtraError
from colondepth.images import write_image
from colondepth.motion import inverse, nearest_rigid, transform
from colondepth.reconstruction.camera_motion import CameraMotion, DepthFrame, MotionFrom
from colondepth.undistortion import pinhole_for, undistort_image
from colondepth.warping import Lookup, sample

LEAST_FRAMES = 5  # of a piece
# Between the first two views, the safest first: with a narrow one the way may come out bent.
FIRST_ANGLES_DEG = (16.0, 8.0, 4.0)
WIDEST_RAD = 120 * pi / 180  # that COLMAP is shown: more is a rim of stretched pixels
LEAST_POINTS = 12  # of a frame, for its median ratio to say something of its depth
DISAGREEMENT_MOST = 0.2  # of the log of a frame's depth against the piece's: more is told
_CHUNK = 16  # frames whose features are sought between two ticks
_GLARE_PX = 2  # around what is masked


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Piece:
    """One model of COLMAP: frames that stand in a known place to each other, without a unit."""

    camera_from_world: dict[int, Tensor]  # frame number: (4, 4) float64
    points: dict[int, Tensor]  # frame number: (N, 3) float64, those seen in it, in the world


def sfm_motion(
    frames: Iterable[DepthFrame],
    camera: Camera,
    folder: Path,
    *,
    count: int,
    tick: Callable[[float], None] = lambda share: None,
) -> CameraMotion:
    """Find the motion of a clip with COLMAP.

    Args:
        frames: gone through twice.
        camera: of the frames.
        folder: emptied first; COLMAP's models stay in it, its pictures and tables do not.
        count: of the frames.
        tick: called with the share that is done.
    """
    colmap = _colmap()
    shutil.rmtree(folder, ignore_errors=True)
    ideal = _ideal(camera)
    for name in ("images", "masks", "models"):
        (folder / name).mkdir(parents=True)
    for number, frame in enumerate(frames):
        _show(frame, number, camera, ideal, folder)
        tick(0.2 * (number + 1) / count)
    found = _mapped(colmap, folder, ideal, count, tick)
    for name in ("images", "masks"):
        shutil.rmtree(folder / name)
    (folder / "database.db").unlink()
    pieces = sorted(found, key=lambda piece: -len(piece.camera_from_world))
    return _in_mm(pieces, frames, camera, count)


def _colmap() -> Any:
    try:
        import pycolmap
    except ImportError as error:
        raise MissingExtraError(
            "--motion sfm needs pycolmap: pip install 'colondepth[sfm]'; --motion odometry works"
            " without it"
        ) from error
    pycolmap.logging.minloglevel = 3
    return pycolmap


def _ideal(camera: Camera) -> Camera:
    """Return the pinhole that COLMAP is told of: the camera itself where it is one."""
    _, b, c, _ = camera.linear.flatten().tolist()
    if isinstance(camera.lens, Pinhole) and not camera.lens.distortion.any() and b == c == 0:
        return camera
    across = float(camera.field_of_view_rad()[0])
    field_rad = min(across, WIDEST_RAD)
    return pinhole_for(camera, field_rad=field_rad, height=camera.height, width=camera.width)


def _show(frame: DepthFrame, number: int, camera: Camera, ideal: Camera, folder: Path) -> None:
    """Write a frame and where in it features may be sought."""
    image, usable = frame.image, (frame.usable_mm > 0).float()
    if ideal is not camera:
        both, seen = undistort_image(torch.cat([image, usable]), camera, ideal)
        image, usable = both[:3], ((both[3:] > 0.99) & seen).float()
    reach = 2 * _GLARE_PX + 1
    kept = -F.max_pool2d(-usable[None], reach, stride=1, padding=_GLARE_PX)[0]
    write_image(image, folder / "images" / _name(number))
    write_image(kept.expand(3, -1, -1), folder / "masks" / f"{_name(number)}.png")


def _name(number: int) -> str:
    return f"{number:06d}.png"


def _mapped(
    colmap: Any, folder: Path, ideal: Camera, count: int, tick: Callable[[float], None]
) -> list[_Piece]:
    """Run COLMAP on what the folder holds."""
    database, images = folder / "database.db", folder / "images"
    reader = colmap.ImageReaderOptions()
    reader.mask_path = folder / "masks"
    reader.camera_model = "PINHOLE"
    # COLMAP's first pixel has its centre at a half.
    (fx, fy), (cx, cy) = ideal.linear.diagonal().tolist(), ideal.centre.tolist()
    reader.camera_params = f"{fx},{fy},{cx + 0.5},{cy + 0.5}"
    extraction = colmap.FeatureExtractionOptions()
    extraction.use_gpu = False
    extraction.num_threads = 1  # with more, here and below, the same pictures give another answer
    extraction.sift.peak_threshold = 0.002  # mucosa is faint
    names = [_name(number) for number in range(count)]
    for first in range(0, count, _CHUNK):
        colmap.extract_features(
            database,
            images,
            image_names=names[first : first + _CHUNK],
            camera_mode=colmap.CameraMode.SINGLE,
            reader_options=reader,
            extraction_options=extraction,
        )
        tick(0.2 + 0.2 * min(first + _CHUNK, count) / count)
    matching = colmap.FeatureMatchingOptions()
    matching.use_gpu = False
    matching.num_threads = 1
    verification = colmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = 1
    colmap.match_sequential(database, matching_options=matching, verification_options=verification)
    tick(0.6)
    best: list[_Piece] = []
    for attempt, angle in enumerate(FIRST_ANGLES_DEG):
        share = 0.6 + 0.35 * attempt / len(FIRST_ANGLES_DEG)
        done = iter(range(count))
        models = colmap.incremental_mapping(
            database,
            images,
            _emptied(folder / "models"),
            options=_pipeline(colmap, angle),
            next_image_callback=partial(_told, tick, done, count, share),
        )
        pieces = [_piece(model) for model in models.values()]
        pieces = [each for each in pieces if len(each.camera_from_world) >= LEAST_FRAMES]
        if _largest(pieces) > _largest(best):
            best = pieces
        if _largest(best) == count:
            break
    return best


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _told(tick: Callable[[float], None], done: Iterator[int], count: int, share: float) -> None:
    tick(share + 0.35 / len(FIRST_ANGLES_DEG) * next(done, count) / count)


def _largest(pieces: list[_Piece]) -> int:
    return max((len(each.camera_from_world) for each in pieces), default=0)


def _pipeline(colmap: Any, first_angle_deg: float) -> Any:
    """Return how COLMAP maps: for a camera that is known, and goes along a tube."""
    options = colmap.IncrementalPipelineOptions()
    options.random_seed = 1
    options.num_threads = 1
    options.mapper.random_seed = 1
    options.triangulation.random_seed = 1
    options.min_model_size = LEAST_FRAMES
    options.ba_refine_focal_length = False
    options.ba_refine_extra_params = False
    options.extract_colors = False
    options.mapper.abs_pose_refine_focal_length = False
    options.mapper.abs_pose_refine_extra_params = False
    # A scope goes the way that it looks, in small steps, past a wall with few corners.
    options.mapper.init_max_forward_motion = 1.0
    options.mapper.init_min_tri_angle = first_angle_deg
    options.mapper.init_min_num_inliers = 40
    options.mapper.abs_pose_min_num_inliers = 15
    return options


def _piece(model: Any) -> _Piece:
    poses, points = {}, {}
    for image_id in model.reg_image_ids():
        image = model.images[image_id]
        number = int(Path(image.name).stem)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3] = torch.from_numpy(image.cam_from_world().matrix()).double()
        poses[number] = pose
        seen = [
            model.points3D[point.point3D_id].xyz for point in image.points2D if point.has_point3D()
        ]
        points[number] = torch.from_numpy(np.array(seen, dtype=np.float64).reshape(-1, 3))
    return _Piece(camera_from_world=poses, points=points)


def _in_mm(
    pieces: list[_Piece], frames: Iterable[DepthFrame], camera: Camera, count: int
) -> CameraMotion:
    """Give every piece its scale and every frame its factor; a frame belongs to one piece."""
    ratios: list[dict[int, float]] = [{} for _ in pieces]  # log of mm of depth a unit
    for number, frame in enumerate(frames):
        for piece, held in zip(pieces, ratios, strict=True):
            if number in piece.camera_from_world:
                ratio = _log_ratio(piece, number, frame.usable_mm, camera)
                if ratio is not None:
                    held[number] = ratio
    poses: list[Tensor | None] = [None] * count
    factors, owners = [1.0] * count, [0] * count
    without = kept = 0
    doubts: list[str] = []
    for piece, held in zip(pieces, ratios, strict=True):
        if not held:  # no depth to measure it by
            without += 1
            continue
        known = torch.tensor(list(held.values()), dtype=torch.float64)
        unit = float(known.median())
        apart = float((known - unit).abs().median())
        if apart > DISAGREEMENT_MOST:
            doubts.append(
                f"depth and motion disagree by {100 * (exp(apart) - 1):.0f} % in half of"
                f" {len(held)} frames: the way that was found may be bent"
            )
        for number, pose in piece.camera_from_world.items():
            if poses[number] is not None:
                continue
            moved = inverse(nearest_rigid(pose))
            moved[:3, 3] *= exp(unit)
            poses[number], owners[number] = moved, kept
            factors[number] = exp(unit - held.get(number, unit))
        kept += 1
    placed = sum(pose is not None for pose in poses)
    notes: list[str] = []
    if not placed:
        notes.append(f"structure from motion could not place any of {count} frames")
    elif placed < count or kept > 1:
        notes.append(
            f"could not be reconstructed whole: {placed} of {count} frames registered, in {kept}"
            f" piece{'' if kept == 1 else 's'}"
            + (" that stand in no known place to each other" if kept > 1 else "")
        )
    notes += doubts
    if without:
        notes.append(f"{without} pieces had no depth to take a scale from, and are left out")
    return CameraMotion(
        how=MotionFrom.SFM,
        world_from_camera=tuple(poses),
        factor=tuple(factors),
        piece=tuple(owners),
        notes=tuple(notes),
    )


def _log_ratio(piece: _Piece, number: int, depth_mm: Tensor, camera: Camera) -> float | None:
    """Return the log of a frame's depth over the depth that COLMAP's points have in it."""
    points = transform(piece.camera_from_world[number], piece.points[number])  # (N, 3)
    pixels, in_front = camera.project(points.to(camera.centre))
    found, inside = sample(depth_mm, pixels[None].to(depth_mm), lookup=Lookup.NEAREST)
    z = points[:, 2].to(found)
    good = inside[0, 0] & in_front & (found[0, 0] > 0) & (z > 0)
    if int(good.sum()) < LEAST_POINTS:
        return None
    return float((found[0, 0][good] / z[good]).log().median())
