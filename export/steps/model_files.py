"""The model files of a bundle: converted, repacked, and run on the parity images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvit2.bundle.manifest import Artifact, GraphFacts, Precision
from mvit2.export.artifact import artifact_of
from mvit2.export.convert.conversion import Conversion
from mvit2.export.formats import FORMATS, TOOLS, Format, format_of
from mvit2.export.int8.quantiser import Quantised, Quantiser
from mvit2.runtime.engines.backend import Array, Backend
from mvit2.runtime.engines.table import open_model
from mvit2.runtime.isolated import scores_apart
from mvit2.runtime.tasks.bundle_model import scores_of
from mvit2.versions import installed

from .stages import Build, Converted, ExportForm, Reference

__all__ = ["ModelFiles"]


@dataclass(frozen=True)
class ModelFiles:
    """Makes them, format by format."""

    build: Build
    form: ExportForm
    reference: Reference

    def converted(self, row: Format) -> Converted:
        """The files of a format that is made of the network: part of the bundle only where they were asked for."""
        request, kept = self.build.request, row.name in self.build.request.formats
        further = (p for p in row.converts[1:] if kept and p in request.quantised(row.name))
        files = {precision: self.build.file(row, precision) for precision in (row.base, *further)}
        source = None if row.made_from is None else FORMATS[row.made_from]
        sources = {} if source is None else {source.base: self.build.file(source, source.base)}
        with self.build.listener.step(f"{row.title}: convert"):
            made = row.convert(self._conversion(files, sources))
        with self.build.listener.step(f"{row.title}: inspect, compare with torch"):
            found = Converted(files=made.beside if kept else ())
            for stage, file in made.stages.items():
                found += self._stage(stage, file)
            if not kept:
                return found + self._stage(row.in_between, files[row.base])
            for precision, file in files.items():
                found += self._artifact(row, file, precision, made.graphs.get(precision))
        return found

    def repacked(
        self, row: Format, quantiser: Quantiser, quantised: Quantised
    ) -> tuple[Converted, tuple[Artifact, ...]]:
        """Every file of ``row.home`` once more; quantised ones, which come apart, have not been run on the images."""
        home = FORMATS[row.home]
        originals = [artifact for artifact in quantised.artifacts if format_of(artifact.file.path) is home]
        precisions = (home.base, *(artifact.precision for artifact in originals))
        sources = {precision: self.build.file(home, precision) for precision in precisions}
        files = {precision: self.build.file(row, precision) for precision in precisions}
        with self.build.listener.step(f"{row.title}: convert, compare"):
            made = row.convert(self._conversion(files, sources))
            found = self._artifact(row, files[home.base], home.base, made.graphs.get(home.base))
            again = tuple(
                quantiser.repacked(artifact, files[artifact.precision], made.graphs.get(artifact.precision), quantised)
                for artifact in originals
            )
        return found + Converted(files=made.beside), again

    def quantised(self, quantiser: Quantiser, artifacts: Sequence[Artifact]) -> Converted:
        """Those that are part of the bundle, run on the parity images for its golden vectors."""
        build = self.build
        kept = [artifact for artifact in artifacts if (build.folder / artifact.file.path).exists()]
        scores = {}
        for artifact in kept:
            file = quantiser.runs_as(build.folder / artifact.file.path)
            scores[artifact.file.path] = scores_apart(
                file, build.request.io, build.card.preprocess, self.reference.images.pixels, build.output
            )
        return Converted(tuple(kept), scores)

    def _conversion(self, files: Mapping[Precision, Path], sources: Mapping[Precision, Path]) -> Conversion:
        request = self.build.request
        return Conversion(
            network=self.form.network,
            example=self.form.example,
            card=self.build.card,
            names=request.tensor_names,
            opset=request.opset,
            dynamic_batch=request.dynamic_batch,
            tools=installed(TOOLS),
            files=files,
            sources=sources,
            scratch=self.build.scratch,
        )

    def _scores(self, backend: Backend) -> Array:
        build = self.build
        return scores_of(backend, build.request.io, build.card.preprocess, self.reference.images.pixels, build.output)

    def _stage(self, stage: str, file: Path) -> Converted:
        """A model file that is no artifact, compared with the reference."""
        return Converted(differences=(self.reference.compare(stage, self._scores(open_model(file)), "float32"),))

    def _artifact(self, row: Format, file: Path, precision: Precision, graph: GraphFacts | None) -> Converted:
        backend = open_model(file)
        scores = self._scores(backend)
        parity = self.reference.compare(file.name, scores, precision)
        artifact = artifact_of(row, file, precision, backend, parity, graph)
        return Converted((artifact,), {file.name: scores}, (parity,))
