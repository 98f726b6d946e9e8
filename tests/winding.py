"""A camera path that never repeats itself: all three axes move and turn at their own rates."""

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from colondepth.trajectories import Trajectory


def winding(frames: int, *, seed: int = 0, noise_mm: float = 0.0) -> Trajectory:
    """Return a path of some centimetres, irregularly timed, its noise drawn from `seed`."""
    rng = np.random.default_rng(seed)
    s = np.linspace(0, 1, frames)
    places = np.stack([40 * s + 3 * np.sin(9 * s), 25 * s**2 - 7, 60 * np.sqrt(s + 0.1)], axis=1)
    turns = np.stack([0.7 * np.sin(5 * s), 1.9 * s, 0.4 - 1.2 * s**2], axis=1)
    matrices = np.tile(np.eye(4), (frames, 1, 1))
    shake = rng.normal(scale=max(noise_mm, 1e-12) / 50, size=(frames, 3))
    matrices[:, :3, :3] = (Rotation.from_rotvec(turns) * Rotation.from_rotvec(shake)).as_matrix()
    matrices[:, :3, 3] = places + rng.normal(scale=max(noise_mm, 1e-12), size=(frames, 3))
    return Trajectory(torch.from_numpy(matrices), torch.from_numpy(0.04 * (s * frames) ** 1.1 + 5))


def moved(trajectory: Trajectory, target_from_world: Tensor, scale: float) -> Trajectory:
    """Return the same walk in another world, whose unit is another one, too."""
    matrices = trajectory.world_from_camera.clone()
    matrices[:, :3, 3] *= scale
    return Trajectory(target_from_world @ matrices, trajectory.time_s)
