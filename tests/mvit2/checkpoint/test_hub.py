"""Weights from a hub: the real huggingface_hub against a server on this machine, its cache, and no hub at all."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _server_module() -> ModuleType:
    found = importlib.util.spec_from_file_location("hub_server", Path(__file__).parents[2] / "support/hub_server.py")
    assert found is not None and found.loader is not None
    module = sys.modules[found.name] = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


hub_server = _server_module()
Repository, COMMIT = hub_server.Repository, hub_server.COMMIT

SMALL, MEDIUM = "apple/mobilevitv2-0.5-imagenet1k-256", "apple/mobilevitv2-1.0-imagenet1k-256"
MINE = "someone/mobilevitv2-1.0-birds"
FIRST, FIRST_MASKS = "apple/mobilevit-small", "apple/deeplabv3-mobilevit-small"
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
SAFE, PICKLE = "model.safetensors", "pytorch_model.bin"
FILES = {name: f"content of {name}".encode() * 1000 for name in (CONFIG, PREPROCESSOR, SAFE, PICKLE)}
DOWNLOADED = [  # one question whether the hub is there, then every file once; .bin is never asked for
    *(("HEAD", CONFIG), ("HEAD", CONFIG), ("GET", CONFIG)),
    *(("HEAD", PREPROCESSOR), ("GET", PREPROCESSOR)),
    *(("HEAD", SAFE), ("GET", SAFE)),
]
_ASK = """
import json, sys
from mvit2.errors import Mvit2Error
from mvit2.checkpoint.locate import locate
try:
    answer = {key: value and str(value) for key, value in vars(locate(*sys.argv[1:])).items()}
except Mvit2Error as error:
    answer = {"error": type(error).__name__, "message": str(error)}
print(json.dumps(answer))
"""


@pytest.fixture
def hub() -> Iterator[Any]:
    names = (SMALL, MEDIUM, MINE, FIRST, FIRST_MASKS)
    with hub_server.Hub({name: Repository(dict(FILES)) for name in names}) as running:
        yield running


@pytest.fixture
def ask(hub: Any, tmp_path: Path) -> Any:
    """``locate`` in a process of its own, whose client sees that hub and an empty cache of its own."""

    def ask(weights: str = "auto", variant: str = "1.0", **env: str) -> dict[str, Any]:
        environment = {**hub_server.client_environment(hub.url, tmp_path / "home"), **env}
        command = [sys.executable, "-W", "error", "-c", _ASK, weights, variant]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        assert "\n" not in answer.get("message", "") + (answer.get("warning") or "")
        return answer

    return ask


def without(hub: Any, *names: str) -> None:
    for repository in hub.repositories.values():
        for name in names:
            del repository.files[name]


# ---- the hub answers ----


@pytest.mark.parametrize(
    ("weights", "variant", "name", "repository"),
    [
        ("auto", "0.5", "imagenet1k-256", SMALL),  # the bundled one is a fallback, not a preference
        (MINE, "1.0", "birds", MINE),
        (f"{MINE}@v1/beta", "1.0", "birds", MINE),
        (f"{MINE}@{COMMIT}", "1.0", "birds", MINE),
        ("auto", "small", "imagenet1k-256", FIRST),  # its id says no more than its size
        (FIRST, "1.0", "imagenet1k-256", FIRST),
        (FIRST_MASKS, "1.0", "voc-deeplabv3", FIRST_MASKS),
    ],
)
def test_downloaded_once_then_cached(
    hub: Any, ask: Any, weights: str, variant: str, name: str, repository: str
) -> None:
    hub.repositories[MINE].branches = ("main", "v1%2Fbeta")
    first = ask(weights, variant)
    assert (first["name"], first["origin"], first["warning"]) == (name, f"{repository}@{COMMIT}", None)
    for key, file in (("config", CONFIG), ("preprocessor", PREPROCESSOR), ("weights", SAFE)):
        assert Path(first[key]).name == file and Path(first[key]).read_bytes() == FILES[file]
    assert hub.asked() == DOWNLOADED
    assert ask(weights, variant) == first
    assert not [file for method, file in hub.asked() if method == "GET"]
    assert ask(weights, variant, HF_HUB_OFFLINE="1") == first
    assert hub.requests == []
    hub.stop()
    assert ask(weights, variant) == first


def test_the_explicit_revision_is_the_one_that_is_fetched(hub: Any, ask: Any) -> None:
    hub.repositories[MINE].branches = ("v1",)
    assert ask(f"{MINE}@v1")["origin"] == f"{MINE}@{COMMIT}"
    assert {path.split("/")[4] for _, path in hub.requests if "resolve" in path} == {"v1", COMMIT}


def test_all_files_are_of_one_commit(hub: Any, ask: Any) -> None:
    """A push between two files must not mix two checkpoints: after config.json the commit is asked for, not main."""
    ask(MINE)
    asked = [path for _, path in hub.requests if "resolve" in path]
    assert [p for p in asked if "/main/" in p] == [f"/{MINE}/resolve/main/{CONFIG}"] * 3
    assert len(asked) == len(DOWNLOADED) and all(COMMIT in p for p in asked[3:])


def test_an_update_on_the_hub_is_noticed(hub: Any, ask: Any) -> None:
    ask(MINE)
    hub.repositories[MINE].commit, hub.repositories[MINE].files[SAFE] = "f" * 40, b"new"
    answer = ask(MINE)
    assert answer["origin"] == f"{MINE}@{'f' * 40}" and Path(answer["weights"]).read_bytes() == b"new"


def test_a_repository_without_safetensors(hub: Any, ask: Any) -> None:
    without(hub, SAFE, PREPROCESSOR)
    first = ask()
    assert Path(first["weights"]).name == PICKLE and first["preprocessor"] is None
    assert [file for method, file in hub.asked() if method == "GET"] == [CONFIG, PICKLE]
    assert ask(HF_HUB_OFFLINE="1") == first  # that there are no such files is in the cache as well


def test_a_private_repository_opens_with_its_token(hub: Any, ask: Any) -> None:
    hub.repositories[MINE].token = "hf_secret"
    assert ask(MINE, HF_TOKEN="hf_secret")["name"] == "birds"


@pytest.mark.parametrize(
    ("weights", "change", "error", "wrong"),
    [
        ("some/body", lambda hub: None, "CheckpointError", "some/body is no folder here, and the hub answered 404"),
        (MINE, lambda hub: setattr(hub.repositories[MINE], "token", "hf_x"), "CheckpointError", "answered 401 .*gated"),
        ("auto", lambda hub: setattr(hub, "status", 401), "CheckpointError", "answered 401 .*run: hf auth login"),
        (f"{MINE}@v9", lambda hub: None, "CheckpointError", f"{MINE} has no branch, tag or commit 'v9'; leave @v9 out"),
        (MINE, lambda hub: without(hub, CONFIG), "CheckpointError", "has no config.json, .*not in Hugging Face layout"),
        ("auto", lambda hub: without(hub, CONFIG), "CheckpointError", "has no config.json"),
        (MINE, lambda hub: without(hub, SAFE, PICKLE), "CheckpointError", f"neither {SAFE} nor {PICKLE}; .*the FILE"),
        ("someone/a--b", lambda hub: None, "UsageError", "--weights someone/a--b: .*--"),
    ],
)
def test_the_hub_says_no(hub: Any, ask: Any, weights: str, change: Any, error: str, wrong: str) -> None:
    """Then nothing falls back, not even ``auto`` for the variant that is bundled."""
    change(hub)
    answer = ask(weights, "0.5")
    assert answer.get("error") == error, answer
    assert re.search(wrong, answer["message"])
    assert [file for method, file in hub.asked() if method == "GET" and file != CONFIG and file != PREPROCESSOR] == []


# ---- the connection breaks ----


def test_a_download_that_breaks_once_is_resumed(hub: Any, ask: Any) -> None:
    hub.broken[SAFE] = 1
    answer = ask()
    assert Path(answer["weights"]).read_bytes() == FILES[SAFE]
    assert hub.asked() == [*DOWNLOADED, ("GET", SAFE)]


@pytest.mark.parametrize("file", [CONFIG, PREPROCESSOR, SAFE])
def test_a_download_that_breaks_for_good(hub: Any, ask: Any, file: str) -> None:
    """Reported as such; and what was not fetched is never mistaken for what is not there, also not offline."""
    hub.broken[file] = -1
    answer = ask(MINE)
    assert answer.get("error") == "CheckpointError", answer
    assert re.search(rf"^{MINE}: fetching {file} failed \(.+\); run it again\.$", answer["message"])
    offline = ask(MINE, HF_HUB_OFFLINE="1")
    assert "not in the local cache" in offline["message"] and "HF_HUB_OFFLINE is set" in offline["message"]
    hub.broken.clear()
    assert Path(ask(MINE)["weights"]).read_bytes() == FILES[SAFE]


# ---- the hub does not answer ----

NO_HUB = {
    "offline": (lambda hub: None, {"HF_HUB_OFFLINE": "1"}, r"HF_HUB_OFFLINE is set", 0),
    "down": (lambda hub: hub.stop(), {}, r"ConnectError: .*refused", 0),
    "slammed": (lambda hub: setattr(hub, "slam", True), {}, r"RemoteProtocolError: .+", 1),
    "500": (lambda hub: setattr(hub, "status", 500), {}, r"it answered 500", 1),
    "429": (lambda hub: setattr(hub, "status", 429), {}, r"it answered 429", 1),
    "filter": (lambda hub: setattr(hub, "status", 403), {}, r"it answered 403", 1),
    "portal": (lambda hub: setattr(hub, "html", True), {}, r"what answered there is not a Hugging Face hub", 1),
}


@pytest.mark.parametrize(("change", "env", "reason", "requests"), NO_HUB.values(), ids=NO_HUB)
def test_auto_falls_back_with_a_warning(
    hub: Any, ask: Any, change: Any, env: dict[str, str], reason: str, requests: int
) -> None:
    change(hub)
    answer = ask("auto", "0.5", **env)
    assert (answer.get("name"), answer.get("origin")) == ("demo20", "bundled"), answer
    said = rf"^{SMALL} is not in the local cache and the hub cannot be reached \({reason}\): using the DEMO checkpoint "
    assert re.search(
        said + rf"demo20, width 0\.5, .* not the published network; .* give --weights {SMALL}", answer["warning"]
    )
    assert len(hub.asked()) == requests  # no retries


EXPLICIT = {name: NO_HUB[name] for name in ("offline", "down", "500")}


@pytest.mark.parametrize(("change", "env", "reason", "requests"), EXPLICIT.values(), ids=EXPLICIT)
def test_an_explicit_choice_never_falls_back(
    hub: Any, ask: Any, change: Any, env: dict[str, str], reason: str, requests: int
) -> None:
    change(hub)
    answer = ask(SMALL, "0.5", **env)
    assert answer.get("error") == "CheckpointError", answer
    assert re.search(rf"^{SMALL} is no folder here, .*\({reason}\)\. An explicit choice never falls", answer["message"])
    assert len(hub.asked()) == requests


def test_auto_without_a_bundled_checkpoint_lists_the_choices(hub: Any, ask: Any) -> None:
    hub.slam = True
    answer = ask("auto", "2.0")
    assert answer.get("error") == "CheckpointError", answer
    assert all(
        choice in answer["message"]
        for choice in ("--variant 0.5 --weights demo", "--weights untrained", "FILE or FOLDER", "retry with network")
    )
    assert len(hub.asked()) == 1


@pytest.mark.parametrize("change", ["slam", "html"])
def test_the_cache_serves_when_the_hub_is_lost(hub: Any, ask: Any, change: str) -> None:
    first = ask()
    setattr(hub, change, True)
    assert ask() == first


@pytest.mark.parametrize(
    ("arguments", "bundle", "hub_id"),
    [
        (["--variant", "0.5"], "mobilevitv2-0.5-demo20", SMALL),
        ([], "mobilevitv2-1.0-demo20", MEDIUM),
        (["--task", "segment"], "mobilevitv2-0.5-demo11-segment", "apple/mobilevitv2-1.0-voc-deeplabv3"),
    ],
)
def test_the_command_warns_even_when_quiet(
    run: Any, tmp_path: Path, arguments: list[str], bundle: str, hub_id: str
) -> None:
    """The bundle's folder is in the way, so that the command ends right after the warning."""
    (tmp_path / bundle / "somebody's").mkdir(parents=True)
    done = run("export", *arguments, "--quiet", "--output", tmp_path, env={"HF_HOME": str(tmp_path / "home")})
    assert done.returncode == 1
    warning, error = done.stderr.strip().splitlines()
    assert "WARNING" in warning and f"{hub_id} is not in the local cache" in warning and "DEMO" in warning
    assert error.startswith("error:")


@pytest.mark.parametrize(
    ("arguments", "code", "wrong"),
    [
        (["--variant", "2.0"], 1, r"Choose --variant 0\.5 --weights demo"),
        (["--variant", "2.0", "--weights", "demo"], 1, r"there is one for: 0\.5"),
        (["--weights", "dmeo"], 2, r"Did you mean 'demo'"),
        (["--weights", MINE], 1, r"never falls back"),
    ],
)
def test_the_command_fails_in_one_line(run: Any, tmp_path: Path, arguments: list[str], code: int, wrong: str) -> None:
    done = run("export", *arguments, "--output", tmp_path, env={"HF_HOME": str(tmp_path / "home")})
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (code, "", 1), done.stderr
    assert re.search(wrong, done.stderr)


def test_a_pickle_from_the_hub_becomes_the_network(hub: Any, tmp_path: Path) -> None:
    """The whole way, in one process: hub, cache, weights_only, the same tensors as in the safetensors file."""
    import torch
    from safetensors.torch import load_file

    from mvit2.checkpoint.locate import locate

    demo = locate("demo", "0.5")
    assert demo.weights is not None and demo.config is not None
    torch.save(load_file(demo.weights), tmp_path / PICKLE)
    hub.repositories[SMALL].files = {CONFIG: demo.config.read_bytes(), PICKLE: (tmp_path / PICKLE).read_bytes()}
    code = """
from mvit2.checkpoint.load import load_checkpoint
opened, demo = load_checkpoint("auto", "0.5"), load_checkpoint("demo", "0.5")
assert opened.sha256 == demo.sha256 and opened.preprocess.channel_order == "BGR", opened
print(opened.name, opened.origin, ["ASSUMED" in note for note in opened.warnings])
"""
    environment = hub_server.client_environment(hub.url, tmp_path / "home")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == f"imagenet1k-256 {SMALL}@{COMMIT} [True]", done.stderr
