"""The backtest and the sweep beside bare vectorbt, each pair in one process, and two imports.

    python benchmarks/backtest.py [--repeats 7] [--only orders|sweep|imports] [--memory 1000]

orders   1,000,000 orders, 1000 bars × 1000 securities: `backtest` of 500,000 plans (frames in, a trade per plan out, shared cash,
         stops and targets watched, all costs on) against `Portfolio.from_signals` on ready arrays.
sweep    100 securities × 5,000 bars × 100 pairs of moving averages: `sweep_signals` under a memory bound against one
         `vbt.MA` + `from_signals`; each in a process of its own, seconds and peak resident memory.
imports  `import catalyst.backtest` against `import vectorbt`, each in fresh processes.

Numba has compiled before anything is timed. Ratios are medians of pairs measured one after the other. Bars are made up.
"""

import argparse
import statistics
import subprocess
import sys
import time


def bars_and_plans(securities=1000, bars=1000):
    "A walk for each security; in every second bar a market entry, whose exits are so near that the next bar meets one"
    import numpy as np
    import pandas as pd

    from catalyst.clock import get_session, session_offset, slots

    days = [session_offset(get_session("2022-01-03").day, i) for i in range(-(-bars // 26) + 3)]
    ts = pd.DatetimeIndex([t for s in days for t in slots(s)[:-1]][:bars]).as_unit("us")
    rng = np.random.default_rng(7)
    close = 50 * np.exp(rng.normal(0, 0.002, (securities, bars)).cumsum(axis=1))
    open_ = np.roll(close, 1, axis=1)
    open_[:, 0] = close[:, 0]
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    index = pd.MultiIndex.from_product(
        [np.arange(1, securities + 1), ts], names=["security_id", "ts"]
    )
    columns = dict(open=open_, high=high, low=low, close=close, volume=np.full(close.shape, 1e6))
    frame = pd.DataFrame({k: v.ravel() for k, v in columns.items()}, index)
    at = np.arange(0, bars - 1, 2)
    n = len(at) * securities
    entry = close[:, at].T.ravel()
    plans = dict(
        plan_id=np.arange(n),
        security_id=np.tile(np.arange(1, securities + 1), len(at)),
        setup="every second bar",
        side="long",
    )
    plans |= dict(
        entry_type="market",
        entry_price=entry,
        stop_price=entry * 0.9995,
        target_price=entry * 1.0005,
    )
    plans = pd.DataFrame(plans | dict(decided_at=np.repeat(ts[at], securities), expires_at=pd.NaT))
    return frame, plans, close.T, open_.T, at


def orders(repeats, securities=1000, bars=1000):
    import numpy as np
    import pandas as pd

    from catalyst.backtest import backtest, warm_up

    warm_up()
    import vectorbt as vbt

    frame, plans, close, open_, at = bars_and_plans(securities, bars)
    wide = pd.DataFrame(close)
    entries, exits = np.zeros(close.shape, bool), np.zeros(close.shape, bool)
    entries[at], exits[at + 1] = True, True
    quantities = np.full(len(plans), 10.0)
    ours, bare, analysed = [], [], []
    for i in range(repeats + 1):
        t = time.perf_counter()
        result = backtest(
            plans, frame, cash=1e9, quantities=quantities, flat_by_close=False, own_bar_stop=False
        )
        a = time.perf_counter() - t
        result.equity
        c = time.perf_counter() - t
        t = time.perf_counter()
        pf = vbt.Portfolio.from_signals(
            wide, entries, exits, size=10, init_cash=1e9, cash_sharing=True, group_by=True
        )
        b = time.perf_counter() - t
        if i:  # The first pair warms caches
            ours, bare, analysed = [*ours, a], [*bare, b], [*analysed, c]
    n = len(result.records), len(pf.orders.records)
    assert min(n) >= 0.95 * securities * bars, n
    ratio = statistics.median(x / y for x, y in zip(ours, bare, strict=True))
    print(
        f"orders: backtest {n[0]:,} orders {statistics.median(ours):.3f} s, with equity {statistics.median(analysed):.3f} s; "
        f"bare from_signals {n[1]:,} orders {statistics.median(bare):.3f} s; ratio {ratio:.2f} (median of {repeats})"
    )
    return result


def averages(securities=100, bars=5000):
    import numpy as np
    import pandas as pd

    close = 50 * np.exp(
        np.random.default_rng(7).normal(0, 0.002, (bars, securities)).cumsum(axis=0)
    )
    pairs = [(fast, slow) for fast in range(5, 15) for slow in range(20, 120, 10)]
    return pd.DataFrame(close, pd.date_range("2022-01-03", periods=bars, freq="15min")), pairs


def sweep_ours(memory):
    "Rolling means once per window; crossings in chunks"
    import numpy as np

    from catalyst.backtest import warm_up
    from catalyst.sweep import peak_mb, sweep_signals

    close, pairs = averages()
    warm_up()
    means = {}

    def crossing(prices, fast, slow):
        for n in (fast, slow):
            if n not in means:
                total = np.cumsum(np.vstack([np.zeros(prices.shape[1]), prices]), axis=0)
                means[n] = np.full(prices.shape, np.nan)
                means[n][n - 1 :] = (total[n:] - total[:-n]) / n
        above = means[fast] > means[slow]
        known = ~np.isnan(means[slow])
        before = np.vstack([np.zeros((1, prices.shape[1]), bool), above[:-1]])
        later = np.vstack([np.zeros((1, prices.shape[1]), bool), known[:-1]])
        return above & ~before & later, ~above & before & later

    grid = {"fast": list(range(5, 15)), "slow": list(range(20, 120, 10))}
    sweep_signals(
        close.iloc[:200], crossing, {"fast": [5], "slow": [20]}, progress=False
    )  # Compiles
    means.clear()
    base = peak_mb()
    start = time.perf_counter()
    table = sweep_signals(close, crossing, grid, memory_limit_mb=memory, progress=False)
    return time.perf_counter() - start, peak_mb(), base, len(table)


def sweep_bare():
    "All pairs at once, as vectorbt's own examples do"
    from catalyst.backtest import warm_up
    from catalyst.sweep import peak_mb

    warm_up()
    import numpy as np
    import vectorbt as vbt

    def run(close, pairs):
        fast, slow = zip(*pairs)
        a, b = (
            vbt.MA.run(close, fast, short_name="fast"),
            vbt.MA.run(close, slow, short_name="slow"),
        )
        entries, exits = a.ma_crossed_above(b), a.ma_crossed_below(b)
        prices = np.tile(close.to_numpy(), (1, len(pairs)))
        pf = vbt.Portfolio.from_signals(
            prices, entries.to_numpy(), exits.to_numpy(), slippage=2e-4, init_cash=10_000.0
        )
        return pf.total_return(), pf.max_drawdown(), pf.trades.count()

    close, pairs = averages()
    run(close.iloc[:200], pairs[:1])  # Compiles
    base = peak_mb()
    start = time.perf_counter()
    out = run(close, pairs)
    return time.perf_counter() - start, peak_mb(), base, len(out[0])


def child(*arguments):
    "The last line of this file's output in a process of its own, as numbers"
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [float(x) for x in done.stdout.strip().splitlines()[-1].split()]


def sweeps(repeats, memory):
    ours, bare = [], []
    for _ in range(repeats):
        ours, bare = (
            [*ours, child("--child", "ours", "--memory", memory)],
            [*bare, child("--child", "bare")],
        )
    mid = lambda rows, i: statistics.median(r[i] for r in rows)
    assert mid(ours, 3) == mid(bare, 3)
    ratio = statistics.median(a[0] / b[0] for a, b in zip(ours, bare, strict=True))
    print(
        f"sweep of {mid(ours, 3):,.0f} columns: ours {mid(ours, 0):.1f} s, peak {mid(ours, 1):,.0f} MB ({mid(ours, 1) - mid(ours, 2):,.0f} above "
        f"the start, bound {memory:g}); bare {mid(bare, 0):.1f} s, peak {mid(bare, 1):,.0f} MB; ratio of times {ratio:.2f} (median of {repeats})"
    )


def imports(repeats):
    "Seconds of a fresh interpreter that imports one module"
    times = {"catalyst.backtest": [], "vectorbt": []}
    for name in list(times) * repeats:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {name}"], check=True)
        times[name].append(time.perf_counter() - start)
    ours, bare = (statistics.median(t) for t in times.values())
    print(
        f"imports: catalyst.backtest {ours:.2f} s, vectorbt {bare:.2f} s; ratio {ours / bare:.2f} (median of {repeats})"
    )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--only", choices=["orders", "sweep", "imports"])
    p.add_argument("--memory", type=float, default=1000.0, help="bound of a chunk, megabytes")
    p.add_argument("--child", choices=["ours", "bare"], help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.child:
        print(*(sweep_ours(a.memory) if a.child == "ours" else sweep_bare()))
        return
    if a.only in (None, "orders"):
        orders(a.repeats)
    if a.only in (None, "sweep"):
        sweeps(min(a.repeats, 3), a.memory)
    if a.only in (None, "imports"):
        imports(a.repeats)


if __name__ == "__main__":
    main()
