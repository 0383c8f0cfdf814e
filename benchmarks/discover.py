"""What a whole run of discovery finds where nothing is, what it finds of what was planted, and what it costs.

    python benchmarks/discover.py null  --out null.jsonl  [--seeds 100] [--first 9000]   share of null markets with any false discovery
    python benchmarks/discover.py days  --out days.jsonl  [--seeds 20]  [--first 9200]   share of days with any, over seven hourly runs
    python benchmarks/discover.py power --out power.jsonl [--seeds 10]  [--first 9300]   recall and precision by kind and size
    python benchmarks/discover.py delay --out delay.jsonl [--seeds 3]   [--first 9300]   sessions until a relation is admitted
    python benchmarks/discover.py cost  [--securities 100 200 400 800]                   seconds and peak memory of an hourly run
    python benchmarks/discover.py pairs                                                  all 4,950 rolling correlations against bare numpy
    python benchmarks/discover.py jobs  [--securities 100]                               one process against two
    python benchmarks/discover.py table --out null.jsonl days.jsonl power.jsonl delay.jsonl   the tables of the page

Markets are SIMULATED (`catalyst.sheet`, `catalyst.planted`): 100 securities, 60 sessions of quarter hours, ten sectors, fat tails, wild hours in common.
Admitted means q <= 0.05 (Benjamini-Yekutieli over everything tried in the run, every kind with the same part) and an effect above costs of 2 bp a trade.
Every run is a line of the file as soon as it is over, and a line that is there is not run again.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

COSTS, SIZES = 2.0, (0.0, 0.5, 1.0, 2.0, 4.0)
PLANTED = (
    "lead_lag catalyst_sympathy momentum_cascade sector_rotation accumulation distribution "
    "news_arbitrage correlation_break pump_and_dump unnamed"
).split()
PAIRS = ("lead_lag", "catalyst_sympathy", "momentum_cascade")


def kept(out, key, make):
    "The line of a run; made unless it is there"
    path = Path(out)
    lines = path.read_text().splitlines() if path.exists() else []
    for line in map(json.loads, lines):
        if line["run"] == key:
            return
    told = {"run": key} | make()
    with path.open("a") as f:
        f.write(json.dumps(told) + "\n")


# Markets


def odd_days(seed, size, count=120):
    "Days that fall in the morning and recover on volume, and a next day of `size` usual moves; nobody has a name for them"
    import pandas as pd

    from catalyst.sheet import blank, grown, move

    sheet, who = blank(seed), set()
    for _ in range(count):
        i, day = int(sheet.rng.integers(100)), int(sheet.rng.integers(2, 58))
        if sheet.first(day + 1) - sheet.first(day) == 26 and (i, day) not in who:
            who.add((i, day))
            move(sheet, i, sheet.first(day) + 1, 8, -3.0, busy=2.5)
            move(sheet, i, sheet.first(day) + 13, 13, 3.0, busy=2.5)
            move(sheet, i, sheet.first(day + 1), 26, size)
    truth = [
        {"kind": "unnamed", "leader": -1, "followers": (i + 1,), "begins": sheet.first(d + 1), "ends": sheet.first(d + 2)}
        for i, d in sorted(who)
    ]  # fmt: skip
    return grown(sheet, 60), pd.DataFrame(truth)


def market(kind, size, seed):
    from catalyst.planted import plant

    return odd_days(seed, size) if kind == "unnamed" else plant(kind, size, seed)


# What is true


def true_row(fld, row, truth):
    "Whether an admitted row is about what was planted, under its own name or another"
    if not len(truth):
        return False
    teams = [{r.leader, *r.followers} - {-1} for r in truth.itertuples()]
    planted, own = truth.kind.iloc[0], row.kind == truth.kind.iloc[0]
    if row.kind in PAIRS or (row.kind == "correlation_break" and not row.key.endswith(":all")):
        said = {int(row.leader), *row.followers}
        return any(len(said & t) >= min(3, len(said)) and int(row.leader) in t for t in teams)
    if row.kind == "sector_rotation":
        return own and row.detail["into"] == truth.note.iloc[0].split(" to ")[1]
    if row.kind == "news_arbitrage" and planted == "catalyst_sympathy":
        return row.detail["mode"] == "peers"
    if own and row.kind != "unnamed":
        return True
    from catalyst.precedents import past_cases

    cases = past_cases(fld, row)  # A fifth of its cases are planted ones
    inside = [
        any(
            i in r.followers and r.begins - 2 <= t + k and t <= r.ends + 52
            for r in truth.itertuples()
        )
        for i, t, k in zip(cases.security_id, cases.t, cases.upto)
    ]
    return len(cases) > 0 and sum(inside) >= 0.2 * len(cases)


def recalled(run, truth, kind):
    "How many planted relations were admitted under their own name, of how many"
    own = run.admitted[run.admitted.kind == kind]
    if kind in PAIRS:
        want = {(r.leader, f) for r in truth.itertuples() for f in r.followers}
        return len(want & {(r.leader, f) for r in own.itertuples() for f in r.followers}), len(want)
    if kind == "sector_rotation":
        a, b = truth.note.iloc[0].split(" to ")
        return int(f"{kind}:{a}>{b}" in set(own.key)), 1
    if kind == "unnamed":
        return 0, 1  # Filled in by the caller, who knows which rows are true
    return int(len(own) > 0), 1


# Runs


def summary(run):
    "What a null run gave"
    import numpy as np
    from scipy.stats import false_discovery_control

    from catalyst.evidence import weights

    t = run.tried[run.tried.p.notna()]
    p = np.minimum(t.p / weights(t.kind), 1)
    return {
        "tried": len(run.tried), "tested": len(t), "least_q": float(t.q.min()), "any_q": int((t.q <= 0.05).sum()), "admitted": len(run.admitted),
        "kinds": sorted(set(run.admitted.kind)), "hochberg": int((false_discovery_control(p) <= 0.05).sum()),
        "plain": int((t.p <= 0.05).sum()), "plain_pays": int(((t.p <= 0.05) & (t.effect_net > 0)).sum()),
        "by_kind": {k: [len(g), *[int((g.p <= a).sum()) for a in (0.05, 0.01, 0.001)], float(g.p.min())] for k, g in t.groupby("kind")},
    }  # fmt: skip


def null(out, seeds, first):
    "Markets in which nothing can be found; in every second one stories move their own stock"
    from catalyst.discover import discover
    from catalyst.planted import plant

    for seed in range(first, first + seeds):
        reaction = 3.0 * (seed % 2)
        kept(
            out, ["null", seed], lambda: {"reaction": reaction} | summary(discover(plant(None, 0, seed, reaction=reaction)[0], COSTS, seed=seed))
        )  # fmt: skip


def days(out, seeds, first):
    "The last session of null markets, run hourly from an hour after the open to the close"
    from catalyst.discover import discover
    from catalyst.planted import plant

    def one(seed):
        fld, _ = plant(None, 0, seed, reaction=3.0 * (seed % 2))
        rows = [len(fld.instants) - 26 + k for k in (3, 7, 11, 15, 19, 23, 25)]
        runs = [summary(discover(fld.until(fld.instants[t]), COSTS)) for t in rows]
        return {"any_q": [r["any_q"] for r in runs], "admitted": [r["admitted"] for r in runs]}

    for seed in range(first, first + seeds):
        kept(out, ["days", seed], lambda: one(seed))


def power(out, seeds, first, kinds):
    "Markets with one planted effect"
    for seed in range(first, first + seeds):
        for kind in kinds:
            for size in SIZES:
                kept(out, ["power", kind, size, seed], lambda: found(kind, size, seed))


def found(kind, size, seed, t=None):
    "What one run finds of what was planted, and of what was not"
    from catalyst.discover import discover

    fld, truth = market(kind, size, seed)
    fld = fld if t is None else fld.until(fld.instants[t])
    run = discover(fld, COSTS)
    rows = list(run.admitted.itertuples())
    right = [size > 0 and true_row(fld, r, truth) for r in rows]
    hit, want = recalled(run, truth, kind)
    if kind == "unnamed":
        hit = int(any(ok and r.kind == kind for ok, r in zip(right, rows)))
    own = [ok for ok, r in zip(right, rows) if r.kind == kind]
    false = sorted({r.kind for ok, r in zip(right, rows) if not ok})
    return {
        "hit": hit if size > 0 else 0, "want": want, "admitted": len(rows), "right": sum(right), "own": len(own), "own_right": sum(own),
        "false": false, "tested": int(run.tried.p.notna().sum()),
    }  # fmt: skip


CUTS = (12, 16, 20, 25, 30, 35, 40, 45, 50, 55, 60)


def delay(out, seeds, first, kinds):
    "The first of CUTS, in sessions, at which the planted kind is admitted; found by halving, so a relation that is lost again may be missed"
    from catalyst.discover import discover

    def one(kind, size, seed):
        fld, truth = market(kind, size, seed)

        def there(k):
            t = int((fld.day < CUTS[k]).sum()) - 1
            run = discover(fld.until(fld.instants[t]), COSTS)
            rows = [r for r in run.admitted.itertuples() if r.kind == kind]
            return any(true_row(fld.until(fld.instants[t]), r, truth) for r in rows)

        low, high = 0, len(CUTS) - 1
        if not there(high):
            return {"sessions": None}
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if there(middle) else (middle + 1, high)
        return {"sessions": CUTS[low]}

    for seed in range(first, first + seeds):
        for kind in kinds:
            for size in (2.0, 4.0):
                kept(out, ["delay", kind, size, seed], lambda: one(kind, size, seed))


# Tables


def table(files):
    "The tables of the page"
    import numpy as np

    from catalyst.shares import wilson

    lines = [json.loads(x) for f in files for x in Path(f).read_text().splitlines()]
    of = lambda what: [x for x in lines if x["run"][0] == what]
    share = lambda hits, n: (
        f"{hits} of {n} ({hits / n:.0%}; {wilson(hits, n)[0]:.1%} to {wilson(hits, n)[1]:.1%})"
    )
    if runs := of("null"):
        for name, own in (
            ("stories mean nothing", [x for x in runs if not x["reaction"]]),
            ("stories move their own stock", [x for x in runs if x["reaction"]]),
            ("all", runs),
        ):
            n = len(own)
            print(
                f"| {name} | {share(sum(x['admitted'] > 0 for x in own), n)} | {share(sum(x['any_q'] > 0 for x in own), n)} | {share(sum(x['hochberg'] > 0 for x in own), n)} | {np.mean([x['plain'] for x in own]):.0f} |"
            )
        print("by kind: tested a run, share p<=0.05, 0.01, 0.001, smallest")
        for k in PLANTED:
            rows = np.array([x["by_kind"][k] for x in runs if k in x["by_kind"]])
            if len(rows):
                print(
                    f"| {k} | {rows[:, 0].sum() / len(runs):.1f} | {rows[:, 1].sum() / rows[:, 0].sum():.3f} | {rows[:, 2].sum() / rows[:, 0].sum():.4f} | {rows[:, 3].sum() / rows[:, 0].sum():.5f} | {rows[:, 4].min():.1e} |"
                )
            else:
                print(f"| {k} | 0 | | | | |")
    if runs := of("days"):
        n = len(runs)
        print(
            "days:",
            "admitted",
            share(sum(any(x["admitted"]) for x in runs), n),
            "q",
            share(sum(any(x["any_q"]) for x in runs), n),
        )
    if runs := of("power"):
        sizes = sorted({x["run"][2] for x in runs})
        print("seeds", len({x["run"][3] for x in runs}))
        for k in PLANTED:
            cells = []
            for s in sizes:
                own = [x for x in runs if x["run"][1:3] == [k, s]]
                if not own:
                    continue
                hit, want, right, every = (
                    sum(x[c] for x in own) for c in ("hit", "want", "right", "admitted")
                )
                cells.append(f"{hit}/{want}, {right}/{every}" if s else f"{every}")
            print(f"| {k} | " + " | ".join(cells) + " |")
        own = [x for x in runs if x["run"][2] == 0]
        print(
            "size none, runs with any admitted:",
            share(sum(x["admitted"] > 0 for x in own), len(own)),
        )
        every = [x for x in runs if x["run"][2] > 0 and x["admitted"]]
        print(
            "mean share of false among admitted, runs with any:",
            np.mean([1 - x["right"] / x["admitted"] for x in every]),
            len(every),
            "of all planted runs:",
            sum(1 - x["right"] / x["admitted"] for x in every)
            / len([x for x in runs if x["run"][2] > 0]),
        )
    if runs := of("delay"):
        for k in PLANTED:
            cells = []
            for s in (2.0, 4.0):
                own = [x["sessions"] for x in runs if x["run"][1:3] == [k, s]]
                known = sorted(x for x in own if x)
                cells.append(
                    f"{known[len(known) // 2]} ({len(known)}/{len(own)})"
                    if known
                    else f"never ({len(own)})"
                )
            print(f"| {k} | " + " | ".join(cells) + " |")


# Cost


def frames(fld):
    "Bars and news frames of a planted field, to make it anew from what a store gives"
    import numpy as np
    import pandas as pd

    starts = (fld.instants - pd.Timedelta("15min")).as_unit("us")
    index = pd.MultiIndex.from_product([fld.ids, starts], names=["security_id", "ts"])
    close = fld.close.T.ravel()
    bars = pd.DataFrame(
        {"open": close, "high": close * 1.001, "low": close * 0.999, "close": close}, index
    )
    bars["volume"] = fld.volume.T.ravel()
    bars["available_at"] = index.get_level_values(1) + pd.Timedelta("15min")
    e = fld.events
    news = pd.DataFrame(
        {
            "news_id": np.arange(len(e)) + 1,
            "story_id": e.story_id,
            "security_id": fld.ids[e.i],
            "headline": "A story",
        }
    )
    news = news.assign(
        source_name="Wire",
        source_tier=e.tier,
        tone=e.tone,
        catalyst_type=e.catalyst_type,
        catalyst_strength=e.strength,
    )
    return bars, news.assign(received_at=e.received_at)


def one(n):
    "An hourly run at `n` securities in a process of its own: making the field, all kinds, correction, findings"
    from catalyst.discover import discover
    from catalyst.field import make_field
    from catalyst.planted import plant

    fld, _ = plant(None, 0, 1, securities=n)
    bars, news = frames(fld)
    names = {int(i): fld.sectors[s] for i, s in zip(fld.ids, fld.sector)}
    resident = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    before, watch, spent = resident(), time.perf_counter(), time.process_time()
    made = make_field(bars, news, names, fld.asof)
    field = time.perf_counter() - watch
    run = discover(made, COSTS)
    seconds = {k: round(v, 2) for k, v in run.seconds.items()}
    told = {
        "securities": n,
        "rows": len(made.instants),
        "field": round(field, 2),
        "seconds": round(time.perf_counter() - watch, 2),
    }
    told |= {
        "cpu": round(time.process_time() - spent, 2),
        "tried": len(run.tried),
        "peak_mb": resident(),
        "before_mb": before,
    }
    print(json.dumps(told | {"kinds": seconds}))


def cost(sizes):
    "One hourly run at several numbers of securities; each in a process of its own"
    for n in sizes:
        out = subprocess.run(
            [sys.executable, __file__, "one", "--securities", str(n)],
            capture_output=True,
            text=True,
        )
        print(out.stdout.strip() or out.stderr[-500:], flush=True)


def pairs():
    "All 4,950 correlations over five sessions, at the end of each of 56 sessions"
    import numpy as np
    from threadpoolctl import threadpool_limits

    from catalyst.correlate import matrix
    from catalyst.field import standardised
    from catalyst.partings import _correlations
    from catalyst.planted import plant

    fld, _ = plant(None, 0, 1)
    z, _ = standardised(fld.abnormal, fld.slot)
    ends = np.flatnonzero(np.diff(fld.day, append=99))[4:] + 1
    windows = [z[t - 130 : t] for t in ends]
    ways = {
        "bare": lambda x: np.corrcoef(x.T),
        "partings": _correlations,
        "correlate.matrix": lambda x: matrix(x, 20),
    }
    with threadpool_limits(1):
        told = {k: [] for k in ways}
        for _ in range(15):
            for name, f in ways.items():
                start = time.perf_counter()
                answers = [f(x) for x in windows]
                told[name].append(time.perf_counter() - start)
        assert np.allclose(answers[-1][0], np.corrcoef(windows[-1].T))
    median = {k: float(np.median(v)) for k, v in told.items()}
    print(
        {k: f"{1000 * v:.1f} ms, {v / median['bare']:.2f} times" for k, v in median.items()},
        "windows",
        len(windows),
    )


def jobs(n):
    "One process against two, the workers warm in the second round"
    from catalyst.discover import discover
    from catalyst.planted import plant

    fld, _ = plant(None, 0, 1, securities=n)
    for many in (1, 2, 1, 2, 1, 2):
        start = time.perf_counter()
        discover(fld, COSTS, jobs=many)
        print(
            {"securities": n, "jobs": many, "seconds": round(time.perf_counter() - start, 2)},
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=["null", "days", "power", "delay", "table", "cost", "one", "pairs", "jobs"]
    )
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--first", type=int, default=None)
    parser.add_argument("--out", nargs="+", default=["discover.jsonl"])
    parser.add_argument("--kinds", nargs="+", default=PLANTED)
    parser.add_argument("--securities", type=int, nargs="+", default=None)
    a = parser.parse_args()
    if a.what == "null":
        null(a.out[0], a.seeds or 100, a.first or 9000)
    elif a.what == "days":
        days(a.out[0], a.seeds or 20, a.first or 9200)
    elif a.what == "power":
        power(a.out[0], a.seeds or 10, a.first or 9300, a.kinds)
    elif a.what == "delay":
        delay(a.out[0], a.seeds or 3, a.first or 9300, a.kinds)
    elif a.what == "table":
        table(a.out)
    elif a.what == "cost":
        cost(a.securities or [100, 200, 400, 800])
    elif a.what == "pairs":
        pairs()
    elif a.what == "jobs":
        jobs((a.securities or [100])[0])
    else:
        one((a.securities or [100])[0])
