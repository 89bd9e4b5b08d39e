"""The export form: the same network with its normalisations and its input scaling folded into convolutions.

1. BatchNorm folds into the convolution before it.
2. A backbone gets the form of its family: export/convert/fold/mobilevit.py, export/convert/fold/mobilevitv2.py.
3. A segmentation head gets that of export/convert/fold/deeplabv3.py.
4. The artifact contract's input (uint8 RGB) folds into the stem, in contract.py: scale into its weights, BGR into their
   order.

All of them are exact in real arithmetic; they are computed in float64 and rounded once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from mvit2.network.deeplabv3 import DeepLabV3
from mvit2.network.layers import ConvLayer
from mvit2.network.mobilevit import MobileViT
from mvit2.network.mobilevitv2 import MobileViTV2
from mvit2.network.network import Backbone, Network

from .deeplabv3 import fold_head
from .mobilevit import fold_mobilevit
from .mobilevitv2 import fold_mobilevitv2
from .parts import fold_batch_norm

__all__ = ["export_form"]


class _Fold(Protocol):
    """A family's, in place; arguments as for export_form."""

    def __call__(self, backbone: Backbone, *, single_image: bool, image_size: tuple[int, int] | None) -> None: ...


_FOLDS: Mapping[type[Backbone], _Fold] = MappingProxyType({MobileViT: fold_mobilevit, MobileViTV2: fold_mobilevitv2})


def export_form(model: Network, *, single_image: bool, image_size: tuple[int, int] | None = None) -> Network:
    """A folded copy of ``model`` in eval mode.

    Args:
        single_image: the batch is 1, and every tensor of rank <= 4.
        image_size: (height, width) of the only pictures that the copy is for, which spares a segmentation head the
            taps that never meet its map; None is for any size.
    """
    folded = copy.deepcopy(model).requires_grad_(False)
    for module in folded.modules():
        if isinstance(module, ConvLayer):
            fold_batch_norm(module)
    _FOLDS[type(folded.backbone)](folded.backbone, single_image=single_image, image_size=image_size)
    for module in folded.modules():
        if isinstance(module, DeepLabV3):
            fold_head(module, image_size and folded.config.map_size(image_size))
    return folded.eval()
