"""What a search for followers finds where nothing is, where something is, and what it costs.

    python benchmarks/discover.py null  [--seeds 40] [--reaction 0]     share of null markets with any admitted relation
    python benchmarks/discover.py power [--seeds 10]                    precision, recall and cases by size of the planted effect
    python benchmarks/discover.py cost  [--securities 100 200 400]      processor seconds and peak memory of one run, and of all correlations

Markets are SIMULATED (`catalyst.planted`): 100 securities, 60 sessions of quarter hours, ten sectors, fat tails, wild hours in common.
Admitted means q <= 0.05 (Benjamini-Yekutieli over everything tried in the run, every kind with the same part) and an effect above costs of 2 bp a trade.
"""

import argparse
import json
import resource
import sys
import time

KINDS = ["catalyst_sympathy", "lead_lag", "momentum_cascade"]


def null(seeds, first, reaction):
    "Runs on markets in which nothing can be found"
    import numpy as np

    from catalyst.evidence import admit, correct, weights
    from catalyst.followers import try_all
    from catalyst.planted import plant
    from catalyst.shares import wilson

    from scipy.stats import false_discovery_control

    any_, believed, cheap, below = 0, 0, 0, {k: [] for k in KINDS}
    for seed in range(first, first + seeds):
        field, _ = plant(None, 0, seed, reaction=reaction)
        tried = correct(try_all(field, 2.0, np.random.default_rng(seed)))
        any_ += len(admit(tried)) > 0
        believed += (tried.q <= 0.05).any()
        p = tried.p / weights(tried.kind)
        cheap += (false_discovery_control(np.minimum(p.dropna(), 1)) <= 0.05).any()
        for k, g in tried.groupby("kind"):
            below[k].append([(g.p <= p).mean() for p in (0.05, 0.01, 0.001)] + [len(g), g.p.min()])
        print(seed, len(tried), round(float(tried.q.min()), 3), len(admit(tried)), flush=True)
    low, high = wilson(believed, seeds)
    print(
        f"null markets {seeds}, reaction {reaction}: with any q <= 0.05 {believed} (Wilson {low:.3f} to {high:.3f}), with any admitted {any_}; Benjamini-Hochberg would say {cheap}"
    )
    for k, rows in below.items():
        if rows:
            a = np.array(rows)
            print(
                f"  {k:20} tried {a[:, 3].mean():7.0f}  p<=0.05 {a[:, 0].mean():.4f}  p<=0.01 {a[:, 1].mean():.4f}  p<=0.001 {a[:, 2].mean():.5f}  smallest {a[:, 4].min():.1e}"
            )


def power(seeds, kinds):
    "Runs on markets with one planted effect"
    import numpy as np

    from catalyst.evidence import admit, correct
    from catalyst.followers import try_all
    from catalyst.planted import SIZES, plant

    for kind in kinds:
        for size in SIZES[1:]:
            hit = wanted = admitted = right = believed = 0
            for seed in range(1000, 1000 + seeds):
                field, truth = plant(kind, size, seed)
                tried = correct(try_all(field, 2.0, np.random.default_rng(seed)))
                want = pairs(truth)
                got = {
                    (r.kind, r.leader, f) for r in admit(tried).itertuples() for f in r.followers
                }
                sure = tried[tried.q <= 0.05]
                known = {(r.kind, r.leader, f) for r in sure.itertuples() for f in r.followers}
                hit, wanted, admitted = (
                    hit + len(want & got),
                    wanted + len(want),
                    admitted + len({g[1:] for g in got}),
                )
                right += len(
                    {g[1:] for g in got if any(w[1:] == g[1:] for w in want) or related(g, truth)}
                )
                believed += len(want & known)
            print(
                f"{kind:18} size {size:3}: recall {hit}/{wanted}, q<=0.05 before costs {believed}/{wanted}, admitted pairs {admitted}, of these true {right}",
                flush=True,
            )


def pairs(truth):
    "What is to be found: leader and follower, by kind"
    return {(r.kind, r.leader, f) for r in truth.itertuples() for f in r.followers}


def related(got, truth):
    "A true relation under another name: both of one planted team, the earlier one leading"
    teams = [(r.leader, *r.followers) for r in truth.itertuples()]
    return any(got[1] in t and got[2] in t for t in teams)


def cost(sizes):
    "One run at several numbers of securities; each in a process of its own"
    import subprocess

    for n in sizes:
        out = subprocess.run(
            [sys.executable, __file__, "one", "--securities", str(n)],
            capture_output=True,
            text=True,
        )
        print(out.stdout.strip() or out.stderr[-500:], flush=True)


def one(n):
    "Seconds of processor time of each part, and peak memory"
    import numpy as np

    from catalyst.evidence import correct
    from catalyst.field import standardised
    from catalyst.followers import try_cascade, try_lead_lag, try_sympathy
    from catalyst.planted import plant

    field, _ = plant(None, 0, 1, securities=n)
    rng, told, watch = np.random.default_rng(1), {"securities": n}, time.process_time
    parts = {
        "sympathy": lambda: try_sympathy(field, 2.0, rng),
        "lead_lag": lambda: try_lead_lag(field, 2.0),
        "cascade": lambda: try_cascade(field, 2.0, rng),
    }
    frames = []
    for name, run in parts.items():
        start = watch()
        frames.append(run())
        told[name] = round(watch() - start, 2)
    start = watch()
    tried = correct(frames)
    told |= {"correct": round(watch() - start, 2), "tried": len(tried)}
    z, _ = standardised(field.abnormal, field.slot)
    start = watch()
    np.corrcoef(z.T)
    told |= {
        "corrcoef": round(watch() - start, 4),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["null", "power", "cost", "one"])
    parser.add_argument("--seeds", type=int, default=None)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--reaction", type=float, default=0.0)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--securities", type=int, nargs="+", default=[100, 200, 400])
    told = parser.parse_args()
    if told.what == "null":
        null(told.seeds or 40, told.first, told.reaction)
    elif told.what == "power":
        power(told.seeds or 10, told.kinds)
    elif told.what == "cost":
        cost(told.securities)
    else:
        one(told.securities[0])
