"""Import of a file of bars with all checks on, against a raw COPY of the same rows into a bare table.

python benchmarks/imports.py FILE [--timeframe 5min] [--repeats 3]
"""

import argparse
import io
import os
import resource
import tempfile
import time
from pathlib import Path


def raw_copy(store, path):
    "The rows of the file as ready CSV bytes into a table without keys"
    import pandas as pd
    from pyarrow import Table, csv

    from catalyst.store import connect

    rows = pd.read_parquet(path)[["symbol", "ts", "open", "high", "low", "close", "volume"]]
    out = io.BytesIO()
    csv.write_csv(
        Table.from_pandas(rows, preserve_index=False), out, csv.WriteOptions(include_header=False)
    )
    data = out.getvalue()
    with connect(store.url) as c:
        c.execute(
            "create table twin (symbol text, ts timestamptz, open numeric(14, 4), high numeric(14, 4), "
            "low numeric(14, 4), close numeric(14, 4), volume float8)"
        )
        start = time.perf_counter()
        with c.cursor() as cursor, cursor.copy("copy twin from stdin (format csv)") as copy:
            copy.write(data)
        return time.perf_counter() - start, len(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("file")
    p.add_argument("--timeframe", default="5min")
    p.add_argument("--repeats", type=int, default=3)
    a = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="catalyst-bench-") as home:
        os.environ["CATALYST_HOME"] = home
        from catalyst.clock import WallClock
        from catalyst.intake import take_file
        from catalyst.schema import scratch_store
        from catalyst.server import Server, stop_server

        ratios = []
        for _ in range(a.repeats):
            with scratch_store() as store:
                start = time.perf_counter()
                taken = take_file(
                    store, Path(a.file), a.timeframe, WallClock().now(), adjustment="split"
                )
                ours = time.perf_counter() - start
                bare, n = raw_copy(store, a.file)
            ratios.append((bare / ours, ours, bare))
            print(
                f"ours {n / ours:,.0f} rows/s, raw COPY {n / bare:,.0f} rows/s, ratio {bare / ours:.2f}",
                flush=True,
            )
        mid = sorted(ratios)[len(ratios) // 2]
        print(f"\n{n:,} rows: {taken.tally.as_dict()}")
        print(f"median ratio {mid[0]:.2f} (aim 0.4), {n / mid[1]:,.0f} rows/s")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")
        stop_server(Server(Path(home)))


if __name__ == "__main__":
    main()
