"""A tiny world to learn depth in: views down tubes of varied radius, known in closed form."""

from typing import Any

import torch
from torch import Tensor

from colondepth.backbones.contract import Backbone
from colondepth.cameras import Camera, stack
from colondepth.motion import rigid_motion, so3_exp
from synthetic_colons.analytic import Tube, look

FARTHEST_MM = 150.0  # the end of a tube is nowhere: beyond this no depth is asked for
RADII_MM = (10.0, 35.0)
TURN_RAD = 0.5  # how far a view may turn from the axis, either way
ASIDE = 0.5  # how far it may stand off the axis, in radii


def tube_views(count: int, size: tuple[int, int], *, seed: int) -> dict[str, Any]:
    """Draw a batch of views, each down a tube of its own; `depth_mm` is 0 beyond the farthest."""
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    height, width = size
    camera = Camera.pinhole(
        fx=0.6 * width,
        fy=0.62 * width,
        cx=0.48 * width,
        cy=0.53 * height,
        height=height,
        width=width,
    )
    images, depths = [], []
    for _ in range(count):
        radius_mm = between(*RADII_MM, 1).item()
        turn = so3_exp(between(-TURN_RAD, TURN_RAD, 3))
        place = between(-ASIDE * radius_mm, ASIDE * radius_mm, 3)
        tube = Tube(point_mm=(0, 0, 0), along=(0, 0, 1), radius_mm=radius_mm)
        view = look([tube], camera, rigid_motion(turn, place))
        images.append(view.image)
        depths.append(torch.where(view.depth_mm < FARTHEST_MM, view.depth_mm, 0))
    return {
        "image": torch.stack(images),
        "depth_mm": torch.stack(depths),
        "camera": stack([camera] * count),
    }


def average_view(depth_mm: Tensor) -> Tensor:
    """Return the best answer without looking: the median depth of every pixel, (1, 1, H, W)."""
    known = torch.where(depth_mm > 0, depth_mm, torch.nan)
    return known.nanmedian(dim=0, keepdim=True).values


def learn(network: Backbone, views: dict[str, Any], *, steps: int, rate: float) -> Tensor:
    """Train on a few views again and again and return what is then said of them in eval mode."""
    optimiser = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.05, total_iters=steps)
    network.train()
    for _ in range(steps):
        said = network(views)
        loss = log_error(said.depth_mm, views["depth_mm"])
        for coarse in said.coarser_depth_mm:
            loss = loss + log_error(coarse, views["depth_mm"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        depth_mm: Tensor = network(views).depth_mm
    return depth_mm


def log_error(depth_mm: Tensor, truth_mm: Tensor) -> Tensor:
    """Return the mean of |log depth - log truth|, the truth brought to the depth's size."""
    truth_mm = torch.nn.functional.interpolate(truth_mm, depth_mm.shape[-2:], mode="nearest-exact")
    known = truth_mm > 0
    return (depth_mm[known].log() - truth_mm[known].log()).abs().mean()
