"""How often a planted effect is promoted, how often nothing is, and what training costs.

    python benchmarks/models.py [--seeds 20] [--null 40] [--rows 30000]

A made market of 20 securities and 60 sessions, five instants a day: in the hour after each instant a security goes the way of the product of two
of its columns, by a share of the price against an hour's deviation of 0.4 %. Neither column alone says anything.
"""

import argparse
import resource
from collections import Counter

import numpy as np
import pandas as pd

from catalyst.clock import Stopwatch, get_session, sessions_between, slots
from catalyst.lessons import Aim, labels
from catalyst.models import card, train

AIM, NAMES = (
    Aim(bars=4, costs_bps=1.0),
    ("change_pct", "relative_volume", "rsi_14", "tone", "gap_pct"),
)
DAYS = sessions_between(get_session("2025-06-02").day, get_session("2025-08-26").day)
END = DAYS[-1].ends


def made(size, seed, n=20, hours=5):
    "Bars and feature rows; returns share a market, have fat tails and a volatility that clusters"
    draw = np.random.default_rng(seed)
    ts = pd.DatetimeIndex([t for d in DAYS for t in slots(d)[:-1]]).as_unit("us")
    when = pd.DatetimeIndex([t for d in DAYS for t in slots(d)[2 : 2 + 4 * hours : 4]]).as_unit(
        "us"
    )
    wild = np.exp(0.5 * np.sin(np.arange(len(ts)) / 300) + 0.2 * draw.normal(size=len(ts)))[:, None]
    moves = (
        0.002
        * wild
        * (draw.standard_t(4, (len(ts), n)) / 2**0.5 * 0.8 + 0.6 * draw.normal(size=(len(ts), 1)))
    )
    values = draw.normal(size=(len(NAMES), len(when), n))
    for k, at in enumerate(np.searchsorted(ts, when)):
        moves[at : at + 4] += size / 4 * np.sign(values[0, k] * values[1, k])
    close = 50 * np.exp(moves.cumsum(axis=0))
    before = np.vstack([np.full(n, 50.0), close[:-1]])
    index = pd.MultiIndex.from_product([range(1, n + 1), ts], names=["security_id", "ts"])
    bars = pd.DataFrame({"open": before.T.ravel(), "close": close.T.ravel()}, index)
    bars = bars.assign(high=bars.close, low=bars.close, volume=1e3)
    bars["available_at"] = index.get_level_values(1) + pd.Timedelta("15min")
    rows = pd.MultiIndex.from_product([when, range(1, n + 1)], names=["asof", "security_id"])
    return bars, pd.DataFrame({c: v.ravel() for c, v in zip(NAMES, values, strict=True)}, rows)


def run(size, seed, **more):
    bars, panel = made(size, seed, **more)
    watch = Stopwatch()
    told = labels(bars, panel.index.get_level_values("asof"), AIM, END)
    return card(train(panel, told, END, AIM, NAMES, seed=seed)), watch.seconds


def power(seeds, null):
    for size in (0.0, 0.0003, 0.0006, 0.0012, 0.0024):
        done = [run(size, s) for s in range(null if size == 0 else seeds)]
        who = Counter(c["promoted"] or "nobody" for c, _ in done)
        saved = np.mean([c["models"]["gradient_boosting"]["over_base"]["mean"] for c, _ in done])
        seconds = np.mean([s for _, s in done])
        print(
            f"size {size:.2%}  {len(done)} seeds  {dict(who)}  boosting saves {saved:+.5f}  {seconds:.1f} s a run",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--null", type=int, default=40)
    parser.add_argument(
        "--securities", type=int, default=100, help="of the run whose time and memory is told"
    )
    asked = parser.parse_args()
    power(asked.seeds, asked.null)
    told, seconds = run(0.0, 1, n=asked.securities)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{told['counts']['rows']} rows: {seconds:.1f} s, {peak} MB at the most")
