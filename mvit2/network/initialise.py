"""Weights for a network that nobody trained yet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Pointwise
from .network import Network

__all__ = ["initialise"]

_MUCH_FURTHER = 4.0  # times


@torch.no_grad()
def initialise(model: Network, seed: int) -> None:
    """Seeded weights for a fresh network: it trains from them, and its logits differ between images and classes.

    (Hugging Face's own initialisation gives logits of exactly 0.) Kaiming fan-out for convolutions, Xavier for the
    transformer's 1x1 and linear layers with those that write to the residual stream scaled by 0.1. The statistics of
    every BatchNorm are those of smooth random pictures, as after training. The last layer has the standard deviation
    ``initializer_range``, scaled by the spread of the features that reach it: of those pictures, or of rougher ones
    where these reach much further, as in a network without norms over the whole map.
    """
    generator = torch.Generator().manual_seed(seed)
    last = [module for module in model.modules() if isinstance(module, nn.Linear | Pointwise)][-1]  # that of the head
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
        elif isinstance(module, nn.Conv2d) and module.bias is not None:  # Pointwise
            gain = 0.1 if name.endswith(("out_proj.convolution", "conv2.convolution")) else 1.0
            nn.init.xavier_uniform_(module.weight, gain=gain, generator=generator)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear) and module is not last:
            gain = 0.1 if name.endswith("output.dense") else 1.0
            nn.init.xavier_uniform_(module.weight, gain=gain, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    was_training = model.training
    features = _settle_batch_norms(model.eval(), last, generator)
    rough = _features(model, last, _pictures(model, 16, torch.Generator().manual_seed(seed)))
    model.train(was_training)
    centre, spread = features.mean(0), features.std().clamp_min(1e-3)
    reach = (rough - centre).std()
    spread = reach if reach > _MUCH_FURTHER * spread else spread
    layer = last.convolution if isinstance(last, Pointwise) else last
    nn.init.normal_(layer.weight, std=model.config.initializer_range, generator=generator).div_(spread)
    assert layer.bias is not None
    layer.bias.copy_(-layer.weight.flatten(1) @ centre)


def _settle_batch_norms(model: Network, last: nn.Module, generator: torch.Generator) -> Tensor:
    """Set every BatchNorm's statistics from one batch of smooth random pictures; returns their features."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    pictures = _pictures(model, 5, generator)
    for norm in norms:
        norm.train().momentum = 1.0
    features = _features(model, last, pictures)
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()
    return features


def _pictures(model: Network, grid: int, generator: torch.Generator) -> Tensor:
    """Random in ``grid`` x ``grid`` points and smooth between them: float32 (16, channels, 128, 128) in 0..1."""
    coarse = torch.rand((16, model.config.num_channels, grid, grid), generator=generator)
    return F.interpolate(coarse, size=128, mode="bicubic").clamp(0, 1)


def _features(model: Network, last: nn.Module, pictures: Tensor) -> Tensor:
    """What reaches the module ``last``, float32 (N, channels): N pictures, or all their pixels."""
    seen: list[Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(0, -2)))
    model(pictures)
    hook.remove()
    return seen[0]
