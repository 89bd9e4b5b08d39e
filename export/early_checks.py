"""What a request names on disk, looked at before anything heavy is loaded: a wrong path is told in a second."""

from __future__ import annotations

from pathlib import Path

from mvit2.errors import OutputError, UsageError
from mvit2.image.dataset import find_images

from .atomic import check_parent
from .request import ExportRequest

__all__ = ["refuse_early"]


def refuse_early(request: ExportRequest, writes: bool = True) -> None:
    """Raises UsageError: a path that is not there, or of the wrong kind; OutputError: --output cannot be written."""
    for option, given in (("--labels", request.labels), ("--eval", request.evaluation)):
        if given is not None and not Path(given).expanduser().exists():
            raise UsageError(f"{option} {given} does not exist; check the path.")
    if request.calibration is not None:
        find_images(Path(request.calibration))
    if writes:
        check_parent(Path(request.output).expanduser().absolute())


def refuse_output_file(file: Path) -> None:
    """For a command that writes one file after minutes of work. Raises OutputError: it could not be written."""
    if file.is_dir():
        raise OutputError(f"--output {file} is a folder; name a file.")
    check_parent(file.expanduser().absolute().parent)
