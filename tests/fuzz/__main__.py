"""``python -m tests.fuzz --seed 7 --cases 5000``; exit code 1 where a case has found a fault."""

from __future__ import annotations

import argparse

from .run import run_cases

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--cases", type=int, default=1000)
parser.add_argument("--only", type=int, help="the number of one case, as a fault names it")
chosen = parser.parse_args()
found = run_cases(chosen.seed, range(chosen.cases) if chosen.only is None else [chosen.only])
for (name, outcome), count in sorted(found.counts.items()):
    print(f"{name:20} {outcome:8} {count:6}")
for fault in found.faults:
    print(fault)
raise SystemExit(bool(found.faults))
