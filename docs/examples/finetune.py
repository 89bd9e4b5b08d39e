"""Fine-tune a MobileViTV2 classifier with transformers, as a stand-in for your own training.

    python docs/examples/finetune.py build/quickstart

writes three folders: ``images/train`` and ``images/val``, a folder per class (random crops of the photographs that
come with the package, five classes), and ``five-things``, what ``save_pretrained`` leaves: config.json with the class
names, model.safetensors, preprocessor_config.json. About a minute on two CPU cores. It needs ``pip install
transformers`` beside the extra ``export``.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from transformers import AutoImageProcessor, MobileViTV2ForImageClassification

import mvit2

PACKAGE = Path(mvit2.__file__).parent
START = PACKAGE / "checkpoints" / "0.5"  # yours: "apple/mobilevitv2-1.0-imagenet1k-256"
EPOCHS, BATCH, LEARNING_RATE = 3, 16, 1e-3


def make_images(folder: Path, per_class: int) -> None:
    """``folder``/CLASS/NNN.jpg: square crops of the bundled photographs, some of them mirrored."""
    for photo in sorted((PACKAGE / "photos").glob("*.jpg")):
        image = Image.open(photo).convert("RGB")
        (folder / photo.stem).mkdir(parents=True)
        for number in range(per_class):
            edge = int(min(image.size) * random.uniform(0.5, 0.9))
            left, top = random.randint(0, image.width - edge), random.randint(0, image.height - edge)
            crop = image.crop((left, top, left + edge, top + edge))
            if random.random() < 0.5:
                crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            crop.save(folder / photo.stem / f"{number:03}.jpg")


def read(folder: Path, classes: list[str], processor: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels, float32 [N, 3, H, W], and the index of each image's class, int64 [N]."""
    files = sorted(folder.glob("*/*.jpg"))
    images = [Image.open(file) for file in files]
    pixels = processor(images=images, return_tensors="pt")["pixel_values"]  # type: ignore[operator]
    return pixels, torch.tensor([classes.index(file.parent.name) for file in files])


def main(output: Path) -> None:
    random.seed(0)
    torch.manual_seed(0)
    for name, per_class in (("train", 60), ("val", 20)):
        make_images(output / "images" / name, per_class)
    classes = sorted(folder.name for folder in (output / "images" / "train").iterdir())
    processor = AutoImageProcessor.from_pretrained(START)
    network = MobileViTV2ForImageClassification.from_pretrained(
        START,
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
        ignore_mismatched_sizes=True,  # the last layer is new
        dtype=torch.float32,
    )
    pixels, truth = read(output / "images" / "train", classes, processor)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    network.train()
    for epoch in range(EPOCHS):
        losses = []
        for batch in torch.randperm(len(truth)).split(BATCH):
            loss = cross_entropy(network(pixels[batch]).logits, truth[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {sum(losses) / len(losses):.3f}")

    network.save_pretrained(output / "five-things")
    processor.save_pretrained(output / "five-things")  # without it mvit2 has to assume the preprocessing
    print(f"written: {output / 'five-things'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
