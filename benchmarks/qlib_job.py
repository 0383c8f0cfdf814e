"""The job of factors.py in qlib, on the same bars, beside ours. Needs pyqlib in a virtual environment of its own.

    python benchmarks/factors.py --dump bars.parquet
    VENV/bin/python benchmarks/qlib_job.py bars.parquet

The bars are written in qlib's own binary format first (not timed). Then `D.features` computes the fourteen expressions, without
the expression and dataset caches, on two workers.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

EXPRESSIONS = {
    "KMID": "($close-$open)/$open",
    "KLEN": "($high-$low)/$open",
    "ROC5": "Ref($close, 5)/$close",
    "ROC20": "Ref($close, 20)/$close",
    "MA5": "Mean($close, 5)/$close",
    "MA20": "Mean($close, 20)/$close",
    "STD20": "Std($close, 20)/$close",
    "MAX20": "Max($high, 20)/$close",
    "MIN20": "Min($low, 20)/$close",
    "RSV20": "($close-Min($low, 20))/(Max($high, 20)-Min($low, 20))",
    "CORR20": "Corr($close, Log($volume+1), 20)",
    "VMA5": "Mean($volume, 5)/$volume",
    "VSTD20": "Std($volume, 20)/$volume",
    "SUMP14": "Sum(Greater($close-Ref($close, 1), 0), 14)/Sum(Abs($close-Ref($close, 1)), 14)",
}


def write(bars, folder):
    "qlib's files: a calendar, the instruments, one array of float32 per field"
    import numpy as np

    days = sorted(bars.ts.dt.date.unique())
    (folder / "calendars").mkdir(parents=True), (folder / "instruments").mkdir()
    (folder / "calendars/day.txt").write_text("\n".join(map(str, days)))
    lines = []
    for symbol, mine in bars.groupby("symbol", observed=True):
        lines.append(f"{symbol}\t{days[0]}\t{days[-1]}")
        home = folder / "features" / symbol.lower()
        home.mkdir(parents=True)
        for field in ("open", "high", "low", "close", "volume"):
            values = np.concatenate([[0.0], mine.sort_values("ts")[field]]).astype("<f")
            values.tofile(home / f"{field}.day.bin")
    (folder / "instruments/all.txt").write_text("\n".join(lines))


def main(path):
    import pandas as pd

    with tempfile.TemporaryDirectory() as d:
        write(pd.read_parquet(path), Path(d))
        started = time.perf_counter()
        import qlib
        from qlib.data import D

        qlib.init(provider_uri=d, region="us", kernels=2, expression_cache=None, dataset_cache=None)
        for name in ("first", "again"):
            start = time.perf_counter() if name == "again" else started
            frame = D.features(D.instruments("all"), list(EXPRESSIONS.values()), freq="day")
            wall = time.perf_counter() - start
            print(f"qlib {qlib.__version__}, {name}: {frame.shape} in {wall:.1f} s", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"peak memory {peak:,.0f} MB, of its largest worker {child:,.0f} MB")


if __name__ == "__main__":
    main(sys.argv[1])
