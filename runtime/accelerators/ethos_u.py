"""Arm's Ethos-U NPUs beside microcontrollers, by Arm's compiler Vela (Apache-2.0): which operators it places there.

Vela compiles anywhere; what it writes runs on the chip only. So this is placement, with Vela's own estimate of time and
memory, and no answers.
"""

from __future__ import annotations

import csv
import re
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mvit2.bundle.manifest import Artifact
from mvit2.bundle.proofs import Estimate
from mvit2.worker_process import printed_so_far

from .accelerator import Job, Run, one_line

__all__ = ["CHIPS", "missing", "run", "takes"]

CHIPS: Mapping[str, str] = MappingProxyType(
    {
        "u55-256": "Ethos-U55-256",
        "u85-256": "Ethos-U85-256",
        "u55-128": "Ethos-U55-128",
        "u65-256": "Ethos-U65-256",
        "u65-512": "Ethos-U65-512",
        "u85-512": "Ethos-U85-512",
        "u85-1024": "Ethos-U85-1024",
        "u85-2048": "Ethos-U85-2048",
    }
)
_TAKEN = ("int8", "full-int8")
_COUNT = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_REFUSAL = re.compile(r"^Warning \(supported operators\) operator: (\w+).*\n(?:Reason: )?(.*)$", re.MULTILINE)
_MOST_REASONS = 40


def takes(artifact: Artifact) -> str | None:
    if artifact.engine == "litert" and artifact.precision in _TAKEN:
        return None
    return "Ethos-U computes in integers: it is given the full-int8 and int8 .tflite files"


def missing() -> str | None:
    from importlib.util import find_spec

    if find_spec("ethosu") and find_spec("ethosu.vela"):
        return None
    return "ethos-u-vela is not installed; install it with: pip install 'mvit2[ethos-u]'"


def run(job: Job) -> Run:
    from ethosu.vela import vela

    chip, folder = CHIPS[job.chip], job.scratch / "vela"
    arguments = [str(job.file), "--output-dir", str(folder), "--accelerator-config", f"ethos-{job.chip}"]
    start = time.perf_counter()
    try:
        code = vela.main([*arguments, "--show-cpu-operations"])
    except SystemExit as error:
        code = error.code
    compiled = time.perf_counter() - start
    log = printed_so_far()
    counts = {side: int(count) for side, count in _COUNT.findall(log)}
    if code or "NPU" not in counts:
        lines = log.strip().splitlines()
        return Run(chip, "int8", failure=f"Vela does not compile the file: {one_line(lines[-1] if lines else '')}")
    left = counts.get("CPU", 0)
    if job.compiled is not None:
        shutil.copyfile(next(folder.glob("*_vela.tflite")), job.compiled)
    return Run(
        chip,
        "int8",
        operators=counts["NPU"] + left,
        placed=counts["NPU"],
        refused=_refused(log, left),
        compile_seconds=compiled,
        estimate=_estimate(folder),
    )


def _refused(log: str, left: int) -> Mapping[str, int]:
    """Reason -> operators, of the ``left`` ones on the CPU; Vela gives some of them none."""
    reasons: Counter[str] = Counter()
    for kind, said in _REFUSAL.findall(log):
        if reasons.total() < left:
            reasons[_reason(kind, said)] += 1
    named = dict(reasons.most_common(_MOST_REASONS))
    rest = left - sum(named.values())
    return {**named, **({"for reasons that Vela does not give": rest} if rest > 0 else {})}


def _reason(kind: str, said: str) -> str:
    """Without the names and sizes of tensors, so that equal reasons are one.

    >>> _reason("MUL", "Operation has tensor with unsupported DataType Float32 (a/b)")
    'operation has tensor with unsupported DataType Float32'
    >>> _reason("DEQUANTIZE", "Unsupported opType")
    'DEQUANTIZE: unsupported opType'
    """
    text = re.sub(r"\s*\([^()]*/[^()]*\)|\W*IFM: .*", "", one_line(said))
    text = text[:1].lower() + text[1:]
    return text if "DataType" in text else f"{kind}: {text}"


def _estimate(folder: Path) -> Estimate | None:
    summary = next(iter(folder.glob("*_summary_*.csv")), None)
    if summary is None:
        return None
    with summary.open(encoding="utf-8", newline="") as stream:
        row = next(csv.DictReader(stream))
    return Estimate(float(row["inference_time"]), int(float(row["sram_memory_used"]) * 1024))
