"""Stories: 120,000 headlines to stories on one core.

    python benchmarks/stories.py [--items 120000] [--one-window] [--same] [--judge]

The headlines are the 18,349 of ../shared/data/real_news_2025.parquet, then copies of them until there are enough. A copy drops a
word, swaps two neighbours, gets "- report" at its end, or has one word replaced by an invented one (a quarter each), and is
published up to two days after its original. `--one-window` moves everything into two days, where every item can meet every other;
`--same` makes one flood: one template with one invented name per item. Without the file the headlines are made of invented words.
"""

import argparse
import os
import resource
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from catalyst.clock import Stopwatch  # noqa: E402
from catalyst.items import judge_batch  # noqa: E402
from catalyst.stories import link, memberships  # noqa: E402

FILE = Path(__file__).resolve().parents[2] / "shared" / "data" / "real_news_2025.parquet"


def originals(rng):
    "Headlines and instants"
    if FILE.exists():
        return pd.read_parquet(FILE, columns=["headline", "published_at"])
    words = np.array([f"name{i}" for i in range(4000)] + ["profit", "stock", "rises", "deal"] * 50)
    text = [" ".join(rng.choice(words, 9)) for _ in range(18_349)]
    at = pd.Timestamp("2025-01-01", tz="UTC") + pd.to_timedelta(
        np.sort(rng.integers(0, 320 * 1440, len(text))), "min"
    )
    return pd.DataFrame({"headline": text, "published_at": at})


def copy(text, rng):
    "One headline, changed a little"
    words, how = text.split(), int(rng.integers(4))
    if how == 0 and len(words) > 3:
        words.pop(int(rng.integers(len(words))))
    elif how == 1 and len(words) > 3:
        i = int(rng.integers(len(words) - 1))
        words[i], words[i + 1] = words[i + 1], words[i]
    elif how == 2:
        words += ["-", "report"]
    else:
        words[int(rng.integers(len(words)))] = f"w{int(rng.integers(5000))}"
    return " ".join(words)


def make(n, one_window, flood):
    "`n` items, and from which original each comes"
    rng = np.random.default_rng(1)
    base = originals(rng)
    of = np.r_[np.arange(min(n, len(base))), rng.integers(0, len(base), max(0, n - len(base)))]
    heads = base.headline.to_numpy()
    text = [heads[i] if k < len(base) else copy(heads[i], rng) for k, i in enumerate(of)]
    if flood:
        text = [f"Acme opens Boltwood plant in Town{i}" for i in range(n)]
    late = np.where(np.arange(n) < len(base), 0, rng.integers(0, 2 * 1440, n))
    at = base.published_at.iloc[of].array + pd.to_timedelta(late, "min")
    if one_window:
        at = pd.Timestamp("2025-08-13", tz="UTC") + pd.to_timedelta(
            np.sort(rng.integers(0, 2 * 1440, n)), "min"
        )
    items = pd.DataFrame(
        {
            "feed": "bench",
            "item_id": [f"i{k}" for k in range(n)],
            "content_hash": "",
            "headline": text,
        }
    )
    return items.assign(
        symbols=[[]] * n, published_at=at.as_unit("us"), received_at=at.as_unit("us")
    ), of


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=120_000)
    parser.add_argument("--one-window", action="store_true")
    parser.add_argument("--same", action="store_true")
    parser.add_argument(
        "--judge", action="store_true", help="judge the batch first, as an import does"
    )
    args = parser.parse_args()
    items, of = make(args.items, args.one_window, args.same)
    watch = Stopwatch()
    if args.judge:
        full = items.assign(
            summary="",
            source="bench",
            url="https://bench/" + items.item_id,
            event_at=None,
            revised_at=None,
        )
        judged, verdicts = judge_batch(full)
        print(f"judged in {watch.seconds:.1f} s, {(verdicts.why == '').sum():,} usable")
        items, full = judged.assign(content_hash=""), None
        watch = Stopwatch()
    links = link(items)
    linked = watch.seconds
    told = memberships(items, links).groupby("revision_id").first_id.last()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(items):,} items: {watch.seconds:.1f} s ({linked:.1f} s for links), {len(links):,} links, {told.nunique():,} stories, peak {peak:,.0f} MB"
    )
    if not args.same:
        first = pd.Series(told.to_numpy()[: len(of)]).groupby(of).agg(["nunique", "size"])
        print(
            f"originals with copies whose copies are all in one story: {(first['nunique'] == 1)[first['size'] > 1].mean():.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
