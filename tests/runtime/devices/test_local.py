"""The machine itself as a device: read from made-up /proc and /sys, where every figure is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mvit2.runtime.bench.run import machine
from mvit2.runtime.devices.device import Cluster
from mvit2.runtime.devices.local import LocalDevice
from mvit2.runtime.devices.table import DEVICES, reachable
from mvit2.runtime.machine import usable_cores

QUIET = {
    "proc/loadavg": "0.01 0.02 0.03 1/100 4711\n",
    "proc/device-tree/model": "Raspberry Pi 5 Model B\0",
    **{f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "1800000\n" for i in range(4)},
    **{f"sys/devices/system/cpu/cpu{i}/cpufreq/cpuinfo_max_freq": "2400000\n" for i in range(4, 6)},
    **{f"sys/devices/system/cpu/cpu{i}/cpufreq/scaling_governor": "schedutil\n" for i in range(6)},
    "sys/class/thermal/thermal_zone0/temp": "41000\n",
    "sys/class/thermal/thermal_zone1/temp": "55500\n",
}


def _device(root: Path, changes: dict[str, str]) -> LocalDevice:
    for path, text in {**QUIET, **changes}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return LocalDevice(root)


def test_what_is_read(tmp_path: Path) -> None:
    facts = _device(tmp_path, {}).facts()
    assert facts.model == "Raspberry Pi 5 Model B"
    assert facts.clusters == (Cluster(2, 2400.0), Cluster(4, 1800.0))
    assert (facts.temperature, facts.load, facts.governor) == (55.5, 0.01, "schedutil")
    assert facts.usable_cores == usable_cores() and facts.chip


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"sys/class/thermal/thermal_zone1/temp": "95000"}, "it is 95 degrees hot, and slows down"),
        ({"sys/class/thermal/thermal_zone1/temp": "no number"}, None),
        ({"proc/loadavg": "4096.5 0 0"}, "4096.5 processes want its"),
        ({"proc/loadavg": ""}, None),
        ({"sys/devices/system/cpu/cpu3/cpufreq/scaling_governor": "powersave"}, "by the governor powersave"),
    ],
)
def test_why_it_is_unfit(changes: dict[str, str], why: str | None, tmp_path: Path) -> None:
    said = _device(tmp_path, changes).unfit()
    assert (said is None) == (why is None) and (why or "") in (said or "")


def test_where_nothing_is_told(tmp_path: Path) -> None:
    device = LocalDevice(tmp_path)
    facts = device.facts()
    assert (facts.temperature, facts.load, facts.governor, device.unfit()) == (None, None, None, None)
    assert len(facts.clusters) == 1 and facts.clusters[0].max_mhz is None and facts.model


def test_the_row_is_the_machine_that_bench_writes_down() -> None:
    assert list(DEVICES) == ["local"]
    (device,) = reachable()
    facts, said = device.facts(), machine()
    assert (said.cpu, said.cores, said.system) == (facts.chip, facts.usable_cores, facts.system)
    assert said.device.clusters == facts.clusters


def test_the_command(run: Any) -> None:
    done = run("devices", "--json")
    assert done.returncode == 0, done.stderr
    (device,) = json.loads(done.stdout)["devices"]
    assert device["name"] == "local" and device["usable_cores"] == usable_cores()
    assert "local" in run("devices").stdout
