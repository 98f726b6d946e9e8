import base64
import json
import re

import numpy as np
import pytest
import torch
from lumens_with_holes import axis, tube

from colondepth.errors import DataError
from colondepth.reconstruction.surface import Surface
from colondepth.reconstruction.viewer import thinned, write_viewer


def data_of(page):
    coded = json.loads(re.search(r"data = (\{.*?\});", page)[1])
    facts = json.loads(re.search(r"facts = (\{.*?\}), data", page)[1])
    return facts, {name: base64.b64decode(blob) for name, blob in coded.items()}


def test_the_page_holds_the_surface_and_fetches_nothing(tmp_path):
    wall, _, _ = tube(length=40, step=2.0, around=40)
    way = axis(torch.linspace(5, 30, 7))
    write_viewer(wall, tmp_path / "v.html", title="A <b>wall</b>", path_mm=way)
    page = (tmp_path / "v.html").read_text()
    assert "http:" not in page
    assert "https:" not in page
    assert "src=" not in page
    assert "default-src 'none'" in page
    assert "not for diagnosis" in page
    assert "A &lt;b&gt;wall" in page
    facts, blobs = data_of(page)
    packed = np.frombuffer(blobs["places"], "<u2").reshape(-1, 3)
    places = np.array(facts["low"]) + packed / 65535 * np.array(facts["extent"])
    assert np.abs(places - wall.vertices_mm.numpy()).max() < 1e-3
    faces = np.frombuffer(blobs["faces"], "<u4").reshape(-1, 3)
    assert (faces == wall.faces.numpy()).all()
    assert np.allclose(np.frombuffer(blobs["way"], "<f4").reshape(-1, 3), way.numpy())
    assert [layer["name"] for layer in facts["layers"]] == [
        "tissue",
        "uncertainty",
        "frames that looked",
    ]


def test_a_large_surface_is_thinned_and_keeps_its_extent_and_sides():
    wall, _, _ = tube(length=60, step=0.5)
    small = thinned(wall, 3000)
    assert 300 < len(small.faces) <= 3000
    for end in ("amin", "amax"):
        before, after = (getattr(s.vertices_mm, end)(dim=0) for s in (wall, small))
        assert (before - after).abs().max() < 3
    middles = small.vertices_mm[small.faces].mean(dim=1)
    inward = -middles[:, :2]
    towards = (small.normals()[:, :2] * inward).sum(dim=-1)
    assert (towards > 0).float().mean() > 0.98
    assert thinned(wall, 10**6) is wall
    with pytest.raises(DataError, match="most_faces"):
        thinned(wall, 0)


def test_an_empty_wall_has_a_page_that_says_so(tmp_path):
    empty = Surface(vertices_mm=torch.empty(0, 3), faces=torch.empty(0, 3, dtype=torch.int64))
    write_viewer(empty, tmp_path / "v.html", title="Nothing")
    assert "no wall to show" in (tmp_path / "v.html").read_text()
