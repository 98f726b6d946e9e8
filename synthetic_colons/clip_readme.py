"""The README.txt of a synthetic clip: what lies in the folder, in which units, and what not."""

from synthetic_colons.anatomy import FindingKind
from synthetic_colons.wall import LABELS

_FRAMES = {
    "c3vd": """\
NNNN_color.png      image, sRGB, 8 bits
NNNN_depth.tiff     z-depth, 16 bits over 100 mm; 0 unknown, 65535 is 100 mm or more
NNNN_normals.tiff   normals in the camera frame (x right, y down, z forward), towards the camera,
                    16 bits over -1 to 1; (0, 0, 0) unknown
NNNN_flow.tiff      flow to the frame before, 16 bits over -20 to 20 px; (0, 0) where it is not
                    known or longer. The first frame has none
pose.txt            camera to world, mm, one frame a line, 16 numbers column by column
camera.json         lens, size and intrinsics in pixels; whole numbers are pixel centres

C3VD has no place for, and so left out are: distance along the ray (it follows from depth and
camera), polyp masks, flow to the next frame, occlusion, albedo, shading, highlights and times
(frame number / frames_per_s of parameters.json).
""",
    "ruano": """\
img/NNNN.jpg        image, sRGB, 8 bits, JPEG of quality 100
z/NNNN.jpg          DISTANCE along the ray, 255 counts over 250 mm; 0 unknown or beyond 250 mm
mask/NNNN.jpg       polyps, 255 on a polyp
camera.json         lens, size and intrinsics in pixels; whole numbers are pixel centres. Readers of
                    this layout take the authors' camera, which levels 1 to 5 have; for level 6 give
                    them this one
trajectory.txt      time in s, place in mm and quaternion x y z w of the camera in the world (TUM)

Ruano's layout has no place for, and so left out are: normals, flow, occlusion, albedo, shading and
highlights.
""",
}
_REST = """
parameters.json     what was asked for, what it was made with, and every number that was drawn:
                    colon, path, lamps, camera, tissue and, at level 6, sensor ({"map": shape}
                    stands for a drawn picture such as dirt, which the seed gives again)
polyps.json         every polyp of the colon: label, true size and shape in mm, Paris kind, arc
                    length, angle, segment, and the frames that show it with their pixel counts
coverage.json       share of the wall seen up to each frame, for the stretch that the tip passed
                    and for the one that it looked at; segment and arc length of the tip
"""
_MESH = """\
mesh.ply            the true surface, mm, in the world of the poses, as far as any pixel shows it;
                    per vertex arc_mm, angle_rad, label and segment. Open where it was cut
"""


def readme(layout: str, *, mesh: bool) -> str:
    """Return the text for a layout, "c3vd" or "ruano"."""
    others = ", ".join(f"{LABELS[kind]} {kind}" for kind in FindingKind)
    return (
        "A synthetic colonoscopy made by colondepth, with all that is true of it. Nobody's colon,\n"
        "and nothing to diagnose by. Arc length runs from the rectum (0) to the caecum.\n\n"
        f"{_FRAMES[layout]}{_REST}{_MESH if mesh else ''}\n"
        f"Labels: 0 wall, 1 and up polyps as in polyps.json,\n{others}.\n\n"
        "In Python: colondepth.data.open_clips(FOLDER). The same command makes the same files.\n"
    )
