"""The best class of every image in a folder, as CSV: python docs/examples/classify_folder.py BUNDLE FOLDER"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import mvit2


def main(bundle: str, folder: str) -> int:
    """Returns the exit code: 1 if an image could not be read."""
    classifier = mvit2.load(bundle)
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("path", "label", "score"))
    failed = 0
    for path in sorted(Path(folder).rglob("*")):
        if path.suffix.lower() not in (".jpg", ".jpeg", ".png", ".webp", ".bmp"):
            continue
        try:
            (best,) = classifier.predict(path, top_k=1)
        except mvit2.ImageError as error:
            print(error, file=sys.stderr)
            failed += 1
        else:
            table.writerow((path, best.label, f"{best.score:.4f}"))
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
