"Event study: finds what was planted, finds nothing when instants are shuffled, and draws days instead of items."

import os

import numpy as np
import pandas as pd
import pytest

from catalyst.core import Timeframe
from catalyst.events import (
    MINUTES,
    bands,
    event_paths,
    events_of,
    holm,
    path_svg,
    shuffled,
    verdicts,
)
from catalyst.simulate import SimulatedFeed


@pytest.fixture(scope="module")
def world():
    "Bars, events and the market's id of sixty simulated sessions; `size` is what was planted"
    feed = SimulatedFeed(seed=11, session="2025-08-13", history_sessions=60)
    ids = {s: i + 1 for i, s in enumerate(sorted(feed.assets().symbol))}
    w = feed.window
    raw = feed.bars(None, Timeframe.MIN15, w[0].opens, w[-1].closes, w[-1].closes)
    bars = raw.assign(security_id=raw.symbol.map(ids)).drop(columns="symbol")
    bars = bars.set_index(["security_id", "ts"]).sort_index()
    truth = feed.truth().dropna(subset=["item_id"])
    truth = truth[
        ~truth.kind.isin(["rumour", "denial"])
        & (truth["at"] > w[21].opens)
        & (truth["at"] < w[-7].closes)
    ]
    events = truth.assign(
        security_id=truth.symbol.map(ids), planted=truth.kind, kind=truth.catalyst_type
    )
    return bars, events.reset_index(drop=True), ids["SIMKET"]


def at(paths, measure, step, unit="minute", kind=None):
    p = paths[(paths.measure == measure) & (paths.unit == unit) & (paths.step == step)]
    return p.iloc[0] if kind is None else p[p.kind == kind].iloc[0]


def test_the_planted_effect_is_recovered(world):
    bars, events, market = world
    toned = events[events.tone != 0]
    planted = (np.sign(toned.tone) * np.expm1(toned["size"])).mean()
    paths = event_paths(events.assign(kind="any"), bars, market)
    told = at(paths, "directed", 240)
    assert told.low < planted < told.high and told.low > 0.02
    assert at(paths, "volume", 15).low > 1.3 and abs(at(paths, "volume", -15)["mean"] - 1) < 0.15


def test_its_shape_is_recovered_too(world):
    "What opens at twice its worth comes back, and what is ignored does nothing"
    bars, events, market = world
    paths = event_paths(events.assign(kind=events.planted), bars, market)
    over = events[events.planted == "overreaction"]
    first, end = (at(paths, "return", s, kind="overreaction")["mean"] for s in (15, 240))
    assert first > 1.6 * end > 0 and end == pytest.approx(np.expm1(over["size"]).mean(), rel=0.25)
    ignored = at(paths, "directed", 240, kind="ignored")
    assert ignored.low < 0 < ignored.high and ignored.events > 100


def test_before_the_news_there_is_nothing(world):
    bars, events, market = world
    paths = event_paths(events.assign(kind="any"), bars, market)
    before = paths[(paths.measure == "directed") & (paths.unit == "minute") & (paths.step < 0)]
    assert (before["mean"].abs() < 0.0012).all() and len(before) == 4
    assert at(paths, "directed", 0)["mean"] == 0


def test_placebo_nothing_is_found_when_instants_are_shuffled(world):
    bars, events, market = world
    found = verdicts(event_paths(events, bars, market), 240)
    assert (found.p_holm < 0.05).sum() >= 5 and found["mean"]["results"] > 0.03
    kept = 0
    for seed in range(5):
        placebo = shuffled(events, seed)
        kept += int((verdicts(event_paths(placebo, bars, market), 240).p_holm < 0.05).sum())
        whole = at(event_paths(placebo.assign(kind="any"), bars, market), "directed", 240)
        assert abs(whole["mean"]) < 0.004
    assert kept <= 1, "five studies of a dozen kinds: one finding would be a rare accident"


def test_guard_18_bars_after_a_step_do_not_change_it(world):
    bars, events, market = world
    one = events[events.planted == "news"].iloc[[40]].assign(kind="any")
    now = event_paths(one, bars, market)
    wild = bars.copy()
    wild.loc[wild.available_at > one["at"].item() + pd.Timedelta("20min"), ["close", "volume"]] *= (
        3.0
    )
    then = event_paths(one, wild, market)
    early = (now.unit == "minute") & (now.step <= 0)
    pd.testing.assert_frame_equal(now[early], then[early])
    assert not now.equals(then)


def test_the_order_of_events_does_not_matter(world):
    bars, events, market = world
    some = events.head(200)
    a, b = (event_paths(e, bars, market) for e in (some, some.sample(frac=1, random_state=2)))
    pd.testing.assert_frame_equal(a, b)


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
def test_days_are_drawn_and_not_items():
    "Under the truth of no effect, bands of days miss zero in about 5 percent of cases, those of items in most"
    draw, miss = np.random.default_rng(0), np.zeros(2)
    for _ in range(60):
        day = np.repeat(np.arange(40), 20)
        values = (draw.normal(0, 1, 40)[day] + draw.normal(0, 0.3, 800))[:, None]
        for i, cluster in enumerate((day, np.arange(800))):
            b = bands(values, cluster).iloc[0]
            miss[i] += not b.low < 0 < b.high
    assert miss[0] <= 8 and miss[1] >= 30


def test_few_days_have_no_band_and_no_events_no_mean():
    told = bands(np.array([[1.0, np.nan], [2.0, np.nan]]), np.array(["a", "b"])).iloc
    assert told[0]["mean"] == 1.5 and np.isnan(told[0].low) and told[0].days == 2
    assert np.isnan(told[1]["mean"]) and told[1].events == 0
    empty = pd.DataFrame({"security_id": pd.Series(dtype="int64"), "kind": [], "tone": []})
    empty["at"] = pd.Series(dtype="datetime64[us, UTC]")
    bars = pd.DataFrame(
        {
            "close": [1.0],
            "volume": [1.0],
            "available_at": pd.to_datetime(["2025-08-13 13:45"], utc=True),
        }
    )
    bars.index = pd.MultiIndex.from_tuples(
        [(1, pd.Timestamp("2025-08-13 13:30", tz="UTC"))], names=["security_id", "ts"]
    )
    assert len(event_paths(empty, bars, 1)) == 0


def test_each_security_can_have_its_own_benchmark(world):
    bars, events, market = world
    some = events[events.planted == "news"].head(100).assign(kind="any")
    same = pd.Series(market, some.security_id.unique())
    pd.testing.assert_frame_equal(event_paths(some, bars, market), event_paths(some, bars, same))
    itself = pd.Series(same.index, same.index)
    assert (
        event_paths(some, bars, itself).query("measure == 'return'")["mean"].dropna() == 0
    ).all()


def test_holm():
    assert holm([0.01, 0.02, 0.03]).tolist() == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert np.isnan(holm([np.nan])).all() and holm([0.04, np.nan])[0] == 0.04


def test_one_event_per_story_and_security():
    t = pd.Timestamp("2025-08-13 14:00", tz="UTC")
    news = pd.DataFrame(
        {
            "news_id": range(5),
            "story_id": [1, 1, 1, None, None],
            "security_id": [1, 1, 2, 3, None],
            "catalyst_type": ["fda", "general", "fda", None, "fda"],
            "tone": 0.1,
        }
    )
    got = events_of(news.assign(received_at=[t + pd.Timedelta(minutes=5 - i) for i in range(5)]))
    assert got[["security_id", "kind"]].values.tolist() == [[2, "fda"], [1, "general"]]


def test_the_picture_holds_every_step(world):
    bars, events, market = world
    drawn = path_svg(event_paths(events.assign(kind="any"), bars, market), "any")
    assert drawn.split('polyline points="')[1].split('"')[0].count(",") == len(MINUTES)
    assert "script" not in drawn and drawn.endswith("</svg>")


def test_real_news_moves_more_than_shuffled_news(shared):
    "May to November 2025, 15-minute bars: the first quarter of an hour after an item is larger than at shuffled instants"
    d = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    ids = {s: i + 1 for i, s in enumerate(sorted(d.symbol.astype(str).unique()))}
    ts = d.ts.astype("datetime64[us, UTC]")
    bars = pd.DataFrame({c: d[c].astype(float) for c in ("close", "volume")})
    bars = bars.assign(
        security_id=d.symbol.astype(str).map(ids).astype("int64"),
        ts=ts,
        available_at=ts + pd.Timedelta("15min"),
    )
    bars = bars.set_index(["security_id", "ts"]).sort_index()
    n = pd.read_parquet(shared / "real_news_2025.parquet")
    n = n[n.symbols.isin(ids) & (n.published_at > "2025-06-12")]
    events = pd.DataFrame(
        {
            "security_id": n.symbols.map(ids).astype("int64"),
            "at": n.published_at,
            "kind": "any",
            "tone": np.nan,
        }
    )
    events = events[events.security_id != ids["SPY"]].reset_index(drop=True)
    size = lambda e: at(event_paths(e, bars, ids["SPY"]), "size", 15)
    real, placebo = size(events), size(shuffled(events))
    assert real.events > 5000 and real["mean"] > placebo["mean"]
