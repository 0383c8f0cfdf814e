"A sweep that is killed goes on where it was, wherever it runs."

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest

from catalyst.core import InputError, UnavailableError
from catalyst.sweep import chunk_width, heat_table, sweep

JOB = """
import os, sys, time
from catalyst.sweep import sweep

def slow(params):
    with open(sys.argv[2], "a") as f:
        f.write(f"{params['a']}\\n")
    time.sleep(float(sys.argv[3]))
    return {"double": 2 * params["a"]}

if __name__ == "__main__":
    print(sweep(slow, {"a": list(range(8))}, folder=sys.argv[1], progress=False).double.tolist())
"""


def square(params):
    return {"square": params["a"] ** 2}


def test_killed_half_way_it_resumes(tmp_path):
    job, log = tmp_path / "job.py", tmp_path / "log"
    job.write_text(textwrap.dedent(JOB))
    run = [sys.executable, str(job), str(tmp_path / "kept"), str(log)]
    first = subprocess.Popen([*run, "0.4"])
    end = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) >= 4) and time.monotonic() < end:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    with (tmp_path / "kept" / "done.jsonl").open("a") as f:
        f.write('{"of": "__main__.slow", "key": "{\\"a\\"')  # A line that the kill cut off
    done = subprocess.run([*run, "0"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([2 * a for a in range(8)])
    runs = [int(x) for x in log.read_text().split()]
    assert set(runs) == set(range(8))
    assert 8 <= len(runs) <= 9  # One was under way when it was killed
    again = subprocess.run([*run, "0"], capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout  # And nothing is left to do
    assert len(log.read_text().split()) == len(runs)


def test_processes_give_the_rows_of_one_process():
    grid = {"a": [1, 2, 3], "b": [0, 1]}
    pd.testing.assert_frame_equal(
        sweep(square, grid, n_jobs=2, progress=False), sweep(square, grid, progress=False)
    )


def test_a_failure_is_a_row_and_is_tried_again(tmp_path):
    broken = []

    def run(params):
        if params["a"] == 2 and not broken:
            broken.append(1)
            raise ValueError("no")
        return {"x": params["a"]}

    first = sweep(run, {"a": [1, 2]}, folder=tmp_path, progress=False)
    assert first.error.tolist()[1] == "ValueError: no"
    assert sweep(run, {"a": [1, 2]}, folder=tmp_path, progress=False).x.tolist() == [1, 2]


def test_another_body_is_another_function(tmp_path):
    "guard: a changed function answered with the results of the old one"

    def made(body):
        scope = {}
        exec(f"def run(params, more=0):\n    return {{'v': {body}}}", scope)
        return scope["run"]

    once = lambda run: sweep(run, {"a": [1, 2]}, folder=tmp_path, progress=False).v.tolist()
    assert once(made("params['a']")) == [1, 2]
    assert once(made("params['a'] * 100")) == [100, 200]
    assert once(made("params['a']")) == [1, 2]  # The old ones are still there
    assert len((tmp_path / "done.jsonl").read_text().splitlines()) == 4
    dear = made("params['a'] + more")
    dear.__defaults__ = (5,)
    assert once(dear) == [6, 7]

    def close(factor):
        def run(params):
            return {"v": params["a"] * np.sum(factor)}

        return run

    one, two = (
        sweep(close(np.array([x])), {"a": [1]}, folder=tmp_path / "c", progress=False).v[0]
        for x in (3, 4)
    )
    assert (one, two) == (3, 4)


def test_signals_over_other_prices_are_other_results(tmp_path):
    from catalyst.sweep import fingerprint, sweep_signals  # noqa: F401

    def rule(close, wait):
        return np.arange(len(close))[:, None] == wait, np.zeros_like(close, bool)

    other = lambda close, wait: rule(close, wait)
    assert len({fingerprint(f) for f in (rule, other)}) == 2
    frames = [pd.DataFrame({1: [10.0, 10, 11, 12]}), pd.DataFrame({1: [10.0, 10, 11, 13]})]
    got = [
        sweep_signals(f, rule, {"wait": [1]}, folder=tmp_path, progress=False).total_return[0]
        for f in frames
    ]
    assert got[0] != got[1]


def test_the_memory_limit_stops_and_keeps(tmp_path):
    with pytest.raises(UnavailableError, match="1 results are kept"):
        sweep(square, {"a": [1, 2]}, folder=tmp_path, memory_limit_mb=1.0, progress=False)


def test_dask_is_an_address(tmp_path):
    try:
        from dask.distributed import LocalCluster
    except ImportError:
        with pytest.raises(InputError, match=r"catalyst\[dask\]"):
            sweep(square, {"a": [1]}, scheduler="tcp://127.0.0.1:1", progress=False)
        pytest.skip("dask is not installed: only the refusal was tested")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        got = sweep(
            square,
            {"a": [1, 2, 3]},
            scheduler=cluster.scheduler_address,
            folder=tmp_path,
            progress=False,
        )
    assert got.square.tolist() == [1, 4, 9]


def test_the_map_and_the_width():
    table = pd.DataFrame({"x": [1, 1, 2], "y": [1, 2, 1], "z": [0.5, np.nan, 2.0]})
    assert heat_table(table, "x", "y", "z").shape == (2, 2)
    with pytest.raises(InputError):
        heat_table(table, "x", "y", "q")
    assert chunk_width(5000, 100, 1000) * 5000 * 100 * 200 <= 1000e6
