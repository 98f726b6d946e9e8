"""Arguments like those that every kernel gets, to compile it for.

`python -m synthetic_colons.kernel_samples marching.approach` compiles that kernel for the CPU.
"""

import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch

from colondepth.cameras import Camera
from synthetic_colons import kernels

# What every level needs, so ordered that two processes have done at the same time; the flow
# through a fisheye is compiled when it is first asked for.
KERNELS = (
    "shading.surface",
    "marching.approach",
    "ground_truth.flow_through_pinhole",
    "marching.stride",
    "shading.shade",
    "renderer.collect",
)
_HEIGHT, _WIDTH = 24, 40


def sample_calls() -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Return each kernel and the arguments that it gets when two small frames are rendered."""
    # Whatever renders imports this module's neighbour, `kernels`.
    from synthetic_colons.clips import SyntheticClip
    from synthetic_colons.ground_truth import flow
    from synthetic_colons.light import Lamps
    from synthetic_colons.renderer import render_at_once, scene_of
    from synthetic_colons.sight import sight

    calls: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            calls.setdefault(kernels.name_of(function), (function, arguments))
            return function(*arguments)

        return run

    clips = [
        SyntheticClip(5, seed=0, number=number, frames=2, height=_HEIGHT, width=_WIDTH)
        for number in range(2)
    ]
    # Two colons: a table of one number would be compiled to stay one.
    scene = scene_of([clip.colon for clip in clips], [clip.scene.looks for clip in clips])
    poses = torch.cat([clip.path.world_from_camera[:1] for clip in clips])
    lamps = Lamps(torch.cat([clip.lamps.numbers for clip in clips]))
    with (
        patch.multiple("synthetic_colons.renderer", compiled=noting),
        patch.multiple("synthetic_colons.marching", compiled=noting),
        patch.multiple("synthetic_colons.ground_truth", compiled=noting),
    ):
        for make in (Camera.pinhole, Camera.fisheye):
            camera = make(fx=20.0, fy=21.0, cx=18.5, cy=11.5, height=_HEIGHT, width=_WIDTH)
            frames = render_at_once(
                scene,
                sight(camera, frames=2),
                poses,
                which=torch.arange(2),
                lamps=lamps,
            )
            flow(frames, frames, camera, camera.rays(_HEIGHT, _WIDTH), poses, poses)
    return calls


if __name__ == "__main__":
    calls = sample_calls()
    for each in sys.argv[1:]:
        wanted, example = calls[each]
        kernels.build(each, example, wanted)
