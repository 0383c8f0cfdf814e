"Failures of the earlier system that belong to no single room; the others are guarded where they could happen"

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from catalyst.clock import get_session
from catalyst.run import plan_day, read_schedule, run_id_of

PACKAGE = Path(__file__).parents[1] / "catalyst"


def test_tr02_nothing_is_left_to_a_loop_that_nobody_runs():
    "The collector was an async task created where no loop ran. Here every step is a plain call"
    trees = {f.name: ast.parse(f.read_text("utf-8")) for f in PACKAGE.glob("*.py")}
    left = [n for n, t in trees.items() for x in ast.walk(t) if isinstance(x, ast.AsyncFunctionDef)]
    assert len(trees) > 40 and set(left) <= {"kernels.py"}


def test_tr09_every_name_is_defined():
    "A time was taken from a start that nobody had defined"
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "-q",
        "--isolated",
        "--select",
        "F821,F823",
        str(PACKAGE),
    ]
    done = subprocess.run(ruff, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("day", ["2025-08-13", "2025-11-28"])
@pytest.mark.parametrize("lengths", [(), ("1min",)])
def test_tr10_a_notebook_is_due_once_at_an_instant(day, lengths):
    "'Minute equals 0' within a loop of thirty seconds was true twice"
    plan = plan_day(read_schedule(), get_session(day), lengths)
    ids = [run_id_of(job.notebook, "replay", at) for at, job in plan]
    assert len(ids) == len(set(ids)) > 50
    assert [at for at, _ in plan] == sorted(at for at, _ in plan)
