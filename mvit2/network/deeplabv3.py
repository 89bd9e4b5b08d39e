"""DeepLabV3 (arXiv 1706.05587): a backbone's last map, seen at several reaches at once, to classes.

Module names are those of the published Hugging Face checkpoints, so these load unchanged.

Shapes: B images, C = aspp_out_channels, C5 channels of the last encoder layer, h x w pixels of its map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2.errors import UsageError

from .config import NetworkConfig
from .layers import ConvLayer, Pointwise
from .mobilevit import MobileViT
from .mobilevit_config import MobileViTConfig
from .mobilevitv2 import MobileViTV2
from .mobilevitv2_config import ModelConfig
from .network import Backbone, Network

__all__ = ["DeepLabV3", "ImagePooling", "MobileViTSegmenter", "MobileViTV2Segmenter", "Segmenter", "SpatialPyramid"]


class ImagePooling(nn.Module):
    """What is in the whole image, said at every pixel. In training the batch needs at least two images (BatchNorm)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv_1x1 = ConvLayer(c_in, c_out, act="relu")

    def forward(self, x: Tensor) -> Tensor:  # (B, C5, h, w) -> (B, C, h, w)
        context = self.conv_1x1(x.mean((2, 3), keepdim=True))  # (B, C, 1, 1)
        return context.expand(-1, -1, *x.shape[2:])


class SpatialPyramid(nn.Module):
    """ASPP: every pixel by itself, with neighbours at three distances (``atrous_rates``) and with the whole image."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        c_in, c_out = config.stage_channels[-1], config.aspp_out_channels
        alone = ConvLayer(c_in, c_out, act="relu")
        around = [ConvLayer(c_in, c_out, 3, dilation=rate, act="relu") for rate in config.atrous_rates]
        self.convs = nn.ModuleList([alone, *around, ImagePooling(c_in, c_out)])
        self.project = ConvLayer(len(self.convs) * c_out, c_out, act="relu")
        self.dropout = nn.Dropout(config.aspp_dropout_prob)

    def forward(self, x: Tensor) -> Tensor:  # (B, C5, h, w) -> (B, C, h, w)
        pyramid = torch.cat([conv(x) for conv in self.convs], dim=1)  # (B, 5 * C, h, w)
        return self.dropout(self.project(pyramid))


class DeepLabV3(nn.Module):
    """The segmentation head; its scores are channels-last, as the artifacts return them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.aspp = SpatialPyramid(config)
        self.dropout = nn.Dropout2d(config.classifier_dropout_prob)
        self.classifier = Pointwise(config.aspp_out_channels, config.num_labels)

    def forward(self, x: Tensor) -> Tensor:  # (B, C5, h, w) -> (B, h, w, classes)
        x = self.dropout(self.aspp(x))
        return self.classifier(x.permute(0, 2, 3, 1))


class Segmenter(Network):
    """Backbone and DeepLabV3: float32 (B, num_channels, H, W) -> logits (B, classes, h, w), h x w = config.map_size.

    Raises UsageError for sizes that config.map_size refuses.
    """

    def __init__(self, config: NetworkConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.segmentation_head = DeepLabV3(config)

    def forward(self, pixel_values: Tensor) -> Tensor:
        height, width = pixel_values.shape[2:]
        self.config.map_size((int(height), int(width)))
        scores = self.segmentation_head(self.backbone(pixel_values).last_hidden_state)
        return scores.permute(0, 3, 1, 2)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy over pixels, the logits brought to the labels' size first, as transformers does it.

        Args:
            logits: float32 (B, classes, h, w), what the network returned.
            labels: int64 (B, height, width), class indices; ``semantic_loss_ignore_index`` of the configuration marks
                pixels that do not count (NaN where all do not).

        Raises:
            UsageError: a network of one class, which has nothing to learn.
        """
        if self.config.num_labels == 1:
            raise UsageError("a loss needs at least 2 classes, this network has 1; give its configuration more labels.")
        height, width = labels.shape[-2:]
        logits = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)
        return F.cross_entropy(logits, labels, ignore_index=self.config.semantic_loss_ignore_index)


class MobileViTV2Segmenter(Segmenter):
    """MobileViTV2 and DeepLabV3; see Segmenter."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, MobileViTV2(config, expand_output=False))


class MobileViTSegmenter(Segmenter):
    """MobileViT and DeepLabV3; see Segmenter."""

    def __init__(self, config: MobileViTConfig) -> None:
        super().__init__(config, MobileViT(config, expand_output=False))
