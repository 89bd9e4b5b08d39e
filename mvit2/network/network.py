"""What all networks of the family have in common: an encoder of five layers, and the head of a task on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, overload

import torch.nn.functional as F
from torch import Tensor, nn

from .config import NetworkConfig
from .layers import ConvLayer

__all__ = ["Backbone", "BackboneOutput", "Classifier", "ClassifierOutput", "Encoder", "Network"]


class Encoder(nn.Module):
    """Five layers in a row; returns what each puts out."""

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        states = []
        for layer in self.layer:
            x = layer(x)
            states.append(x)
        return states


class BackboneOutput(NamedTuple):
    last_hidden_state: Tensor  # (B, C, H / stride, W / stride)
    pooler_output: Tensor | None  # (B, C): its mean over all pixels; None without expand_output
    hidden_states: tuple[Tensor, ...]  # the outputs of the five encoder layers


class Backbone(nn.Module):
    """Stem and encoder: normalised pixels float32 (B, num_channels, H, W) -> BackboneOutput.

    Args:
        layers: the encoder's five.
        expand_output: a classifier reads it; False is for heads that read the encoder's last map.
    """

    def __init__(self, config: NetworkConfig, layers: Iterable[nn.Module], *, expand_output: bool) -> None:
        super().__init__()
        self.config, self.expand_output = config, expand_output
        self.conv_stem = ConvLayer(config.num_channels, config.stem_channels, 3, stride=2, act=config.hidden_act)
        self.encoder = Encoder(layers)

    def forward(self, pixel_values: Tensor) -> BackboneOutput:
        states = self.encoder(self.conv_stem(pixel_values))
        if not self.expand_output:
            return BackboneOutput(states[-1], None, tuple(states))
        last = self.expanded(states[-1])
        return BackboneOutput(last, last.mean((2, 3)), tuple(states))

    def expanded(self, x: Tensor) -> Tensor:
        """The encoder's last map as a classifier reads it, with config.feature_channels."""
        return x


class Network(nn.Module):
    """A backbone and the head of a task (mvit2.tasks): float32 (B, num_channels, H, W) -> logits.

    The backbone's attribute has the architecture's name, as in the published checkpoints.
    """

    def __init__(self, config: NetworkConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.add_module(config.architecture, backbone)

    @property
    def backbone(self) -> Backbone:
        backbone: Backbone = getattr(self, self.config.architecture)
        return backbone


class ClassifierOutput(NamedTuple):
    """What a classifier returns where it is given labels."""

    loss: Tensor  # ()
    logits: Tensor  # (B, classes)


class Classifier(Network):
    """Backbone, mean over all pixels, one linear layer: float32 (B, num_channels, H, W) -> logits (B, classes)."""

    def __init__(self, config: NetworkConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.dropout = nn.Dropout(config.classifier_dropout_prob)
        self.classifier = nn.Linear(config.feature_channels, config.num_labels)

    @overload
    def forward(self, pixel_values: Tensor, labels: None = None) -> Tensor: ...
    @overload
    def forward(self, pixel_values: Tensor, labels: Tensor) -> ClassifierOutput: ...
    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> Tensor | ClassifierOutput:
        logits: Tensor = self.classifier(self.dropout(self.backbone(pixel_values).pooler_output))
        return logits if labels is None else ClassifierOutput(self.loss(logits, labels), logits)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As transformers computes it for the configuration's ``problem_type``.

        Args:
            logits: float32 (B, classes), what the network returned.
            labels: of a single label int64 (B,), class indices; of several float (B, classes), 0 or 1 each; of a
                regression float (B, classes), or (B,) where there is one.
        """
        kind = self.config.problem_type
        if kind == "regression":
            one = self.config.num_labels == 1
            return F.mse_loss(logits.squeeze(), labels.squeeze()) if one else F.mse_loss(logits, labels)
        if kind == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, labels)
        return F.cross_entropy(logits.view(-1, self.config.num_labels), labels.view(-1))
