"A stored span as it looked at every instant: the rows of the desk, on a real session and through every kind of change."

import os
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from catalyst import desk as desk_page
from catalyst.arrivals import take_news
from catalyst.bars import import_bars
from catalyst.clock import get_session, parse_instant, session_offset, slots
from catalyst.clockwork import suspended
from catalyst.config import Config
from catalyst.core import InputError, PositionSide, Settings, World
from catalyst.desk import look, open_desk
from catalyst.dims import securities
from catalyst.features import features
from catalyst.history import read_bars
from catalyst.indicators import indicators
from catalyst.intake import take_file
from catalyst.news import read_news
from catalyst.newsfiles import NewsFile
from catalyst.panel import as_instants
from catalyst.patterns import detect
from catalyst.plans import Idea, Setup
from catalyst.peers import PEER_COLUMNS
from catalyst.ports import NEWS_COLUMNS
from catalyst.schema import scratch_store
from catalyst.simulate import SimulatedFeed
from catalyst.strength import known_terms
from catalyst.study import (
    HISTORY_SESSIONS,
    PATTERN_SESSIONS,
    by_session,
    decided,
    first_of_day,
    late_arrivals,
    news_intervals,
    pieces,
    study,
    trials,
)

DAY = get_session("2025-08-13")
WHEN = as_instants(slots(DAY))
CONFIG = Config()
EAGER = Config({"min_confidence": 0.0, "min_catalyst_score": 0.05, "min_tone": 0.05})


def asked(store, t, config=CONFIG):
    "The row of one instant, read as the desk reads it"
    bars = read_bars(store, t, start=session_offset(DAY.day, -HISTORY_SESSIONS).opens)
    since = pd.Timestamp(session_offset(DAY.day, -PATTERN_SESSIONS).opens)
    found = detect(bars[bars.index.get_level_values("ts") >= since], "15min", since=DAY.starts)
    news = read_news(store, t, since=t - timedelta(hours=config.max_news_age_hours))
    news = news[~news.source_id.isin(suspended(store, t))]
    key = ["story_id", "security_id"]
    terms = known_terms(store, t).rename(columns={"strength": "story_strength"})
    news = news.merge(terms[[*key, "story_strength"]], how="left", on=key)
    newest = indicators(bars, "15min", last_only=True)
    return features(bars, t, newest, found, news, config, securities(store).sector_id)


def one_by_one(store, when, config=CONFIG):
    return pd.concat({t: asked(store, t.to_pydatetime(), config) for t in when}, names=["asof"])


def simulated(store, symbols=5, change=lambda bars: bars):
    feed = SimulatedFeed(seed=5, session=DAY.day)
    names = feed.assets().symbol[:symbols]
    bars = feed.bars(names, "15min", DAY.opens - timedelta(40), DAY.ends, DAY.ends)
    import_bars(store, change(bars), "15min", feed.name, DAY.ends)
    store.run("update securities set sector_id = 1 + security_id % 2")
    return list(names)


def item(n, symbols, headline, received, source="Reuters", late=0.0, **more):
    "One row of NEWS_COLUMNS; `late`: hours between publication and receipt"
    at = pd.Timestamp(parse_instant(received))
    told = {
        "feed": "wire", "item_id": str(n), "symbols": symbols, "headline": headline, "summary": None, "source": source, "url": None,
        "event_at": None, "published_at": at - pd.Timedelta(hours=late), "received_at": at, "revised_at": None, **more,
    }  # fmt: skip
    return {c: told[c] for c in NEWS_COLUMNS}


def changing(symbols):
    "A day on which items are replaced, told again, joined into one story and late"
    a, b, c, d, e = ([s] for s in symbols[:5])
    t = "2025-08-{}-04:00".format
    return [
        item(1, a, "Acme wins a record contract with the navy worth 4 billion", t("13T08:00:00")),
        item(1, a, "Acme loses the contract with the navy after all, shares halted", t("13T11:10:00")),
        item(2, b, "Bolt shares surge after results beat expectations and outlook is raised", t("13T07:00:00")),
        item(3, b, "Bolt shares surge after results beat expectations and outlook is raised", t("13T10:20:00"), "AP"),
        item(4, b, "Bolt shares surge after results beat expectations and the outlook is raised", t("13T10:50:00"), "Dow Jones", late=1.1),
        item(5, d, "Core to be bought by a rival for 20 dollars a share", t("13T12:40:00"), late=4.0),
        item(6, c, "Core cut to sell at a bank", t("13T09:30:00"), "Some Blog"),
        item(7, c, "Core cut to sell at another bank", t("13T14:00:00"), "Some Blog"),
        item(8, [], "Stocks fall as rates rise", t("13T09:45:00")),
        item(9, e, "Echo to the moon, hidden gem, guaranteed gains, act now", t("13T13:31:00"), "Promo One"),
        item(10, e, "Echo to the moon, hidden gem, guaranteed gains, act now", t("13T14:10:00"), "Promo Two", late=0.7),
    ]  # fmt: skip


def with_news(store, **more):
    symbols = simulated(store, **more)
    take_news(store, [pd.DataFrame([x]) for x in changing(symbols)], DAY.ends)
    return symbols


def test_same_constants_as_the_desk():
    ours, theirs = (
        (HISTORY_SESSIONS, PATTERN_SESSIONS),
        (desk_page.HISTORY_SESSIONS, desk_page.PATTERN_SESSIONS),
    )
    assert ours == theirs


@pytest.fixture(scope="module")
def filled():
    "For tests that only read"
    with scratch_store() as store:
        with_news(store)
        yield store


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
def test_every_change_of_the_news(filled):
    "Replaced, joined, late, pushed: around each change, each instant read alone"
    rows = study(filled, DAY.day, DAY.day)
    when = WHEN[[0, 1, 3, 4, 5, 6, 7, 12, 13, 17, 18, 19, 26]]
    pd.testing.assert_frame_equal(rows.loc[when], one_by_one(filled, when), rtol=1e-9)
    told = news_intervals(filled, DAY.starts - timedelta(3), DAY.ends)
    assert told.known_until.notna().sum() >= 1 and rows.headline.nunique() >= 5
    late = rows[rows.headline.str.contains("rival", na=False)].index.get_level_values(0)
    assert len(late) and late.min() >= pd.Timestamp("2025-08-13T16:40Z")  # Received, not published


@pytest.mark.skipif(not os.environ.get("CATALYST_LONG"), reason="CATALYST_LONG=1")
def test_records_and_suspensions_begin_when_they_were_made(scratch):
    "A source's record changes at noon, a clock is found wrong at one"
    with_news(scratch)
    scratch.run(
        """insert into source_reliability (source_id, usable_from, items, hits, reliability)
           select source_id, cast('2025-08-13T16:00Z' as timestamptz), 90, 80, 0.9 from news_sources where source_name in ('Reuters', 'AP')"""
    )
    scratch.run(
        """insert into news_clock_audits (source_id, checked_at, items, pairs, fault, late_hours, confidence, evidence)
           select source_id, cast('2025-08-13T17:00Z' as timestamptz), 90, 0, 'local time labelled UTC', 4, 0.9, 'a test' from news_sources
           where source_name = 'Some Blog'"""
    )
    rows = study(scratch, DAY.day, DAY.day)
    when = WHEN[[9, 10, 11, 13, 14, 15]]
    pd.testing.assert_frame_equal(rows.loc[when], one_by_one(scratch, when), rtol=1e-9)
    blog = rows[
        rows.headline.str.contains("cut to sell at a bank", na=False)
    ].index.get_level_values(0)
    assert len(blog) and blog.max() < pd.Timestamp("2025-08-13T17:00Z")


def test_a_late_bar_changes_nothing_before_it_arrives(scratch):
    "A bar that comes 70 minutes late must not reach the indicators of the hour before"

    def late(bars):
        mine = (bars.symbol == bars.symbol.iloc[0]) & (bars.ts == pd.Timestamp("2025-08-13T14:30Z"))
        return bars.assign(
            available_at=bars.available_at.where(~mine, bars.available_at + pd.Timedelta("70min")),
            high=bars.high.where(~mine, bars.high * 1.2),
        )

    with_news(scratch, symbols=5, change=late)
    bars = read_bars(scratch, DAY.ends, start=DAY.opens)
    assert len(late_arrivals(bars)) == 1
    parts = pieces(WHEN, late_arrivals(bars))
    assert [len(p) for p in parts] == [10, 17]
    rows, when = study(scratch, DAY.day, DAY.day), WHEN[[5, 8, 9, 10, 11]]
    pd.testing.assert_frame_equal(rows.loc[when], one_by_one(scratch, when), rtol=1e-9)


def test_te_nothing_after_an_instant_reaches_its_row(scratch):
    "What comes in after noon is deleted from the store; the morning stays as it was"
    with_news(scratch)
    noon = pd.Timestamp("2025-08-13T16:00Z")
    rows = study(scratch, DAY.day, DAY.day)
    scratch.run("delete from trading_history where available_at > :t", t=noon)
    for table in ("news_sentiment", "news_membership"):
        scratch.run(
            f"delete from {table} where revision_id in (select revision_id from news_revisions where received_at > :t)",
            t=noon,
        )
    scratch.run("delete from news_membership where known_at > :t", t=noon)
    scratch.run("delete from news_revisions where received_at > :t", t=noon)
    again = study(scratch, DAY.day, DAY.day)
    pd.testing.assert_frame_equal(again.loc[:noon], rows.loc[:noon])
    assert not again.loc[noon:].equals(rows.loc[noon:])


def test_a_calibration_reaches_the_patterns_of_its_world_and_not_before_its_night(scratch):
    simulated(scratch)
    kinds = set(study(scratch, DAY.day, DAY.day).pattern_type.dropna())
    assert kinds
    curve = {
        "count": 200,
        "hits": 62,
        "base_rate": 0.31,
        "held": 60,
        "brier": 0.2,
        "brier_base": 0.25,
    }
    curve |= {"world": "simulated", "usable_from": DAY.opens - timedelta(hours=12), "reason": None}
    rows = [{**curve, "subject": f"pattern:{k}", "points": [[0.5, 0.31, 200, 62]]} for k in kinds]
    scratch.upsert("calibrations", rows, keys=["world", "subject", "usable_from"])

    def told(day, world):
        rows = study(scratch, day, day, world=world)
        return rows.pattern_confidence[rows.pattern_type.isin(kinds)].dropna()

    assert (told(DAY.day, "simulated") == 0.31).all()
    assert not (told(DAY.day, "replay") == 0.31).any()
    before = session_offset(DAY.day, -1).day
    pd.testing.assert_series_equal(told(before, "simulated"), told(before, None))


def test_spans_grids_and_switches(filled):
    span = list(by_session(filled, date(2025, 8, 9), date(2025, 8, 13), every=65))
    assert [len(x.groupby(level=0)) for x in span] == [7, 7, 7]
    off = Config({"feature_patterns": 0.0, "max_news_age_hours": 2.0})
    rows = study(filled, DAY.day, DAY.day, config=off)
    assert rows.pattern_type.isna().all() and rows.news_age_minutes.max() < 120
    for wrong in ({"every": 0}, {"every": 400}, {"timeframe": "7min"}):
        with pytest.raises(InputError):
            study(filled, DAY.day, DAY.day, **wrong)
    with pytest.raises(InputError, match="not after"):
        study(filled, DAY.day, date(2025, 8, 1))
    with pytest.raises(InputError, match="stored bars"):
        study(filled, date(2024, 8, 1), date(2024, 8, 2))


def test_trials_decide_each_instant_alone(filled):
    from catalyst.signals import decide

    rows = study(filled, DAY.day, DAY.day)
    plans = decided(rows, EAGER)
    alone = [p for t in WHEN for p in decide(rows.loc[t], EAGER)]
    assert plans == alone and plans
    first = first_of_day(plans)
    names = [(p.security_id, p.setup) for p in first]
    assert len(names) == len(set(names)) == len({(p.security_id, p.setup) for p in plans})
    assert all(
        p.decided_at == min(q.decided_at for q in plans if (q.security_id, q.setup) == n)
        for p, n in zip(first, names, strict=True)
    )
    told = trials(filled, DAY.day, DAY.day, EAGER, desk_hours=False)
    every = trials(filled, DAY.day, DAY.day, EAGER, once=False, desk_hours=False)
    assert len(told) == len(first) and len(every) == len(plans)
    assert told.decided_at.tolist() == [p.decided_at for p in first]


BUY = lambda row, config: Idea(PositionSide.LONG, row["close"], fit=0.5)


def mine(rule):
    return {"mine": Setup("mine", (), rule)}


def test_idea13_trials_enter_when_the_desk_may(filled):
    "Nothing in the first five minutes, nothing after three"
    late = mine(lambda row, c: BUY(row, c) if row["asof"].hour >= 19 else "too early")
    any_time, inside = (
        trials(filled, DAY.day, DAY.day, EAGER, setups=late, once=False, desk_hours=h)
        for h in (False, True)
    )
    hour = lambda t: {f"{x:%H:%M}" for x in t.decided_at.dt.tz_convert("America/New_York")}
    assert hour(inside) == {"15:00"} and hour(any_time) == {
        "15:00", "15:15", "15:30", "15:45", "16:00"
    }  # fmt: skip
    assert inside.attrs["trials"]["hours"].startswith("entries from 5 minutes after the open to 60")
    wide = Config({**EAGER, "last_entry_before_close_minutes": 0})
    assert "15:45" in hour(trials(filled, DAY.day, DAY.day, wide, setups=late, once=False))


def test_idea16_a_rule_that_fails_now_and_then_is_counted_and_one_that_always_does_is_an_error(
    filled, capsys
):
    def brittle(row, config):
        if row["security_id"] % 2:
            raise ZeroDivisionError("odd")
        return BUY(row, config)

    told = trials(filled, DAY.day, DAY.day, EAGER, setups=mine(brittle))
    assert len(told) and (told.security_id % 2 == 0).all()
    [fault] = told.attrs["trials"]["faults"]
    assert "setup mine failed on" in fault and "ZeroDivisionError: odd; security" in fault
    assert fault in capsys.readouterr().err
    with pytest.raises(InputError, match="setup mine: ZeroDivisionError.*calls failed"):
        trials(filled, DAY.day, DAY.day, EAGER, setups=mine(lambda row, c: 1 / 0))


def test_idea23_trials_say_what_min_confidence_dropped(filled, capsys):
    every = trials(filled, DAY.day, DAY.day, EAGER, setups=mine(BUY))
    strict = Config({**EAGER, "min_confidence": 0.5})
    told = trials(filled, DAY.day, DAY.day, strict, setups=mine(BUY))
    dropped = told.attrs["trials"]["dropped"]
    assert 0 < dropped == len(every) - len(told)
    assert (
        f"{dropped} plans below min_confidence dropped, {len(told)} kept" in capsys.readouterr().err
    )


def test_idea18_no_bars_are_not_the_same_as_no_plan(filled):
    with pytest.raises(InputError, match="a span with stored bars"):
        trials(filled, date(2024, 8, 1), date(2024, 8, 2))
    assert trials(filled, DAY.day, DAY.day, EAGER, setups=mine(lambda row, c: "no")).empty


def test_idea19_days_may_be_text_and_nonsense_is_one_line(filled):
    rows = lambda *days: len(next(by_session(filled, *days, every=390)))
    assert rows("2025-08-13", "2025-08-13") == rows(DAY.day, DAY.day)
    for wrong in (("soon", DAY.day), (DAY.opens, DAY.day), (None, DAY.day)):
        with pytest.raises(InputError, match="start: received"):
            trials(filled, *wrong)
    with pytest.raises(InputError, match="setups: received"):
        trials(filled, DAY.day, DAY.day, EAGER, setups=["news_breakout"])
    with pytest.raises(InputError, match="timeframe: received '7min'"):
        trials(filled, DAY.day, DAY.day, EAGER, timeframe="7min")


@pytest.fixture
def real(scratch, shared, tmp_path):
    "Seven weeks of real bars and a week of real news, as `catalyst import` takes them"
    bars = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    bars = bars[(bars.ts >= "2025-07-03") & (bars.ts < "2025-08-14")]
    news = pd.read_parquet(shared / "real_news_2025.parquet")
    at = pd.to_datetime(news.published_at, utc=True)
    news = news[(at >= "2025-08-07") & (at < "2025-08-14")]
    files = tmp_path / "bars.parquet", tmp_path / "news.parquet"
    bars.to_parquet(files[0])
    news.to_parquet(files[1])
    seen = datetime.fromisoformat("2025-12-01T00:00:00+00:00")
    take_file(scratch, files[0], "15min", seen)
    take_news(scratch, NewsFile(files[1], {}).frames(), seen)
    scratch.run("update securities set sector_id = 1 + security_id % 11")
    return scratch, files


def test_a_real_session_is_what_the_desk_sees(real):
    "101 securities, 1,181 items of the day: the view of the desk at three instants, every column"
    store, (bars, news) = real
    settings = Settings(world=World.REPLAY, replay_bars=bars, replay_news=news)
    rows = study(store, DAY.day, DAY.day)
    assert len(rows) == 27 * 101
    for t in WHEN[[1, 5, 16]]:
        desk = open_desk(t.isoformat(), settings, store)
        view = look(desk, store)
        mine = rows.loc[t]
        bare = lambda f: f.drop(columns=[*PEER_COLUMNS, "null_reason"])
        pd.testing.assert_frame_equal(bare(mine), bare(view.features), rtol=1e-9)
        full = features(
            view.bars,
            desk.asof,
            view.indicators,
            view.patterns,
            view.news,
            desk.config,
            view.securities.sector_id,
        )
        pd.testing.assert_frame_equal(mine, full, rtol=1e-9)
    assert mine.news_id.notna().sum() > 20 and mine.peer_security_id.notna().sum() > 50
    assert np.isfinite(rows.relative_volume.astype(float)).mean() > 0.9
