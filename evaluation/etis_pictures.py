"""Pictures to judge depth on images without depth by eye: what was predicted, and what follows."""

from pathlib import Path

import torch
from scipy import ndimage
from torch import Tensor

from colondepth.geometry import normals_from_depth
from colondepth.pictures import ORANGE, image_panel, normals_panel, values_panel, write_row
from evaluation.etis import Measured
from evaluation.etis_shading import relit


def write_picture(measured: Measured, path: Path) -> None:
    """Write image with the mask's outline, depth, normals and the relit geometry side by side."""
    camera, depth_mm = measured.view["camera"], measured.depth_mm
    scores = measured.scores
    logs, lit = relit(depth_mm, camera)
    relit_log, shown = torch.from_numpy(logs)[None], torch.from_numpy(lit)[None]
    shown = shown & measured.usable.cpu()
    known = depth_mm > 0
    write_row(
        [
            image_panel(
                f"{measured.frame}", outlined(measured.view["image"], measured.view["polyp"])
            ),
            values_panel(
                f"depth; relief {scores['relief_mm']:.2g} mm,"
                f" {scores['relief_to_noise']:.2g} x noise",
                depth_mm,
                known=known,
                unit="mm" if camera.calibrated else "mm, camera guessed",
            ),
            normals_panel(
                f"normals; border F {scores['border_f_depth']:.2f} depth,"
                f" {scores['border_f_normals']:.2f} normals",
                normals_from_depth(depth_mm, camera),
            ),
            values_panel(
                f"relit, log; r {scores['shading']:.2f}, detail {scores['shading_detail']:.2f}",
                relit_log,
                known=shown,
                unit="log light",
                limits=_middle(relit_log, shown),
            ),
        ],
        path,
    )


def outlined(image: Tensor, polyp: Tensor) -> Tensor:
    """Return an image (3, H, W) with the outline of a mask (1, H, W) in orange."""
    inner = ndimage.binary_erosion(polyp[0].cpu().numpy())
    edge = polyp & ~torch.from_numpy(inner)[None].to(polyp.device)
    return torch.where(edge, image.new_tensor(ORANGE).reshape(3, 1, 1), image)


def _middle(values: Tensor, known: Tensor) -> tuple[float, float] | None:
    """Return where 96 % of the known values lie."""
    if not bool(known.any()):
        return None
    low, high = values[known].quantile(values.new_tensor([0.02, 0.98])).tolist()
    return low, high
