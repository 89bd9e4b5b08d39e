"""Weights for a network that nobody trained yet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .model import MobileViTV2, MobileViTV2Classifier

__all__ = ["initialise"]


@torch.no_grad()
def initialise(model: MobileViTV2Classifier, seed: int) -> None:
    """Seeded weights for a fresh network: it trains from them, and its logits differ between images and classes.

    (Hugging Face's own initialisation gives logits of exactly 0.) Kaiming fan-out for convolutions, Xavier for the
    transformer's 1x1 layers with those that write to the residual stream scaled by 0.1. The statistics of every
    BatchNorm are those of smooth random pictures, as after training. The head has the standard deviation
    ``initializer_range``, scaled by the spread of the features that reach it.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:  # Pointwise
            gain = 0.1 if name.endswith(("out_proj.convolution", "conv2.convolution")) else 1.0
            nn.init.xavier_uniform_(module.weight, gain=gain, generator=generator)
            nn.init.zeros_(module.bias)
    features = _settle_batch_norms(model.mobilevitv2, generator)
    centre, spread = features.mean(0), features.std().clamp_min(1e-3)
    nn.init.normal_(model.classifier.weight, std=model.config.initializer_range, generator=generator).div_(spread)
    model.classifier.bias.copy_(-model.classifier.weight @ centre)


def _settle_batch_norms(backbone: MobileViTV2, generator: torch.Generator) -> Tensor:
    """Set every BatchNorm's statistics from one batch of smooth random pictures; returns their pooled features."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    coarse = torch.rand((16, backbone.config.num_channels, 5, 5), generator=generator)
    pictures = F.interpolate(coarse, size=128, mode="bicubic").clamp(0, 1)
    was_training = backbone.training
    backbone.eval()
    for norm in norms:
        norm.train().momentum = 1.0
    pooled: Tensor = backbone(pictures).last_hidden_state.mean((2, 3))
    for norm in norms:
        norm.momentum = 0.1
    backbone.train(was_training)
    return pooled
