"""Meshes of colons as files: PLY with what is known of every vertex, GLB, OBJ, STL.

Only PLY has room for arc length, angle, label and segment; see `triangle_files`.
"""

from pathlib import Path

from colondepth.reconstruction.triangle_files import Triangles, write_triangles
from synthetic_colons.colon_mesh import ColonMesh


def write_mesh(mesh: ColonMesh, path: Path) -> None:
    """Write a mesh whole or not at all, in the format of the suffix: .ply, .glb, .obj or .stl."""
    forms = {"arc_mm": "<f4", "angle_rad": "<f4", "label": "<i2", "segment": "<i2"}
    triangles = Triangles(
        vertices_mm=mesh.vertices.cpu().numpy(),
        faces=mesh.faces.cpu().numpy(),
        known={
            name: getattr(mesh, name).cpu().numpy().astype(form) for name, form in forms.items()
        },
        comments=tuple(f"segment {k} {name}" for k, name in enumerate(mesh.segment_names)),
    )
    write_triangles(triangles, path)
