"""The programs that answer ``Case``s: a driver and the sources of one language, compiled as an app would.

All cases go through one process, as files: an answer is (failed, bytes) and the bytes: a message if it failed.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .cases import Case

Answer = tuple[bool, bytes]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCES = ROOT / "runtime" / "sources"
TOOLCHAINS = ROOT / "build" / "toolchains"  # where `make toolchains` puts what the system does not bring

GCC, NODE, JAVA = shutil.which("gcc"), shutil.which("node"), shutil.which("java")
JSON_JAR = "/usr/share/java/json-android.jar"  # Debian's libandroid-json-org-java: org.json as Android has it
WITH_SWIFT = [] if shutil.which("swiftc") else [str(ROOT / ".ci" / "toolchains" / "with-swift")]

PLATFORM = {  # these need Android's or Apple's libraries, or an engine's
    f"Mvit2{part}" for part in ("Bitmap", "Classifier", "Image", "LiteRt", "Model", "Onnx", "Segmenter")
}
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I", str(SOURCES / "c"))
OPTIMISED = ("-std=c99", "-O2")
SANITIZED = ("-std=c99", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def _kotlinc() -> str | None:
    ours = TOOLCHAINS / "node_modules" / "kotlin-compiler" / "bin" / "kotlinc"
    return shutil.which("kotlinc") or (str(ours) if ours.exists() else None)


def has_kotlin() -> bool:
    return JAVA is not None and _kotlinc() is not None and Path(JSON_JAR).exists()


@functools.cache
def has_swift() -> bool:
    """A folder of the right name is not enough: mounting it may be forbidden."""
    if WITH_SWIFT and not (TOOLCHAINS / "swift").exists():
        return False
    return subprocess.run([*WITH_SWIFT, "swiftc", "--version"], capture_output=True, check=False).returncode == 0


def sources(language: str) -> list[str]:
    """Those that run on any machine."""
    ending = {"c": "c", "kotlin": "kt", "swift": "swift"}[language]
    found = sorted((SOURCES / language).glob(f"*.{ending}"))
    return [str(path) for path in found if path.stem not in PLATFORM]


def compiled(command: Sequence[str], **environment: str) -> None:
    """Warnings are errors, and silence is success."""
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, env={**os.environ, **environment})
    assert done.returncode == 0 and not done.stdout + done.stderr, (done.stdout + done.stderr)[-3000:]


def c_program(flags: Sequence[str], folder: Path) -> list[str]:
    target = str(folder / "driver")
    compiled([str(GCC), *flags, *WARNINGS, str(HERE / "driver.c"), *sources("c"), "-lm", "-o", target])
    return [target]


def _node_program(folder: Path) -> list[str]:
    return [str(NODE), str(HERE / "driver.mjs")]


def kotlin_library(files: Sequence[str], target: Path) -> None:
    """Without optimising itself the compiler is done in half the time."""
    command = ["bash", str(_kotlinc()), "-Werror", "-include-runtime", "-cp", JSON_JAR, *files, "-d", str(target)]
    compiled(command, JAVA_OPTS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")


def _kotlin_program(folder: Path) -> list[str]:
    files = [*sources("kotlin"), str(HERE / "driver.kt")]
    kotlin_library(files, folder / "driver.jar")
    return [str(JAVA), "-cp", f"{folder / 'driver.jar'}:{JSON_JAR}", "DriverKt"]


def swiftc(*arguments: str) -> list[str]:
    return [*WITH_SWIFT, "swiftc", "-swift-version", "6", "-warnings-as-errors", "-parse-as-library", *arguments]


def _swift_program(folder: Path) -> list[str]:
    target = str(folder / "driver")
    compiled(swiftc("-O", *sources("swift"), str(HERE / "driver.swift"), "-o", target))
    return [*WITH_SWIFT, target]


@dataclass(frozen=True)
class Language:
    """How the program of a language is made, and when it can be."""

    make: Callable[[Path], list[str]]
    present: Callable[[], bool]
    needs: str


LANGUAGES = {
    "C": Language(lambda folder: c_program(OPTIMISED, folder), lambda: GCC is not None, "gcc"),
    "C, sanitized": Language(lambda folder: c_program(SANITIZED, folder), lambda: GCC is not None, "gcc"),
    "JavaScript": Language(_node_program, lambda: NODE is not None, "Node 20 or later"),
    "Kotlin": Language(_kotlin_program, has_kotlin, "Java 17, kotlinc or org.json"),
    "Swift": Language(_swift_program, has_swift, "swiftc"),
}


def need(name: str) -> None:
    """Skip loudly what this machine cannot compile."""
    language = LANGUAGES[name]
    if not language.present():
        pytest.skip(f"THE SOURCES IN {name.upper()} ARE NOT TESTED: no {language.needs}; run: make toolchains")


@dataclass(frozen=True)
class Program:
    language: str
    command: list[str]
    folder: Path

    def __call__(self, cases: Sequence[Case], **environment: str) -> list[Answer]:
        (self.folder / "cases").write_bytes(b"".join(case.encoded() for case in cases))
        done = subprocess.run(
            [*self.command, str(self.folder / "cases"), str(self.folder / "results")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0 and not done.stderr, done.stderr[-3000:]
        data, answers, at = (self.folder / "results").read_bytes(), [], 0
        while at < len(data):
            failed, size = struct.unpack_from("<2i", data, at)
            answers.append((bool(failed), data[at + 8 : at + 8 + size]))
            at += 8 + size
        assert len(answers) == len(cases)
        return answers


def assert_refused(program: Program, table: list[tuple[Case, str]]) -> None:
    """Each with a line that begins as the table says; languages write NaN and infinity in their own ways."""
    for (case, wrong), (failed, message) in zip(table, program([case for case, _ in table]), strict=True):
        assert failed, case.name
        assert re.match(wrong, message.decode(), re.IGNORECASE), (case.name, message.decode())
        assert b"\n" not in message and b"undefined" not in message and b"Optional" not in message
