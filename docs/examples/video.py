"""The best class of every frame of a video or a camera, with OpenCV.

python docs/examples/video.py BUNDLE FILE_OR_NUMBER
"""

from __future__ import annotations

import sys
import time

import cv2

import mvit2


def main(bundle: str, source: str) -> int:
    """Returns the exit code: 1 if there was no frame."""
    classifier = mvit2.load(bundle, threads=2)
    video = cv2.VideoCapture(int(source) if source.isdigit() else source)
    frames = 0
    while True:
        there, frame = video.read()
        if not there:
            break
        start = time.perf_counter()
        rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # OpenCV's frames are BGR; mvit2 takes RGB
        (best,) = classifier.predict(rgb, top_k=1)
        print(f"{frames:6} {best.label:20} {best.score:.3f} {1000 * (time.perf_counter() - start):6.1f} ms")
        frames += 1
    video.release()
    return int(frames == 0)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
