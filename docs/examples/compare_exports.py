"""Two exports beside each other: sizes, agreement, and the images on which they differ.

python docs/examples/compare_exports.py BUNDLE BUNDLE FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import mvit2


def main(first: str, second: str, folder: str) -> None:
    for path in (first, second):
        for artifact in mvit2.Bundle.open(path).manifest.artifacts:
            print(f"{path}/{artifact.file.path}: {artifact.file.bytes / 1e6:.1f} MB")
    models = [mvit2.load(path) for path in (first, second)]
    images = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
    same = 0
    for image in images:
        a, b = (model.predict(image, top_k=1)[0] for model in models)
        same += a.label == b.label
        if a.label != b.label:
            print(f"{image}: {a.label} {a.score:.3f}, {b.label} {b.score:.3f}")
    print(f"same best class on {same} of {len(images)} images")


if __name__ == "__main__":
    main(*sys.argv[1:])
