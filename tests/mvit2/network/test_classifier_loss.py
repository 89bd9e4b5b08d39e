"""forward(pixel_values, labels): transformers' loss for each problem_type; what no softmax says is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from mvit2.checkpoint.load import load_checkpoint
from mvit2.errors import CheckpointError
from mvit2.network.mobilevitv2 import MobileViTV2Classifier
from mvit2.network.mobilevitv2_config import ModelConfig
from mvit2.network.network import ClassifierOutput

TINY = {"width_multiplier": 0.125, "base_attn_unit_dims": [16] * 3, "n_attn_blocks": [1, 1, 1], "image_size": 64}
CASES: dict[str, tuple[int, str | None, Any]] = {
    "single": (4, None, torch.tensor([3, 0])),
    "single, said": (4, "single_label_classification", torch.tensor([1, 1])),
    "multi": (3, "multi_label_classification", torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])),
    "one": (1, None, torch.tensor([0.5, -2.0])),
    "regression": (1, "regression", torch.tensor([[0.5], [3.0]])),
    "regressions": (2, "regression", torch.tensor([[0.5, 1.0], [3.0, -1.0]])),
}


def network(folder: Path, classes: int, problem: str | None) -> Any:
    torch.manual_seed(1)
    labels = {i: f"thing {i}" for i in range(classes)}
    config = transformers.MobileViTV2Config(**TINY, id2label=labels, problem_type=problem)
    model: Any = transformers.MobileViTV2ForImageClassification(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(("classes", "problem", "labels"), CASES.values(), ids=CASES)
@torch.no_grad()
def test_the_loss_is_transformers(classes: int, problem: str | None, labels: Any, tmp_path: Path) -> None:
    reference = network(tmp_path, classes, problem)
    ours = MobileViTV2Classifier(ModelConfig.from_hf(reference.config.to_dict(), "config.json")).eval()
    ours.load_state_dict(reference.state_dict())
    x = torch.rand(2, 3, 64, 64)
    expected, found = reference(x, labels=labels), ours(x, labels)
    assert isinstance(found, ClassifierOutput) and torch.is_tensor(ours(x))
    assert torch.allclose(found.logits, expected.logits, atol=1e-5)
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-4)
    assert float(found.loss) > 0.01


@pytest.mark.parametrize(
    ("classes", "problem", "wrong"),
    [
        (1, None, r"problem_type is 'regression' with 1 output.*two rows, zeros and yours"),
        (1, "multi_label_classification", r"with 1 output"),
        (
            3,
            "regression",
            r"problem_type is 'regression' with 3 output.*only if it was trained with a softmax",
        ),
        (3, "multi_label_classification", r"problem_type is 'multi_label_classification' with 3 output"),
    ],
)
def test_what_no_softmax_says_is_refused_at_once(classes: int, problem: str | None, wrong: str, tmp_path: Path) -> None:
    network(tmp_path, classes, problem)
    with pytest.raises(CheckpointError, match=wrong) as caught:
        load_checkpoint(str(tmp_path))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
