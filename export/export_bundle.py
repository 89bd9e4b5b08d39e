"""``mvit2.export_bundle``: what mvit2-export does, for Python code. Nothing is printed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

from mvit2.runtime.bundle import Bundle

from .listener import Listener, Silent
from .option import options_of
from .request import ExportRequest

__all__ = ["ExportCall", "export_bundle"]

P = ParamSpec("P")
Progress = Listener | Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class ExportCall(ExportRequest):
    """The arguments of ``export_bundle``: those of a request, and whom to tell.

    ``progress`` is called with a line for each step and warning, such as ``print``; or it is a Listener, which hears
    when a step ends, and gets tables.
    """

    progress: Progress | None = None


def _with_arguments_of(
    call: Callable[P, ExportCall],
) -> Callable[[Callable[[ExportCall], Bundle]], Callable[P, Bundle]]:
    """Let a function take the fields of ``call`` as its arguments, so that they are written once."""
    signature = inspect.signature(call)

    def decorate(function: Callable[[ExportCall], Bundle]) -> Callable[P, Bundle]:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> Bundle:
            signature.bind(*args, **kwargs)  # a TypeError names the argument, and not the dataclass
            return function(call(*args, **kwargs))

        run.__dict__["__signature__"] = signature.replace(return_annotation="Bundle")
        options = (f"    {name}: {each.help}" for name, each in options_of(ExportRequest).items())
        run.__doc__ = "\n".join([str(function.__doc__), "The options of mvit2-export:", *options])
        return run

    return decorate


@_with_arguments_of(ExportCall)
def export_bundle(call: ExportCall) -> Bundle:
    """Export a checkpoint to a bundle, whose every model file was compared with torch.

    >>> bundle = mvit2.export_bundle("demo", variant="0.5", formats=["onnx"], output="build", progress=print)
    >>> bundle.path, bundle.warnings

    ``weights`` is a name, a hub id, a file, a folder, or a torch module in memory: a network of mvit2, transformers'
    MobileViT(V2)ForImageClassification or ForSemanticSegmentation, timm's mobilevit(v2). The module is not changed. For
    it, ``name`` becomes a part of the bundle's name, and ``preprocess`` says how an image becomes its pixels: a
    PreprocessSpec, or the content of a preprocessor_config.json.

    Nothing is printed: ``progress`` is told of steps and warnings (such as ``print``, or a Listener), and the bundle's
    ``warnings`` holds the latter.

    Raises:
        Mvit2Error: any of mvit2.errors, as the command; what it says of --an-option is meant for an_option.
    """
    from .pipeline import export

    told = _Told(call.progress)
    result = export(call, told)
    return Bundle(result.bundle, result.manifest, tuple(told.warnings))


class _Told:
    """A Listener that keeps the warnings, and hands everything on."""

    def __init__(self, progress: Progress | None) -> None:
        self.warnings: list[str] = []
        self.say: Callable[[str], object] | None = progress if callable(progress) else None
        self.listener: Listener = Silent() if progress is None or callable(progress) else progress

    def step(self, title: str) -> AbstractContextManager[None]:
        if self.say is not None:
            self.say(title)
            return nullcontext()
        return self.listener.step(title)

    def warn(self, message: str) -> None:
        self.warnings.append(message)
        if self.say is not None:
            self.say(f"WARNING: {message}")
        self.listener.warn(message)

    def table(self, title: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
        self.listener.table(title, columns, rows)
