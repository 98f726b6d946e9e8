"""The demo: what exists, shown on a scene whose every depth is known in closed form.

A gut of simple shapes - a bent view into a tube, two polyps, an end wall - is seen through a real
colonoscope's lens (C3VD's Olympus CF-HQ190L) from two places. Every figure on the page is measured
in this run against the closed form.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from importlib.metadata import version
from math import radians
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from colondepth.atomic import written_whole
from colondepth.cameras import Camera, pixel_grid, to_file
from colondepth.data.c3vd import CF_HQ190L
from colondepth.geometry import normals_from_depth, rigid_flow, unproject
from colondepth.masks import find_aperture, find_specular, find_text
from colondepth.motion import relative, se3_exp
from colondepth.pictures import (
    flow_panel,
    image_panel,
    mask_panel,
    normals_panel,
    values_panel,
    write_row,
)
from colondepth.triangulation import triangulate
from colondepth.undistortion import pinhole_for, undistort_image
from colondepth.warping import occlusion_by_depth, warp
from synthetic_colons.analytic import AnalyticView, Plane, Sphere, Tube, look

SIZE = (432, 540)  # two fifths of what the scope records
APERTURE_RAD = radians(66)  # the half angle at which the demo's black border begins
SCENE = (
    Tube(point_mm=(3, -2, 0), along=(0.12, -0.06, 1), radius_mm=24),
    Plane(point_mm=(0, 0, 130), across=(0.3, 0.1, 1)),
    Sphere(centre_mm=(-15, 13, 42), radius_mm=7),
    Sphere(centre_mm=(24, 2, 70), radius_mm=9),
)
# A withdrawal step: 4 mm back, a little aside, a small turn. (translation mm, rotation rad)
STEP = (1.2, -0.8, -4.0, 0.02, -0.03, 0.01)
FLOW_NOISE_PX = 0.25  # a good optical flow network's error on endoscopy


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the page, and how it was made."""

    name: str
    value: float
    unit: str
    made: str


@dataclass(frozen=True, slots=True)
class Section:
    """A row of pictures and what to see in them."""

    title: str
    words: str
    picture: str


def show(folder: Path, *, tick: Callable[[str], None]) -> tuple[Figure, ...]:
    """Make the page, its pictures and figures.json in `folder`; `tick` hears of each step."""
    camera = CF_HQ190L.resized(*SIZE)
    here = torch.eye(4, dtype=torch.float64)
    there = se3_exp(torch.tensor(STEP, dtype=torch.float64))
    tick("Looking from two places")
    view, after = look(SCENE, camera, here), look(SCENE, camera, there)
    rays = camera.rays(*SIZE)
    inside = (rays[..., 2] > torch.tensor(APERTURE_RAD).cos())[None]
    figures = [_round_trip(camera, rays)]
    sections = [_what_it_sees(view, camera, inside, folder)]
    tick("Normals and undistortion")
    figures.append(_normals_figure(view, camera, inside))
    sections.append(_straightened(view, camera, inside, folder))
    tick("Moving the camera")
    sections.append(_moved(view, after, camera, relative(there, here), inside, folder))
    tick("Depth from flow and motion")
    section, figure = _triangulated(view, camera, relative(there, here), inside, folder)
    sections.append(section)
    figures.append(figure)
    tick("Masks")
    section, more = _masked(view, inside, folder)
    sections.append(section)
    figures.extend(more)
    tick("Points seen from outside")
    sections.append(_outside(view, camera, inside, folder))
    to_file(camera, folder / "camera.json")
    _write_page(folder, sections, figures)
    return tuple(figures)


def _round_trip(camera: Camera, rays: Tensor) -> Figure:
    pixels, _ = camera.project(rays)
    worst = (pixels - pixel_grid(*SIZE, like=rays)).abs().max().item()
    made = f"largest over {SIZE[0]}x{SIZE[1]} pixels, float64"
    return Figure("pixel to ray and back", worst, "px", made)


def _what_it_sees(view: AnalyticView, camera: Camera, inside: Tensor, folder: Path) -> Section:
    normals = normals_from_depth(view.depth_mm, camera)
    write_row(
        [
            image_panel("image", view.image * inside),
            values_panel("depth (z)", view.depth_mm, known=inside, unit="mm"),
            values_panel("distance (along the ray)", view.distance_mm, known=inside, unit="mm"),
            normals_panel("normals from depth", normals * inside),
        ],
        folder / "pictures" / "view.png",
    )
    return Section(
        "One view",
        "A tube of 24 mm radius with two polyps, through the lens of a real colonoscope. Towards"
        " the rim, depth and distance part: a file that holds one where a program expects the other"
        " bends every wall. Here the name says which it is.",
        "view.png",
    )


def _normals_figure(view: AnalyticView, camera: Camera, inside: Tensor) -> Figure:
    normals = normals_from_depth(view.depth_mm, camera)
    cosine = (normals * view.normals).sum(dim=0)[inside[0]].clamp(-1, 1)
    made = "median over the aperture, depth differences against the closed form"
    return Figure("normals from depth", cosine.acos().rad2deg().median().item(), "degrees", made)


def _straightened(view: AnalyticView, camera: Camera, inside: Tensor, folder: Path) -> Section:
    ideal = pinhole_for(camera, field_rad=radians(100), height=SIZE[0], width=SIZE[1])
    straight, seen = undistort_image(view.image * inside, camera, ideal)
    truth = look(SCENE, ideal, torch.eye(4, dtype=torch.float64))
    write_row(
        [
            image_panel("as the scope sees it", view.image * inside),
            image_panel("undistorted, 100 degrees", straight * seen),
            image_panel("the same seen by a true pinhole", truth.image),
        ],
        folder / "pictures" / "undistorted.png",
    )
    return Section(
        "Undistorted",
        "The same place through an ideal pinhole. Nothing has to be undistorted to be measured: all"
        " of colondepth works on the lens's own rays.",
        "undistorted.png",
    )


def _moved(
    view: AnalyticView,
    after: AnalyticView,
    camera: Camera,
    motion: Tensor,
    inside: Tensor,
    folder: Path,
) -> Section:
    flow, lands = rigid_flow(view.depth_mm, camera, motion)
    warped, _ = warp(after.image * inside, view.depth_mm, camera, motion)
    hidden = occlusion_by_depth(view.depth_mm, after.depth_mm, camera, motion)
    usable = lands & inside & ~hidden
    miss = (warped - view.image).abs().mean(dim=0, keepdim=True)
    write_row(
        [
            flow_panel("flow to the next frame", view.image, flow, known=lands & inside, every=24),
            image_panel("next frame, warped back", warped * inside),
            mask_panel("hidden in the next frame", view.image * inside, hidden & lands & inside),
            values_panel("difference where seen", miss, known=usable, unit="", limits=(0, 0.2)),
        ],
        folder / "pictures" / "motion.png",
    )
    return Section(
        "The camera withdraws by 4 mm",
        "Depth and motion say where every pixel goes, what the next frame looks like from here, and"
        " what it cannot see. What differs is the light, which moved with the camera.",
        "motion.png",
    )


def _triangulated(
    view: AnalyticView, camera: Camera, motion: Tensor, inside: Tensor, folder: Path
) -> tuple[Section, Figure]:
    flow, lands = rigid_flow(view.depth_mm, camera, motion)
    noise = torch.randn(flow.shape, generator=torch.Generator().manual_seed(0)).to(flow)
    depth_mm, confidence = triangulate(flow + FLOW_NOISE_PX * noise, camera, motion)
    known = lands & inside
    error = (depth_mm - view.depth_mm).abs() / view.depth_mm.clamp(min=1)
    sure = known & (confidence > 0.9)
    write_row(
        [
            values_panel("depth, triangulated", depth_mm, known=known, unit="mm", limits=(10, 130)),
            values_panel("depth, true", view.depth_mm, known=known, unit="mm", limits=(10, 130)),
            values_panel("relative error", error, known=known, unit="", limits=(0, 0.3)),
            values_panel("confidence", confidence, known=known, unit="", limits=(0, 1)),
        ],
        folder / "pictures" / "triangulated.png",
    )
    section = Section(
        "Depth from flow and motion",
        f"Flow with {FLOW_NOISE_PX} px of noise gives depth wherever the camera's motion shows it."
        " Along the direction of travel it shows nothing, and the confidence says so.",
        "triangulated.png",
    )
    made = f"median of relative errors where confidence > 0.9 ({sure.float().mean():.0%} of pixels)"
    return section, Figure("triangulated depth", 100 * error[sure].median().item(), "%", made)


def _masked(view: AnalyticView, inside: Tensor, folder: Path) -> tuple[Section, list[Figure]]:
    # Highlights where the wall faces the lamp, and a caption as recorders burn it in.
    shine = (view.normals[2:] * -1).clamp(min=0) ** 400
    image = ((view.image + 0.9 * shine) * inside).clamp(0, 1)
    written, letters = _captioned(image)
    aperture = find_aperture(written)
    text = find_text(written, inside=aperture)
    highlights = find_specular(written, inside=aperture)
    write_row(
        [
            image_panel("image", written),
            mask_panel("inside the aperture", written, aperture),
            mask_panel("highlights", written, highlights),
            mask_panel("burnt-in text", written, text),
        ],
        folder / "pictures" / "masks.png",
    )
    overlap = (aperture & inside).sum() / (aperture | inside).sum()
    found = (text & letters).sum() / letters.sum()
    section = Section(
        "What must not be used",
        "The scope's black border, wet highlights and captions are found in the picture itself, so"
        " that they count neither as wall nor as depth.",
        "masks.png",
    )
    return section, [
        Figure(
            "aperture found", 100 * overlap.item(), "% IoU", "against the border that was drawn"
        ),
        Figure("text found", 100 * found.item(), "%", "of the letters' pixels"),
    ]


def _captioned(image: Tensor) -> tuple[Tensor, Tensor]:
    layer = Image.new("L", (SIZE[1], SIZE[0]))
    pen = ImageDraw.Draw(layer)
    font = ImageFont.load_default(size=15)
    pen.text((8, 8), "DEMO 00:12:07", fill=255, font=font)
    pen.text((8, SIZE[0] - 26), "NOT FOR DIAGNOSIS", fill=255, font=font)
    ink = torch.frombuffer(bytearray(layer.tobytes()), dtype=torch.uint8).reshape(1, *SIZE)
    share = ink.to(image) / 255
    return image * (1 - share) + share, share > 0.5


def _outside(view: AnalyticView, camera: Camera, inside: Tensor, folder: Path) -> Section:
    import pyvista  # here: it takes seconds to import, and only this picture needs it

    points = unproject(view.depth_mm, camera)[inside[0]]
    colours = view.image.movedim(0, -1)[inside[0]]
    near = points[:, 2] < 110
    cloud = pyvista.PolyData(points[near].numpy())
    cloud["colour"] = (colours[near] * 255).byte().numpy()
    # Without a screen VTK tries one, warns, and then draws off-screen as it was told to.
    with pyvista.vtk_verbosity("error"):
        plotter = pyvista.Plotter(off_screen=True, window_size=[1100, 460])
        plotter.background_color = pyvista.Color("white")
        plotter.add_mesh(cloud, scalars="colour", rgb=True, point_size=2.5)
        plotter.camera_position = [(-170, -80, -60), (5, -2, 52), (0, -1, 0)]
        with written_whole(folder / "pictures" / "points.png") as temporary:
            plotter.screenshot(temporary)
        plotter.close()
    return Section(
        "The same pixels as points in space",
        "Every pixel lifted along its own ray and seen from outside, coloured by the image: the"
        " tube, its polyps, and a gap behind each of them that this view could not see.",
        "points.png",
    )


def _write_page(folder: Path, sections: list[Section], figures: list[Figure]) -> None:
    import json

    rows = "".join(
        f"<tr><td>{escape(f.name)}<td class=n>{f.value:.3g} {escape(f.unit)}<td>{escape(f.made)}"
        for f in figures
    )
    parts = "".join(
        f'<h2>{escape(s.title)}</h2><p>{escape(s.words)}</p><img src="pictures/{s.picture}"'
        f' alt="{escape(s.title)}">'
        for s in sections
    )
    page = _PAGE.format(version=version("colondepth"), rows=rows, parts=parts)
    with written_whole(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    answer = {"version": version("colondepth"), "figures": [asdict(f) for f in figures]}
    with written_whole(folder / "figures.json") as temporary:
        temporary.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>colondepth demo</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto;
        padding: 0 1rem; color: #222; background: #fff; }}
img {{ width: 100%; height: auto; }}
h1 {{ margin-bottom: 0; }} h2 {{ margin: 2.2rem 0 0; }}
p {{ max-width: 50rem; margin: .3rem 0 .8rem; }}
.warn {{ border-left: 4px solid #e69f00; padding: .3rem .8rem; background: #fff8e8; }}
table {{ border-collapse: collapse; }} td {{ padding: .2rem 1.2rem .2rem 0; vertical-align: top; }}
.n {{ white-space: nowrap; font-variant-numeric: tabular-nums; font-weight: 600; }}
</style></head><body>
<h1>colondepth demo</h1>
<p>Version {version}. Made on this machine, from nothing but the program: no data, no network.</p>
<p class="warn">Research software, not for diagnosis.</p>
<h2>Figures of this run</h2>
<table>{rows}</table>
{parts}
</body></html>
"""
