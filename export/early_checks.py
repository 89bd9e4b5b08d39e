"""What a request names on disk, looked at before anything heavy is loaded: a wrong path is told in a second."""

from __future__ import annotations

from pathlib import Path

from mvit2.errors import CheckpointError, OutputError, UsageError
from mvit2.image.dataset import find_images

from .atomic import check_parent
from .request import ExportRequest

__all__ = ["refuse_early", "refuse_output_file"]


def refuse_early(request: ExportRequest, writes: bool = True) -> None:
    """Raises UsageError, CheckpointError: a path that is not there; OutputError: --output cannot be written."""
    if request.labels is not None and not Path(request.labels).exists():
        raise CheckpointError(f"--labels {request.labels} cannot be read (it does not exist); check the path.")
    if request.evaluation is not None and not Path(request.evaluation).exists():
        raise UsageError(f"--eval {request.evaluation} does not exist; check the path.")
    if request.calibration is not None:
        find_images(Path(request.calibration))
    if writes:
        check_parent(Path(request.output).expanduser().absolute())


def refuse_output_file(file: Path) -> None:
    """For a command that writes one file after minutes of work. Raises OutputError: it could not be written."""
    if file.is_dir():
        raise OutputError(f"{file} is a folder; remove it, or name a file with --output.")
    check_parent(file.expanduser().absolute().parent)
