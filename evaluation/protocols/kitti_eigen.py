"""KITTI by the split of Eigen et al. (2014) with Garg's crop, for the networks from driving."""

from evaluation.alignment import Alignment
from evaluation.protocols.protocol import Mask, Protocol, Region
from evaluation.statistics import Average

GARG = Region(
    top=0.40810811,
    bottom=0.99189189,
    left=0.03594771,
    right=0.96405229,
    name="Garg's crop: rows 0.408 to 0.992, columns 0.036 to 0.964 of the picture",
)
# Rows 0.3324324 to 0.91351351 are Eigen's own crop, which some papers use; it is not this protocol.

PROTOCOL = Protocol(
    name="kitti-eigen",
    paper="Eigen et al., NIPS 2014; crop of Garg et al., ECCV 2016",
    used_by=("Eigen", "DORN", "Monodepth2", "Monodepth", "SfMLearner"),
    dataset="plain",
    split=None,
    split_words="every frame of the folder",
    region=GARG,
    mask=Mask.KNOWN,
    near_mm=1.0,
    cap_mm=80_000.0,
    clamped=True,
    alignment=Alignment.NONE,
    beside=(Alignment.MEDIAN,),
    average=Average.MICRO,
    reported=(
        *("abs_rel", "sq_rel", "rmse_mm", "rmse_log"),
        *("delta_1_25", "delta_1_25_2", "delta_1_25_3"),
    ),
    far_mm=80_000.0,
    doubts=(
        "There is no reader for KITTI's own files: put images, depth/ and dataset.json (KITTI's"
        " 16-bit depth has 1000 / 256 mm a count) into folders as `colondepth.data.plain` takes"
        " them. The list of the split's frames is not part of this program.",
        "Papers print metres, and sq_rel in metres: theirs times 1000 is ours.",
        "Networks that learned from one moving camera are scaled by the median of each frame in"
        " their papers: that is the figure named ..._by_median.",
        "Whether a paper took the raw lidar points or the improved ground truth, and Eigen's crop"
        " or Garg's, has to be read there.",
    ),
)
