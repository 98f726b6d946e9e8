import struct

import numpy as np
import pytest
import pyvista

from colondepth.errors import DataError
from colondepth.reconstruction.mesh_reading import read_mesh

SQUARES = 3


def written(path, form):
    """A ball in one of PLY's forms, or three squares, which are no triangles, in the big-endian."""
    if form in ("binary", "ascii"):
        pyvista.Sphere().save(path, binary=form == "binary")
        return 842, 1680
    head = f"ply\nformat binary_big_endian 1.0\nelement vertex {4 * SQUARES}\n"
    head += "property float x\nproperty float y\nproperty float z\n"
    head += f"element face {SQUARES}\nproperty list uchar int vertex_indices\nend_header\n"
    corners = [(x, y, 1 + k) for k in range(SQUARES) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]
    body = b"".join(struct.pack(">3f", *corner) for corner in corners)
    for k in range(SQUARES):
        body += struct.pack(">B4i", 4, *(4 * k + c for c in range(4)))
    path.write_bytes(head.encode() + body)
    return 4 * SQUARES, 2 * SQUARES


@pytest.mark.parametrize("form", ["binary", "ascii", "squares"])
def test_a_whole_ply_is_read_and_one_that_is_cut_off_is_refused(tmp_path, form):
    path = tmp_path / "whole.ply"
    vertices, triangles = written(path, form)
    points, faces = read_mesh(path)
    assert (len(points), len(faces)) == (vertices, triangles)
    assert np.isfinite(points).all()
    data = path.read_bytes()
    cut = tmp_path / "cut.ply"
    for share in (0.02, 0.2, 0.5, 0.9, 0.98):
        cut.write_bytes(data[: int(share * len(data))])
        with pytest.raises(DataError, match="cut off"):
            read_mesh(cut)


def test_a_header_that_says_nothing_sensible_is_answered(tmp_path):
    path = tmp_path / "odd.ply"
    path.write_text("ply\nformat binary_little_endian 1.0\nelement vertex many\nend_header\n")
    with pytest.raises(DataError, match="not understood"):
        read_mesh(path)
