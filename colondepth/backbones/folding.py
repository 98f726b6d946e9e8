"""A network for answering only: its batch norms multiplied into the convolutions before them.

The answers stay the same to rounding, and every norm's pass over its map is spared. What comes back
cannot be trained, and its weights are no longer those of a file.
"""

from copy import deepcopy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from colondepth.backbones.contract import Backbone

# MONAI's EfficientNet names its parts and calls them in this order.
_NAMED_PAIRS = (
    ("_conv_stem", "_bn0"),
    ("_expand_conv", "_bn0"),
    ("_depthwise_conv", "_bn1"),
    ("_project_conv", "_bn2"),
)


def folded(backbone: Backbone) -> Backbone:
    """Return a copy that answers alike, in evaluation mode; the network itself is left as it was.

    Norms are found behind convolutions in an `nn.Sequential` and in MONAI's EfficientNet; others
    stay what they are.
    """
    copy = deepcopy(backbone).eval()
    for module in list(copy.modules()):
        names = list(module._modules)
        pairs = pairwise(names) if isinstance(module, nn.Sequential) else _NAMED_PAIRS
        for before, behind in pairs:
            convolution, norm = getattr(module, before, None), getattr(module, behind, None)
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, before, fuse_conv_bn_eval(convolution, norm))
                setattr(module, behind, nn.Identity())
    return copy.requires_grad_(False)
