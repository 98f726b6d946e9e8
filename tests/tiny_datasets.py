"""Tiny datasets of an analytic scene, in the byte layouts that were published; written without us.

Every writer puts two frames, seen from HERE and NEXT. What a reader gives back must lie on the
scene's wall: that proves the unit, the hand of the poses and z against distance at once.
"""

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from scenes import CX, CY, FX, FY, H, W, at
from scipy.spatial.transform import Rotation
from torch import Tensor

from colondepth.cameras import Camera
from colondepth.geometry import rigid_flow, unproject
from colondepth.motion import relative, transform
from colondepth.views import Clip, require_view
from synthetic_colons.analytic import AnalyticView, Plane, Tube, look

TUBE = Tube(point_mm=(4, -3, 0), along=(0.1, 0.2, 1), radius_mm=22)
WALL = Plane(point_mm=(0, 0, 70), across=(0.2, -0.1, 1))
PINHOLE = Camera.pinhole(fx=FX, fy=FY, cx=CX, cy=CY, height=H, width=W)
POSES = (at(1, 2, 3, yaw_rad=0.1), at(1.5, 1.2, 5, yaw_rad=0.14))
UNITY = np.diag([1.0, -1, 1, 1])


def seen(camera: Camera, number: int) -> AnalyticView:
    return look([TUBE, WALL], camera, POSES[number])


def off_the_wall_mm(depth_mm: Tensor, camera: Camera, world_from_camera: Tensor) -> Tensor:
    """How far each known pixel's point lies from the nearest surface, (N,)."""
    points = transform(world_from_camera.double(), unproject(depth_mm.double(), camera))
    points = points[depth_mm[0] > 0]
    along = torch.tensor(TUBE.along, dtype=torch.float64)
    along = along / along.norm()
    off = points - torch.tensor(TUBE.point_mm, dtype=torch.float64)
    radius = (off - (off @ along)[:, None] * along).norm(dim=-1)
    across = torch.tensor(WALL.across, dtype=torch.float64)
    height = (points - torch.tensor(WALL.point_mm, dtype=torch.float64)) @ (across / across.norm())
    return torch.minimum((radius - TUBE.radius_mm).abs(), height.abs())


def on_the_wall(clip: Clip, *, within_mm: float, poses=None, z: bool = True) -> None:
    """Check every known pixel; a step of z is 1 / z of the ray as long along it."""
    for number in range(2):
        view = clip[number]
        require_view(view)
        pose = view["world_from_camera"] if poses is None else poses[number]
        off_mm = off_the_wall_mm(view["depth_mm"], view["camera"], pose)
        assert len(off_mm) > 0.9 * view["depth_mm"].numel()
        along = view["camera"].rays(*view["depth_mm"].shape[-2:])[..., 2]  # (H, W)
        step = along[view["depth_mm"][0] > 0] if z else 1
        assert (off_mm * step).max() < within_mm, number
        truth = seen(view["camera"], number)
        assert (view["image"] - truth.image).abs().mean() < 0.03


def save(values, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exact = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(np.ascontiguousarray(values)).save(path, **exact)
    return path


def colour(view: AnalyticView):
    return (view.image * 255).round().byte().movedim(0, -1).numpy()


def counts(values: Tensor, step: float, dtype):
    return (values[0] / step).round().numpy().astype(dtype)


def c3vd(root: Path, camera: Camera, *, second: bool = False, padded: bool = True) -> Path:
    folder = root / ("c1_cecum_t1_v1" if second else "cecum_t1_a_under_review")
    places = {
        "color": "rgb/{:04d}.png" if second else ("{:04d}_color.png" if padded else "{}_color.png"),
        "depth": "depth/{:04d}_depth.tiff" if second else "{:04d}_depth.tiff",
        "normals": "normals/{:04d}_normals.tiff" if second else "{:04d}_normals.tiff",
        "flow": "optical_flow/{:04d}_flow.tiff" if second else "{:04d}_flow.tiff",
        "occlusion": "occlusions/{:04d}_occlusion.tiff" if second else "{:04d}_occlusion.png",
    }
    for number in range(2):
        view = seen(camera, number)
        path = {name: folder / place.format(number) for name, place in places.items()}
        save(colour(view), path["color"])
        depth = counts(view.depth_mm, 100 / 65535, np.uint16)
        depth[0, :5], depth[1, :7] = 0, 65535
        save(depth, path["depth"])
        save_16(((view.normals + 1) / 2 * 65535).movedim(0, -1).numpy(), path["normals"])
        flow, lands = rigid_flow(view.depth_mm, camera, relative(POSES[0], POSES[number]))
        if number:
            coded = (flow + 20) / 40 * 65535
            coded = torch.cat([torch.where(lands, coded, 0), torch.zeros(1, *flow.shape[1:])])
            save_16(coded.movedim(0, -1).numpy(), path["flow"])
        occluding = np.zeros(depth.shape, np.uint8)
        occluding[2:5, 3:11] = 255
        save(occluding, path["occlusion"])
    rows = [",".join(map(repr, pose.T.flatten().tolist())) for pose in POSES]
    (folder / "pose.txt").write_text("\n".join(rows) + "\n")
    return folder


def simcol3d(root: Path) -> Path:
    frames = root / "SyntheticColon_I" / "Frames_S5"
    for number in range(2):
        view = seen(PINHOLE, number)
        alpha = np.full((H, W, 1), 7 + number, np.uint8)
        save(np.concatenate([colour(view), alpha], -1), frames / f"FrameBuffer_{number:04d}.png")
        depth = counts(view.depth_mm, 200 / 255 / 256, np.uint16)
        save(depth, frames / f"Depth_{number:04d}.png")
    left = [UNITY @ pose.numpy() @ UNITY for pose in POSES]
    places = [" ".join(repr(float(x) / 10) for x in pose[:3, 3]) for pose in left]
    turns = [" ".join(map(repr, Rotation.from_matrix(p[:3, :3]).as_quat().tolist())) for p in left]
    (frames.parent / "SavedPosition_S5.txt").write_text("\n".join(places) + "\n")
    (frames.parent / "SavedRotationQuaternion_S5.txt").write_text("\n".join(turns) + "\n")
    (frames.parent / "cam.txt").write_text(f"{FX} 0 {FY} 0 {CX} {CY} 0 0 1\n")
    return root


def ruano(root: Path, camera: Camera) -> Path:
    for number in range(2):
        view, name = seen(camera, number), f"{number + 29:04d}.jpg"
        save(colour(view), root / "vid40" / "img" / name)
        distance = counts(view.distance_mm, 250 / 255, np.uint8)
        save(np.repeat(distance[..., None], 3, -1), root / "vid40" / "z" / name)
        polyp = np.zeros((camera.height, camera.width), np.uint8)
        polyp[8:24, 16:40] = 255
        save(polyp, root / "vid40" / "mask" / name)
    return root


def ucl(root: Path) -> Path:
    for number in range(2):
        view = seen(PINHOLE, number)
        save(colour(view), root / f"T2_L3_1_resized_FrameBuffer_{number + 203:04d}.png")
        depth = counts(view.depth_mm, 200 / 255, np.uint8)
        save(depth, root / f"T2_L3_1_resized_Depth_{number + 203:04d}.png")
    return root


def endoslam(root: Path) -> Path:
    unity = root / "UnityCam"
    for number in range(2):
        view = seen(PINHOLE, number)
        save(colour(view), unity / "Colon" / "Frames" / "Frames" / f"image_{number:04d}.png")
        red = counts(view.depth_mm, 0.5, np.uint8)
        pixels = np.stack([red, red // 2, red // 3, np.full_like(red, 255)], axis=-1)
        save(pixels, unity / "Colon" / "Pixelwise Depths" / f"aov_image_{number:04d}.png")
    (unity / "Calibration").mkdir()
    matrix = "156.0418,0,178.5604,0,155.7529,181.8043,0,0,1"
    (unity / "Calibration" / "cam.txt").write_text(matrix + "\n")
    return root


def endomapper(root: Path, write_exr) -> Path:
    folder = root / "Seq_3"
    lines = ["tX;tY;tZ;rX;rY;rZ;rW;time(s)"]
    for number in range(2):
        view = seen(PINHOLE, number)
        save(colour(view), folder / "rgb" / f"image_{number:04d}.png")
        (folder / "depth").mkdir(exist_ok=True)
        write_exr(folder / "depth" / f"aov_image_{number:04d}.exr", view.depth_mm[0] / 100)
        left = UNITY @ POSES[number].numpy() @ UNITY
        turn = Rotation.from_matrix(left[:3, :3]).as_quat()
        row = [*(left[:3, 3] / 100), *turn, number / 30]
        lines.append(";".join(repr(float(value)) for value in row))
    (folder / "trajectory.csv").write_text("\n".join(lines) + "\n")
    (folder / "dataset.json").write_text(json.dumps({"mm_per_unit": 100}))
    return root


def plain(root: Path, *, kind: str = "z", suffix: str = "png") -> Path:
    """Frames 9 and 10: the order of the alphabet would swap them."""
    folder = root / "mine"
    lines = ["# t tx ty tz qx qy qz qw"]
    for number in range(2):
        view, name = seen(PINHOLE, number), f"frame_{9 + number}"
        save(colour(view), folder / f"{name}.png")
        length_mm = view.depth_mm if kind == "z" else view.distance_mm
        (folder / "depth").mkdir(exist_ok=True)
        if suffix == "npy":
            np.save(folder / "depth" / f"{name}.npy", (length_mm[0] / 0.01).float().numpy())
        else:
            save(counts(length_mm, 0.01, np.uint16), folder / "depth" / f"{name}.{suffix}")
        turn = Rotation.from_matrix(POSES[number][:3, :3].numpy()).as_quat()
        row = [number / 25, *(POSES[number][:3, 3].numpy() / 1000), *turn]
        lines.append(" ".join(repr(float(value)) for value in row))
    (folder / "trajectory.txt").write_text("\n".join(lines) + "\n")
    stated = {"mm_per_count": 0.01, "depth_kind": kind, "trajectory_mm_per_unit": 1000}
    (folder / "dataset.json").write_text(json.dumps(stated))
    camera = {"model": "pinhole", "height": H, "width": W, "fx": FX, "fy": FY, "cx": CX, "cy": CY}
    (folder / "camera.json").write_text(json.dumps(camera))
    return folder


def save_16(values, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.clip(values, 0, 65535).astype(np.uint16)[..., ::-1])
