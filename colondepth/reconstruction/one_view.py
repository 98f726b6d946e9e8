"""What makes the depth of one view visible: places nearby, two eyes, a ball of 5 mm."""

from colondepth.films import film
from colondepth.images import write_image
from colondepth.reconstruction.camera_motion import DepthFrame
from colondepth.reconstruction.inserted import insert_ball
from colondepth.reconstruction.novel_views import anaglyph, sweep
from colondepth.reconstruction.reconstructing import Reconstruction

SWEEP_FRAMES, SWEEP_FPS = 60, 20.0


def show_depth(done: Reconstruction, frame: DepthFrame) -> None:
    """Write what makes the depth of one view visible: places nearby, two eyes, a ball of 5 mm."""
    view = (frame.image, frame.depth_mm, done.camera)
    write_image(anaglyph(*view), done.folder / "anaglyph.png")
    known = frame.depth_mm[0] > 0
    height, width = known.shape
    # On the wall nearest to the middle of the picture's lower half.
    rows, columns = known.nonzero().unbind(dim=1)
    away = (rows - 0.65 * height).square() + (columns - 0.5 * width).square()
    at = int(away.argmin())
    ball = insert_ball(*view, pixel=(int(columns[at]), int(rows[at])))
    write_image(ball, done.folder / "measured.png")
    with film(done.folder / "novel_views.mp4", height=height, width=width) as add:
        for number, picture in enumerate(sweep(*view, frames=SWEEP_FRAMES)):
            add(picture, number / SWEEP_FPS)
