"Many instants at once: every row is the row of `features` at that instant, and nothing knows the future."

import os
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from test_features import altered, items
from test_indicators import OHLCV, bars_frame, walk

import catalyst.panel as page
from catalyst.clock import get_session, slots
from catalyst.config import Config
from catalyst.core import InputError
from catalyst.features import COLUMNS, FROM_INDICATORS, features
from catalyst.indicators import indicators
from catalyst.panel import as_instants, columns_of, panel, panels, runs
from catalyst.patterns import detect

LAST = get_session("2025-07-22")  # The last session of the walk
WALK = walk(26 * 22, seed=9, ids=(1, 2, 3, 4, 5, 6))
SECTORS = pd.Series({1: 45, 2: 45, 3: 20, 4: 45, 5: None, 6: 45, 77: 45}, dtype="Int64")


def hours(days, every=45):
    "Slots, two hours before the open, at its first minute, late in the evening, and an instant off the grid"
    out = []
    for s in (get_session(d) for d in days):
        out += [*slots(s, every), s.opens - timedelta(hours=2), s.opens + timedelta(minutes=1)]
        out += [s.ends - timedelta(minutes=1), s.opens + timedelta(minutes=47, seconds=13)]
    return out


def harmed(bars, seed):
    "Holes, bars without a price, bars that arrive late by minutes or by days, a young security, one that stopped"
    draw, bars = np.random.default_rng(seed), bars.copy()
    ids, ts = bars.index.get_level_values(0), bars.index.get_level_values(1)
    bars = bars[~((ids == 2) & (draw.random(len(bars)) < 0.4)) & ~((ids == 5) & (ts < LAST.opens))]
    ids, ts = bars.index.get_level_values(0), bars.index.get_level_values(1)
    bars = bars[~((ids == 6) & (ts > LAST.opens - timedelta(days=12)))]
    lost = draw.random(len(bars)) < 0.01
    bars.loc[lost, "close"] = np.nan
    late = (bars.index.get_level_values(0) == 3) & (draw.random(len(bars)) < 0.2)
    delay = pd.to_timedelta(draw.choice([7, 60, 24 * 60], late.sum()), unit="min").as_unit("us")
    bars.loc[late, "available_at"] += delay
    return bars


def world(bars, middle):
    "Bars with indicators, patterns and news around an instant; one item and one pattern of a security without bars"
    news = items(middle, [*bars.index.unique(0), 77], n=200)
    patterns = detect(bars.dropna(), "15min")
    strange = patterns.tail(1).assign(security_id=77)
    ind = indicators(bars.dropna(), "15min").reindex(bars.index)
    return bars, ind, pd.concat([patterns, strange]), news


def one_by_one(data, instants, **more):
    bars, ind, patterns, news = data
    rows = {
        t: features(bars, t.to_pydatetime(), ind, patterns, news, **more)
        for t in as_instants(instants)
    }
    return pd.concat(rows, names=["asof"])


def same(data, instants, **more):
    bars, ind, patterns, news = data
    rows = panel(bars, instants, ind, patterns, news, **more)
    pd.testing.assert_frame_equal(rows, one_by_one(data, instants, **more), rtol=1e-9, atol=1e-12)
    return rows


@pytest.fixture(scope="module")
def data():
    return world(harmed(WALK, 1), LAST.opens + timedelta(hours=3))


def test_row_for_row(data):
    "Two sessions with every harm, before the open, in the first slots and in the evening"
    rows = same(data, hours(["2025-07-21", "2025-07-22"]), sectors=SECTORS)
    assert list(rows.columns) == COLUMNS and rows.index.names == ["asof", "security_id"]
    assert (
        rows[["pattern_type", "news_id", "peer_security_id", "relative_volume"]].notna().any().all()
    )
    assert 77 not in rows.index.get_level_values(1) and rows.day_open.isna().any()


@pytest.mark.parametrize("given", [(), ("ind",), ("patterns",), ("news",)])
def test_row_for_row_whatever_is_given(data, given):
    bars, *rest = data
    rest = [
        x if n in given else None for n, x in zip(("ind", "patterns", "news"), rest, strict=True)
    ]
    same((bars, *rest), hours(["2025-07-22"], 90), config=Config({"max_news_age_hours": 3.0}))


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
def test_early_history(data):
    "The first sessions of all: nothing before them, then fewer than five"
    same(data, hours(["2025-06-23", "2025-06-24", "2025-06-30"], 120))
    nobody = panel(data[0], hours(["2025-05-01"]))
    assert len(nobody) == 0 and list(nobody.columns) == COLUMNS
    assert len(panel(data[0], [])) == 0 and list(panel(data[0], []).columns) == COLUMNS


@pytest.mark.parametrize("seed", range(12 if os.environ.get("CATALYST_LONG") else 2))
def test_any_order_of_arrival(seed):
    "Bars whose arrival has nothing to do with their order"
    draw, bars = np.random.default_rng(seed), walk(26 * 9, seed=seed, ids=(1, 2, 3))
    late = draw.random(len(bars)) < 0.3
    delay = pd.to_timedelta(draw.integers(0, 3000, late.sum()), unit="min").as_unit("us")
    bars.loc[late, "available_at"] += delay
    same((bars, None, None, None), hours(["2025-07-02", "2025-07-03"], 65))


def test_pt_old_bars_that_arrive_today_cut_the_day():
    told = columns_of(WALK)
    yesterday = np.flatnonzero(told["day"] == told["day"].max() - 1)[-1]
    told["at"] = told["at"].copy()
    told["at"][yesterday] = int(LAST.opens.timestamp() * 1e6) + 3_600_000_000
    parts = list(runs(told, int(told["day"].max()), as_instants(slots(LAST))))
    assert [len(t) for _, _, t in parts] == [4, 23]


def test_memory_is_bounded_by_blocks(data, monkeypatch):
    "Small blocks give the same rows"
    rows = panel(data[0], hours(["2025-07-22"]))
    monkeypatch.setattr(page, "PLACES", 300)
    assert len(list(runs(columns_of(WALK), 20291, as_instants(slots(LAST))))) > 5
    pd.testing.assert_frame_equal(panel(data[0], hours(["2025-07-22"])), rows)


def test_te_news_counts_while_it_was_known(data):
    "An item that was replaced, one that changed its story, one received later than published; strengths as of"
    t = as_instants(slots(LAST))
    at = t[[0, 3, 3, 6]]
    news = pd.DataFrame(
        {
            "news_id": [1, 2, 3, 3], "story_id": [10, 10, 11, 12], "security_id": 1, "headline": list("abcd"),
            "published_at": at - pd.Timedelta("3h"), "received_at": t[[0, 3, 3, 3]], "known_from": at, "known_until": [t[3], pd.NaT, t[6], pd.NaT],
            "tone": 0.5, "catalyst_type": "results", "catalyst_strength": 0.9,
        }
    )  # fmt: skip
    worth = {10: 0.2, 11: 0.3, 12: 0.1}
    strengths = pd.DataFrame(
        [(i, s, 1, w + 0.001 * n) for n, i in enumerate(t) for s, w in worth.items()],
        columns=["asof", "story_id", "security_id", "story_strength"],
    )
    rows = panel(data[0], t, news=news, strengths=strengths).xs(1, level=1)
    assert rows.headline.tolist() == ["a"] * 3 + ["c"] * 3 + ["b"] * 21
    assert rows.news_count.tolist() == [1.0] * 3 + [2.0] * 24
    expected = [0.2] * 3 + [0.3] * 3 + [0.2] * 21
    np.testing.assert_allclose(rows.catalyst_score, expected + 0.001 * np.arange(27))


def test_the_future_changes_nothing(data):
    cut = LAST.opens + timedelta(hours=2)
    instants = hours(["2025-07-22"], 60)
    rows = panel(*(data[0], instants), *data[1:], sectors=SECTORS)
    bars, ind, patterns, news = altered(data, cut, 3)
    again = panel(bars.sort_index(), instants, ind, patterns, news, sectors=SECTORS)
    past = rows.index.get_level_values(0) <= cut
    pd.testing.assert_frame_equal(again[again.index.get_level_values(0) <= cut], rows[past])
    assert not again[again.index.get_level_values(0) > cut].equals(rows[~past])


LEAKS = {
    "columns_of": lambda told: {**told, "at": told["ts"]},  # A bar is known when it begins
    "patterns_at": lambda found: found.assign(pattern_confidence=1.0),
    "news_at": lambda found: found.assign(age_hours=found.age_hours + 0.25),
}


@pytest.mark.parametrize("name", list(LEAKS))
def test_te_a_planted_leak_is_caught(data, monkeypatch, name):
    right = getattr(page, name)
    monkeypatch.setattr(page, name, lambda *a: LEAKS[name](right(*a)))
    with pytest.raises(AssertionError):
        same(data, hours(["2025-07-22"], 120))


def test_refusals(data):
    with pytest.raises(InputError, match="instants"):
        panel(data[0], [LAST.opens.replace(tzinfo=None)])
    with pytest.raises(InputError, match="volume is missing"):
        panel(data[0].drop(columns="volume"), [LAST.opens])


def test_session_by_session_is_the_whole(data):
    asked = hours(["2025-07-21", "2025-07-22"], 120)
    parts = list(panels(data[0], asked, news=data[3]))
    assert len(parts) == 2
    pd.testing.assert_frame_equal(pd.concat(parts), panel(data[0], asked, news=data[3]))


def test_real_bars(shared):
    "A half day and its neighbour, 101 securities with their own holes, three instants each beside the open"
    bars = bars_frame(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet"))
    ts = bars.index.get_level_values(1)
    bars = bars[
        (ts > pd.Timestamp("2025-05-27", tz="UTC")) & (ts < pd.Timestamp("2025-07-08", tz="UTC"))
    ]
    sectors = pd.Series(bars.index.unique(0) % 7, index=bars.index.unique(0))
    asked = [
        t
        for d in ("2025-07-03", "2025-07-07")
        for t in (*slots(get_session(d))[:3], *hours([d], 150))
    ]
    middle = get_session("2025-07-07").opens
    news = items(middle, bars.index.unique(0), n=600)
    patterns = detect(
        bars[bars.index.get_level_values(1) > pd.Timestamp("2025-06-20", tz="UTC")], "15min"
    )
    data = bars, indicators(bars, "15min"), patterns, news
    rows = same(data, asked, sectors=sectors)
    assert rows.groupby(level=0).size().max() == 101
    assert rows[FROM_INDICATORS].notna().mean().min() > 0.3 and set(OHLCV) - set(rows.columns)


@pytest.mark.skipif(
    not os.environ.get("CATALYST_LONG"), reason="a year takes half a minute: CATALYST_LONG=1"
)
def test_a_year_stays_small(shared):
    import resource

    bars = bars_frame(pd.read_parquet(shared / "ibkr_15min_101_2025.parquet"))
    days = pd.DatetimeIndex(bars.index.get_level_values(1)).date
    rows = panel(bars, [t for d in sorted(set(days)) for t in slots(get_session(str(d)))])
    assert len(rows) > 400_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3e6
