"""What a bundle or a model file is: tables for people and one object for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvit2.bundle.manifest import Artifact, GraphFacts, Manifest, TensorFacts, read_manifest, sha256_of
from mvit2.difference import MEASURES
from mvit2.export.convert.tflite_metadata import read_metadata
from mvit2.network.blocks import LARGEST_FLOAT16, Block, largest_value
from mvit2.runtime.accelerators.standing import standings
from mvit2.runtime.engines.inspect_tflite import inspect_tflite
from mvit2.runtime.engines.onnx_runtime import OnnxRuntimeBackend
from mvit2.runtime.engines.table import open_model
from mvit2.tasks import task_named
from mvit2.units import human_bytes

from .proof_table import COLUMNS, proof_row

__all__ = ["Table", "describe_bundle", "describe_checkpoint", "describe_model"]

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]  # title, columns, rows


def describe_bundle(path: Path) -> tuple[list[Table], dict[str, Any]]:
    """Raises BundleError."""
    manifest = read_manifest(path)
    about = [
        ("variant", ", ".join([manifest.variant, *([f"{manifest.classes} classes"] if manifest.classes else [])])),
        ("weights", f"{manifest.weights.name} from {manifest.weights.origin}, sha256 {manifest.weights.sha256[:16]}"),
        ("preprocessing", manifest.preprocess.in_words()),
        *(("assumed", assumption) for assumption in manifest.assumptions),
        ("input, output", f"{_tensor(manifest.artifacts[0].input)} -> {_tensor(manifest.artifacts[0].output)}"),
        ("largest value", _largest(manifest.blocks)),
        ("made with", ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items())),
    ]
    rows = [
        (a.file.path, human_bytes(a.file.bytes), _nearness(a, task_named(manifest.task).same), _xnnpack(a.graph))
        for a in manifest.artifacts
    ]
    columns = ("artifact", "size", "against float", "on LiteRT, XNNPACK runs")
    tables: list[Table] = [(manifest.name, ("", ""), about), ("artifacts", columns, rows)]
    graphs = {a.file.path: a.graph.accelerators for a in manifest.artifacts if a.graph.accelerators}
    if graphs:
        title = "worth trying on ONNX Runtime's accelerators, by its mobile usability checker (nothing was run there)"
        names = [accelerator.name for accelerator in next(iter(graphs.values()))]
        tables.append((title, ("artifact", *names), [(file, *map(str, found)) for file, found in graphs.items()]))
    tables += _proofs(manifest)
    return tables, asdict(manifest)


def _proofs(manifest: Manifest) -> list[Table]:
    """What was proven on accelerators and what was not; the details of the former."""
    title = "on accelerators (mvit2 check BUNDLE --on PLACE --record)"
    found = standings(manifest)
    names = list(next(iter(found.values())))
    matrix = (title, ("artifact", *names), [(file, *(of[name] for name in names)) for file, of in found.items()])
    if not manifest.proofs:
        return [matrix]
    rows = [(*proof_row(proof), proof.date) for proof in manifest.proofs]
    why = [(p.file, p.accelerator, p.reason) for p in manifest.proofs if not p.passed]
    failed: list[Table] = [("why they failed", ("file", "place", ""), why)] if why else []
    return [matrix, ("proofs", (*COLUMNS, "on"), rows), *failed]


def describe_checkpoint(path: Path) -> tuple[list[Table], dict[str, Any]]:
    """What an export of it would start from. Raises CheckpointError, UsageError."""
    from mvit2.checkpoint.load import load_checkpoint
    from mvit2.network.architectures import network_title

    checkpoint = load_checkpoint(str(path))
    config, parameters = checkpoint.config, sum(p.numel() for p in checkpoint.model.parameters())
    content: dict[str, Any] = {
        "checkpoint": str(path),
        "architecture": checkpoint.architecture.name,
        "variant": checkpoint.variant,
        "task": checkpoint.task.manifest,
        "parameters": parameters,
        "layout": checkpoint.layout,
        "sha256": checkpoint.sha256,
        "preprocess": vars(checkpoint.preprocess),
        "labels": list(config.labels),
        "warnings": list(checkpoint.warnings),
    }
    about = [
        ("network", network_title(checkpoint.architecture.name, checkpoint.variant)),
        ("task", f"{checkpoint.task.manifest}, {len(config.labels)} classes"),
        ("parameters", f"{parameters:,}"),
        ("tensor names", checkpoint.layout),
        ("sha256", checkpoint.sha256),
        ("preprocessing", checkpoint.preprocess.in_words()),
        *(("assumed", assumption) for assumption in checkpoint.assumptions),
        ("labels", _short(", ".join(config.labels))),
    ]
    return [(f"checkpoint {path}", ("", ""), about)], content


def describe_model(path: Path) -> tuple[list[Table], dict[str, Any]]:
    """A single model file; of a TFLite one also the metadata. Raises BundleError, UsageError."""
    backend = open_model(path)
    content: dict[str, Any] = {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "engine": backend.engine,
        "input": asdict(backend.input),
        "output": asdict(backend.output),
    }
    about = [
        ("size", human_bytes(content["bytes"])),
        ("sha256", content["sha256"]),
        ("engine", backend.engine),
        ("input", _tensor(backend.input)),
        ("output", _tensor(backend.output)),
    ]
    if isinstance(backend, OnnxRuntimeBackend):
        content["metadata"] = dict(backend.metadata)
        about += [(key, _short(value)) for key, value in backend.metadata.items()]
        return [(path.name, ("", ""), about)], content
    graph = inspect_tflite(path)
    content["graph"] = asdict(graph)
    content["metadata"], files = read_metadata(path)
    about += [
        ("XNNPACK", _xnnpack(graph)),
        ("largest rank", str(graph.max_rank)),
        ("Flex or custom", ", ".join(graph.flex_or_custom) or "none"),
        *_metadata(content["metadata"]),
        *((name, _short(f"{len(lines)} lines: {', '.join(lines)}")) for name, lines in files.items()),
    ]
    operators = [(name, str(count)) for name, count in graph.operators.items()]
    return [(path.name, ("", ""), about), ("operators", ("type", "count"), operators)], content


def _largest(blocks: Sequence[Block]) -> str:
    found = largest_value(blocks)
    if found is None:
        return "not measured; export the bundle again to know whether float16 can compute it"
    block, value = found
    verdict = "" if value <= LARGEST_FLOAT16 else ": not for GPUs and NPUs that compute in it"
    return f"{value:.4g} in {block.name}; float16 ends at {LARGEST_FLOAT16:.0f}{verdict}"


def _metadata(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The texts of TFLite metadata: of the model, then of its inputs and outputs."""
    rows = [(key, _short(value)) for key, value in metadata.items() if isinstance(value, str)]
    for graph in metadata.get("subgraph_metadata", ())[:1]:
        for tensor in (*graph.get("input_tensor_metadata", ()), *graph.get("output_tensor_metadata", ())):
            rows.append((tensor.get("name", "tensor"), _short(tensor.get("description", ""))))
    return rows


def _short(text: str) -> str:
    return text if len(text) < 200 else text[:200] + " ..."


def _nearness(artifact: Artifact, same: str) -> str:
    if artifact.unverified is not None:
        return f"not verified: {artifact.unverified}"
    if artifact.parity is not None:
        return f"{MEASURES[artifact.parity.measure][1]} {artifact.parity.max_relative:.1e}"
    assert artifact.quantisation is not None
    fidelity = artifact.quantisation.fidelity
    return f"{same} {fidelity.agreement:.1%}, {fidelity.snr_db:.1f} dB"


def _tensor(facts: TensorFacts) -> str:
    return f"{facts.name}: {facts.dtype} [{', '.join('?' if d is None else str(d) for d in facts.shape)}]"


def _xnnpack(graph: GraphFacts) -> str:
    outside = f" (all but {', '.join(graph.not_delegated)})" if graph.not_delegated else ""
    return f"{graph.in_xnnpack}{outside}"
