"""Cameras: the rays of pixels and the pixels of points, for every lens an endoscope has."""

from colondepth.cameras.camera import ASSUMED_FIELD_RAD, Camera, pixel_grid, stack
from colondepth.cameras.files import CameraForm, from_file, to_file
from colondepth.cameras.fisheye import Fisheye
from colondepth.cameras.lens import Lens, safe_norm
from colondepth.cameras.omnidirectional import Omnidirectional
from colondepth.cameras.pinhole import Pinhole

__all__ = [
    "ASSUMED_FIELD_RAD",
    "Camera",
    "CameraForm",
    "Fisheye",
    "Lens",
    "Omnidirectional",
    "Pinhole",
    "from_file",
    "pixel_grid",
    "safe_norm",
    "stack",
    "to_file",
]
