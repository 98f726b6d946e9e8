"""The frames of the `synthetic` protocol, rendered when they are asked for."""

from colondepth.errors import DataError
from colondepth.prediction_run import chosen
from colondepth.views import Clip
from evaluation.evaluating import Frames, with_words
from evaluation.protocols.synthetic import CLIP_S, PROTOCOL, SEED, Extent
from synthetic_colons.clips import SyntheticClip
from synthetic_colons.levels import level as level_of

# A sensor that remembers needs the frames between those that are scored.
CLINIC_FRAMES = 900


def synthetic_frames(extent: Extent) -> Frames:
    """Draw the clips; another extent than the protocol's is scored under a name that says so."""
    if not extent.levels or extent.clips < 1 or not 1 <= extent.frames <= CLINIC_FRAMES:
        raise DataError(
            f"{len(extent.levels)} levels, {extent.clips} clips of {extent.frames} frames;"
            f" expected 1 or more of each, and at most {CLINIC_FRAMES} frames"
        )
    if twice := [name for name in extent.levels if extent.levels.count(name) > 1]:
        raise DataError(f"level {twice[0]!r} is asked for twice; expected each level once")
    clips = [_clip(extent, name, k) for name in extent.levels for k in range(extent.clips)]
    frames = Frames(
        protocol=PROTOCOL,
        clips=tuple(clips),
        dataset=f"rendered colons, levels {', '.join(extent.levels)}, seed {SEED}",
        readers=1,  # a clip remembers the last few renderings
    )
    usual = Extent(levels=extent.levels)
    if extent == usual:
        return frames
    height, width = extent.size
    clips_of = f"{extent.clips} clips of {extent.frames} frames of each level"
    return with_words(frames, f"{clips_of}, {height}x{width}")


def _clip(extent: Extent, name: str, number: int) -> Clip:
    frames = CLINIC_FRAMES if level_of(name).clinic else extent.frames
    height, width = extent.size
    clip = SyntheticClip(
        name,
        seed=SEED,
        number=number,
        frames=frames,
        height=height,
        width=width,
        frames_per_s=frames / CLIP_S,
    ).as_clip()
    if frames == extent.frames:
        return clip
    middles = [(2 * k + 1) * frames // (2 * extent.frames) for k in range(extent.frames)]
    kept = chosen(clip, middles)
    assert kept is not None, "an extent has frames"
    return kept
