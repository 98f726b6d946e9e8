"""What each score of images without depth can tell and what it cannot, for the report.

What each was worth on rendered polyps stands in the documents (docs/concepts/etis.md).
"""

from evaluation.report_tables import Table

_ROWS = (
    (
        "relief_mm, relief_to_noise",
        "whether depth has a bump where the mask is: its height above the wall continued from a"
        " ring around it, and that over the ring's roughness",
        "whether the height is right; a tilt; flat lesions",
    ),
    (
        "border_f_depth, border_f_normals",
        "whether breaks of depth and of normals lie on the mask's border; hold it against"
        " border_f_chance",
        "how high a step is; polyps that rise gently",
    ),
    (
        "shading, shading_detail, shading_margin",
        "whether the geometry, lit from the tip, goes with brightness: at large, in the relief, and"
        " beyond a flat, a mirrored and another image's depth",
        "truth: depth made of brightness alone (shading_trivial) does as well",
    ),
    (
        "stability",
        "how far depth moves when the image is mirrored, cropped, brighter, darker, compressed or"
        " of another hue",
        "whether depth is right: an untrained network is very stable",
    ),
    (
        "pairs (pairs.csv)",
        "whether near-duplicate views of a polyp get the same depth",
        "which one is right; errors that both share",
    ),
    ("whdr", "point pairs, labelled by hand, that are in the wrong order", "any amount"),
    (
        "size_mm",
        "how large the polyp would be if camera and depth were right, with an interval; an"
        " abstention says why",
        "the size: the scale of one image's depth is a guess",
    ),
)


def meanings_table() -> Table:
    """Return the table of the report."""
    return Table(
        title="What the scores can tell",
        head=("score", "can tell", "cannot tell"),
        rows=_ROWS,
        notes=("None of these scores is accuracy: nobody knows the depth of these images.",),
        texts=frozenset({"can tell", "cannot tell"}),
    )
