"""``mvit2 evaluate --executor ray``: every digit of the local executor's, whatever dies in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from mvit2.errors import Mvit2Error
from mvit2.runtime.evaluate.plan import Plan, plan
from mvit2.runtime.evaluate.ray_pool import _LIBRARIES, _check_versions
from mvit2.runtime.evaluate.results_file import Progress, open_progress
from mvit2.runtime.evaluate.run import Executor, evaluate
from mvit2.versions import installed

from ...support.command import Run, run_in_process
from ...support.refusals import Refused, refuser

TFLITE = "model_float32.tflite"
MANY = 1600  # seconds of work
SECONDS = 120  # of patience; on an idle machine every wait here is below fifteen


@pytest.fixture(scope="module")
def run() -> Run:
    """In processes of their own: this one is in a cluster already."""
    return run_in_process


@pytest.fixture(scope="module")
def refused(run: Run) -> Refused:
    return refuser(run)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one worker process each, on loopback. The first is the head, and the one that we join."""
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # loopback; read when Ray is imported
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    store = {"num_cpus": 1, "object_store_memory": 80 << 20}
    nodes = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **store})
    nodes.add_node(**store)
    yield nodes
    nodes.shutdown()
    patch.undo()


@pytest.fixture(scope="module")
def ray_executor(cluster: Any) -> Executor:
    return Executor("ray", cluster.address)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list long enough for something to die in the middle: a few pictures again and again, one unreadable."""
    folder = tmp_path_factory.mktemp("many")
    for i in range(4):
        Image.linear_gradient("L").rotate(30 * i).resize((64, 64)).save(folder / f"{i}.png")
    (folder / "3.png").write_text("no picture")
    lines = [f"{i % 4}.png,{i % 20}" for i in range(MANY)]
    (folder / "many.csv").write_text("\n".join(["path,label", *lines]))
    return folder / "many.csv"


@pytest.fixture(scope="module")
def ready(demo_bundle: Path, many: Path) -> Plan:
    return plan(demo_bundle, many, [TFLITE])


@pytest.fixture(scope="module")
def rows(ready: Plan) -> dict[int, Any]:
    """What the local executor finds."""
    progress = Progress()
    evaluate(ready, progress)
    return progress.rows


def at_work() -> list[psutil.Process]:
    """Ray's workers that compute for us at this moment: they call themselves by the function that they run."""
    return [process for process in psutil.process_iter(["name"]) if process.info["name"].startswith("ray::_answer")]


# ---- the same to the last digit ----


def test_a_cluster_of_its_own_gives_every_digit(int8_bundle: Path, photos: Path, run: Run, tmp_path: Path) -> None:
    """Every artifact, ONNX and TFLite, float32 and int8; environment of a bare machine; relative paths."""
    pictures = tmp_path / "pictures"
    for photo in photos.glob("*.jpg"):
        (pictures / "7").mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, pictures / "7")
    (pictures / "7" / "broken.png").write_text("no picture")
    words = [sys.executable, "-m", "mvit2", "evaluate", int8_bundle, "pictures", "--json"]
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    options = {"capture_output": True, "text": True, "cwd": tmp_path, "env": bare, "check": False}
    local = subprocess.run(words, **options)
    ray = subprocess.run([*words, "--executor", "ray", "--processes", "2"], **options)
    assert (local.returncode, ray.returncode) == (0, 0), ray.stderr
    assert (ray.stdout, ray.stderr) == (local.stdout, local.stderr)
    found = json.loads(ray.stdout)
    assert {"model_float32.onnx", "model_float32.tflite", "model_int8.onnx", "model_int8.tflite"} <= {
        figures["artifact"] for figures in found["artifacts"]
    }
    assert list(found["unreadable"]) == ["7/broken.png"] and found["images"] == len(list(photos.glob("*.jpg")))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures"]  # Ray left nothing in HOME


def test_begun_here_and_finished_on_ray(
    ready: Plan, rows: dict[int, Any], ray_executor: Executor, demo_bundle: Path, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "progress.jsonl"
    with open_progress(path, ready.header) as progress:
        progress.add([rows[i] for i in range(100, 300)])
    words = ["evaluate", demo_bundle, ready.source, "--artifact", TFLITE, "--resume", path, "--json"]
    on_ray = run(*words, "--executor", "ray", env={"RAY_ADDRESS": str(ray_executor.address)})
    assert on_ray.returncode == 0, on_ray.stderr
    with open_progress(path, ready.header) as progress:
        assert progress.rows == rows
    assert len(path.read_bytes().splitlines()) == 1 + MANY  # none twice
    assert run(*words).stdout == on_ray.stdout


# ---- deaths in the middle ----


def test_a_killed_worker_changes_nothing(ready: Plan, rows: dict[int, Any], ray_executor: Executor) -> None:
    killed, told, progress = [], [], Progress()

    def kill_once(done: int) -> None:
        told.append(done)
        if len(progress.rows) > 50 and not killed:
            for victim in list(at_work())[:1]:  # none in the moment between two tasks: then the next time
                os.kill(victim.pid, signal.SIGKILL)
                killed.append(victim)

    found = evaluate(ready, progress, advance=kill_once, executor=ray_executor)
    assert killed and not psutil.wait_procs(killed, SECONDS)[1]
    assert progress.rows == rows and sum(told) == MANY
    assert found == evaluate(ready, Progress(rows.values()))


def raylets() -> set[psutil.Process]:
    return {process for process in psutil.process_iter(["name"]) if process.info["name"] == "raylet"}


def test_a_lost_node_changes_nothing(ready: Plan, rows: dict[int, Any], ray_executor: Executor, cluster: Any) -> None:
    before = raylets()
    lost, progress = [cluster.add_node(num_cpus=1, object_store_memory=80 << 20)], Progress()
    [node] = raylets() - before

    def lose_once(done: int) -> None:
        if lost and set(at_work()) & set(node.children()):
            cluster.remove_node(lost.pop(), allow_graceful=False)

    evaluate(ready, progress, advance=lose_once, executor=ray_executor)
    assert not lost and progress.rows == rows


def test_workers_that_die_again_and_again_are_one_line(ready: Plan, ray_executor: Executor) -> None:
    with (
        killing_all_workers(),
        pytest.raises(Mvit2Error, match=r"3 Ray workers died at the 32 images from /.*png on"),
    ):
        evaluate(ready, Progress(), executor=ray_executor)


@contextmanager
def killing_all_workers() -> Iterator[None]:
    done = threading.Event()

    def kill() -> None:
        while not done.wait(0.002):
            for process in at_work():
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        done.set()
        killer.join()


# ---- nodes that see something else ----


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize(
    ("content", "seen"), [(None, "cannot be read"), (b"another picture", "has 15 bytes")], ids=["missing", "other"]
)
def test_a_picture_that_a_node_sees_otherwise_is_named(
    content: bytes | None,
    seen: str,
    executor: str,
    demo_bundle: Path,
    photos: Path,
    ray_executor: Executor,
    tmp_path: Path,
) -> None:
    picture = tmp_path / "7" / "cat.jpg"
    picture.parent.mkdir()
    shutil.copy(photos / "cat.jpg", picture)
    planned, size = plan(demo_bundle, tmp_path, [TFLITE]), picture.stat().st_size
    picture.unlink() if content is None else picture.write_bytes(content)
    progress = Progress()
    with pytest.raises(Mvit2Error) as caught:
        evaluate(planned, progress, executor=ray_executor if executor == "ray" else Executor())
    assert str(caught.value).startswith(f"{picture} {seen} on {os.uname().nodename}, but has {size} bytes where")
    assert not progress.rows


def test_other_versions_are_refused() -> None:
    _check_versions(installed(_LIBRARIES))
    with pytest.raises(Mvit2Error, match=r"has pillow \d.*, jax \(none\); accepted: pillow 1.0, jax 2.0, as where"):
        _check_versions({**installed(_LIBRARIES), "pillow": "1.0", "jax": "2.0"})


# ---- how it ends early ----


def test_ctrl_c_ends_its_cluster(demo_bundle: Path, many: Path, run: Run, tmp_path: Path) -> None:
    progress = tmp_path / "progress.jsonl"
    words = ["evaluate", demo_bundle, many, "--artifact", TFLITE, "--resume", progress, "--json"]
    command = [sys.executable, "-m", "mvit2", *words, "--executor", "ray", "--processes", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    process = subprocess.Popen(command, env={**os.environ, "COLUMNS": "200"}, **pipes)
    deadline = time.monotonic() + SECONDS
    while not progress.exists() or progress.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.005)
    family = psutil.Process(process.pid).children(recursive=True)
    listening = {c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=SECONDS)
    done = progress.read_bytes().count(b"\n") - 1
    warning, error = err.splitlines()
    assert (process.returncode, done < MANY) == (130, True)
    assert warning.startswith(f" WARNING  {done} of {MANY} images were done and are kept in {progress}")
    assert error.startswith("error: interrupted by SIGINT")
    assert len(family) > 5 and not psutil.wait_procs(family, SECONDS)[1]
    assert listening and listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert run(*words).returncode == 0 and progress.read_bytes().count(b"\n") == 1 + MANY


@pytest.mark.parametrize(
    ("options", "code", "wrong"),
    [
        ("--executor rey", 2, "the executor is 'rey', accepted: local, ray. Did you mean 'ray'?"),
        ("--address auto", 2, "the address 'auto' is of a cluster; accepted with --executor ray only"),
        ("--executor ray --processes 5000", 2, "processes is 5000, accepted: 1 to 4096"),
        ("--executor ray --address nowhere", 2, "address is 'nowhere', accepted: HOST:PORT of its head"),
        ("--executor ray --address ray://10.0.0.1:10001", 2, "accepted: HOST:PORT of its head"),
        ("--executor ray --address 127.0.0.1:1", 1, "no Ray cluster can be joined at 127.0.0.1:1 (ConnectionRefused"),
        ("--executor ray --address 127.0.0.1:99999", 2, "accepted: HOST:PORT of its head"),
    ],
)
def test_refused(options: str, code: int, wrong: str, refused: Refused, demo_bundle: Path, many: Path) -> None:
    refused(code, wrong, "evaluate", demo_bundle, many, *options.split())


def test_without_ray(run: Run, demo_bundle: Path, many: Path, tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError")
    done = run("evaluate", demo_bundle, many, "--executor", "ray", env={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: ray is not installed; install it with: pip install 'mvit2[ray]'\n"
