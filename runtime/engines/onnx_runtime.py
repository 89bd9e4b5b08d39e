"""Models opened on ONNX Runtime."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mvit2.bundle.manifest import Engine, TensorFacts
from mvit2.errors import BundleError, MissingEngineError
from mvit2.native_calls import native_call
from mvit2.onnx_external import external_tensor
from mvit2.telemetry import no_telemetry

from .backend import Array, Backend, cannot_open

__all__ = ["OnnxRuntimeBackend", "clips_sums", "open_session", "session_options", "sums_in_16_bits"]


def sums_in_16_bits() -> bool:
    """Whether ONNX Runtime's int8 kernels would clip sums of two products: on x86-64 without VNNI.

    onnxruntime_session_options_config_keys.h tells of the option that prevents it; elsewhere it only costs time.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        return "vnni" not in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # no Linux: do not risk it
        return True


def clips_sums(file: Path) -> bool:
    """Whether this file's int8 arithmetic is wrong here though right on phones: the option works on ONNX only."""
    return file.suffix == ".ort" and sums_in_16_bits()


def session_options() -> Any:
    """ONNX Runtime's SessionOptions, silent. Raises MissingEngineError."""
    no_telemetry()
    try:
        import onnxruntime as ort
    except ImportError:
        raise MissingEngineError("onnxruntime", "ort") from None
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what fails is raised as well, and said by us
    return options


def open_session(model: Path, options: Any, providers: Sequence[str] = ()) -> Any:
    """The one way to open a session.

    Args:
        options: of ``session_options``; they may name devices instead of ``providers``.

    Raises whatever ONNX Runtime raises: classes of its C++ bindings, without a common base.
    """
    import onnxruntime as ort

    return ort.InferenceSession(str(model), options, providers=list(providers) or None)


class OnnxRuntimeBackend(Backend):
    """A session on the CPU.

    Args:
        threads: of one inference; None is one for each core.
        in_turns: other models run in between, so its threads must not go on spinning for work.
        profile_into: a folder in which ``end_profile`` writes what each operator took.
        as_written: run the graph's own operators, none optimised away.
    """

    engine: ClassVar[Engine] = "onnxruntime"
    title: ClassVar[str] = "ONNX Runtime"

    def __init__(
        self,
        model: Path,
        threads: int | None = None,
        *,
        in_turns: bool = False,
        profile_into: Path | None = None,
        as_written: bool = False,
    ) -> None:
        self.model = model
        _refuse_external_data(model)
        options = session_options()
        options.intra_op_num_threads = threads or 0
        if in_turns:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        if sums_in_16_bits():
            options.add_session_config_entry("session.x64quantprecision", "1")
        if as_written:
            options.graph_optimization_level = type(options.graph_optimization_level).ORT_DISABLE_ALL
        if profile_into is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(profile_into / "profile")
        try:
            with native_call("opening", model):
                self._session = open_session(model, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises classes of its C++ bindings, without a common base
            raise cannot_open(model, "ONNX Runtime", error) from None
        self.inputs = tuple(map(_facts, self._session.get_inputs()))
        self.outputs = tuple(map(_facts, self._session.get_outputs()))
        self._names = [facts.name for facts in self.inputs]
        self._silent = _run_options()

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        return list(self._session.run(None, dict(zip(self._names, arrays, strict=True)), self._silent))

    def end_profile(self) -> Path:
        """The file of the profile that was asked for, in Chrome's trace format; the profile ends."""
        return Path(self._session.end_profiling())

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


def _run_options() -> Any:
    """A run has a severity of its own: what fails is raised as well."""
    import onnxruntime as ort

    options = ort.RunOptions()
    options.log_severity_level = 4
    return options


def _refuse_external_data(model: Path) -> None:
    """Raises BundleError: tensors in other files, which no hash of this file covers."""
    if model.suffix != ".onnx":
        return
    try:
        name = external_tensor(model)
    except (OSError, ValueError) as error:
        raise cannot_open(model, "ONNX Runtime", error) from None
    if name is not None:
        raise BundleError(
            f"{model} keeps the tensor {name[:80]!r} in another file; accepted: models in one file; write it so with "
            "onnx.save(onnx.load(OLD), NEW)."
        )


def _facts(node: Any) -> TensorFacts:
    """``node``: ONNX Runtime's NodeArg."""
    name = node.type.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(name, name)
    return TensorFacts(node.name, dtype, tuple(size if isinstance(size, int) else None for size in node.shape))
