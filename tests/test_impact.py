"Price impact: trading time, benchmarks, what is pending and what is closed, poison rows, and nothing seen early."

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from catalyst.adjust import import_actions
from catalyst.bars import import_bars
from catalyst.clock import NEW_YORK, Stopwatch, get_session, sessions_between, slots
from catalyst.core import InputError, Timeframe, UnavailableError
from catalyst.dims import security_ids
from catalyst.impact import (
    COARSE,
    HORIZONS,
    IS_MARKET,
    NO_END,
    NO_MARKET,
    NO_START,
    OLD,
    TRIES,
    WILD,
    answer,
    fill_impacts,
    questions,
    read_impacts,
    reopen_impacts,
    story_impacts,
)
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS
from catalyst.tape import TradingTime, make_tape, trailing_mean

at = lambda text: datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)
DAYS = sessions_between(date(2025, 7, 1), date(2025, 8, 29))


def quarter_hours(symbol, closes, volume=None, days=DAYS):
    "Bars of 15 minutes; `closes` is a function of the start"
    ts = pd.DatetimeIndex([t for s in days for t in slots(s)[:-1]]).as_unit("us")
    close = np.array([closes(t) for t in ts], float)
    frame = pd.DataFrame(
        {"symbol": symbol, "ts": ts} | {c: close for c in ("open", "high", "low", "close")}
    )
    volumes = 1000.0 if volume is None else [float(volume(t)) for t in ts]
    return frame.assign(volume=volumes, available_at=ts + pd.Timedelta("15min"))


def flat(price=100.0):
    return lambda t: price


def step(moment, before=100.0, after=104.0):
    return lambda t: after if t >= pd.Timestamp(at(moment)) else before


def item(item_id, symbol, received, published=None):
    clocks = [None, pd.Timestamp(at(published or received)), pd.Timestamp(at(received)), None]
    return ["wire", item_id, [symbol], f"Acme says {item_id}", "", "Reuters", "", *clocks]


def put(store, bars=(), news=()):
    for frame in bars:
        import_bars(store, frame, "15min", "demo", at("2025-09-01T09:00"))
    if news:
        import_news(store, pd.DataFrame(list(news), columns=NEWS_COLUMNS))


def values(store, asof, column="abnormal_return"):
    got = read_impacts(store, at(asof))
    return {
        (r.news_id, r.horizon): getattr(r, column) for r in got.itertuples() if pd.isna(r.reason)
    }


WORLD = lambda moment: [quarter_hours("NVDA", step(moment)), quarter_hours("SPY", flat())]


def test_news_of_the_evening_is_answered_from_the_open_on(scratch):
    "The gap of the night belongs to the news; Friday evening and Sunday are the same second of trading"
    news = [
        item("a", "NVDA", "2025-08-15T18:00"),
        item("b", "NVDA", "2025-08-17T12:00"),
        item("c", "NVDA", "2025-08-18T09:30"),
    ]
    put(scratch, WORLD("2025-08-18T09:30"), news)
    fill_impacts(scratch, at("2025-08-25T12:00"))
    got = read_impacts(scratch, at("2025-08-25T12:00")).query("horizon != '5min'")
    assert np.allclose(got.abnormal_return, 0.04) and len(got) == 15
    due = got.groupby("horizon").due_at.first().dt.tz_convert(NEW_YORK).dt.strftime("%d %H:%M")
    assert due.to_dict() == {
        "15min": "18 09:45",
        "30min": "18 10:00",
        "1h": "18 10:30",
        "4h": "18 13:30",
        "1d": "18 16:00",
    }


def test_what_moved_before_the_receipt_is_not_the_items_impact(scratch):
    put(
        scratch,
        WORLD("2025-08-13T10:00"),
        [item("a", "NVDA", "2025-08-13T10:15", "2025-08-13T09:50")],
    )
    fill_impacts(scratch, at("2025-08-20T12:00"))
    assert set(values(scratch, "2025-08-20T12:00").values()) == {0.0}


def test_a_thin_trade_before_the_open_is_nobodys_close(scratch):
    early = quarter_hours("NVDA", flat(200.0), days=DAYS[30:31])[:1]
    early["ts"] = pd.DatetimeIndex([at(f"{DAYS[30].day}T08:30")]).tz_convert("UTC").as_unit("us")
    early["available_at"] = early.ts + pd.Timedelta("15min")
    put(
        scratch,
        [*WORLD(f"{DAYS[30].day}T09:30"), early],
        [item("a", "NVDA", f"{DAYS[30].day}T09:00")],
    )
    assert scratch.value("select count(*) from trading_history where close = 200") == 1
    fill_impacts(scratch, at("2025-08-29T16:00"))
    assert set(values(scratch, "2025-08-29T16:00").values()) == {0.04}


def test_a_half_day_counts_its_own_minutes():
    time = TradingTime(date(2025, 7, 1), date(2025, 7, 10))
    asked = questions(
        pd.DataFrame({"news_id": [1], "security_id": [1], "sector_id": [0], "market_id": [2], "received_at": [pd.Timestamp(at("2025-07-03T12:30")).tz_convert("UTC")]}), time
    ).set_index("horizon")  # fmt: skip
    told = asked.due_at.dt.tz_convert(NEW_YORK).dt.strftime("%d %H:%M").to_dict()
    assert (told["30min"], told["1h"], told["4h"]) == ("03 13:00", "07 10:00", "07 13:00")


def test_trading_time_and_back():
    time = TradingTime(date(2025, 3, 3), date(2025, 3, 14))  # Daylight saving begins on March 9th
    inside = np.concatenate(
        [np.arange(o + 1, o + n + 1, 977) for o, n in zip(time.opens, time.length, strict=True)]
    )
    assert (time.instant(time.seconds(inside)) == inside).all()
    assert (np.diff(time.seconds(np.arange(time.opens[0], time.opens[-1], 1801))) >= 0).all()
    assert time.seconds(np.array([time.opens[0] - 10**6])) == 0


def test_against_the_sector_and_against_the_market(scratch):
    bars = [
        *WORLD("2025-08-13T10:00"),
        quarter_hours("XLK", step("2025-08-13T10:00", after=101.0)),
        quarter_hours("XOM", step("2025-08-13T10:00")),
    ]
    put(scratch, bars, [item(s, s, "2025-08-13T10:07") for s in ("NVDA", "XLK", "XOM", "SPY")])
    fill_impacts(scratch, at("2025-08-20T12:00"))
    got = scratch.frame(
        "select s.symbol, i.* from news_impacts i join news_sentiment using (news_id) join securities s using (security_id) where horizon = '15min'"
    ).set_index("symbol")
    assert got.abnormal_return[["NVDA", "XLK", "XOM"]].round(5).tolist() == [0.03, 0.01, 0.04]
    assert got.benchmark[["NVDA", "XLK", "XOM"]].tolist() == ["sector", "market", "market"]
    assert got.reason["SPY"] == IS_MARKET and got.own_return["NVDA"] == pytest.approx(0.04)


def test_a_company_that_is_gone_is_compared_with_the_market(scratch):
    put(
        scratch,
        [
            quarter_hours("GONE", step("2025-08-13T10:00")),
            quarter_hours("SPY", step("2025-08-13T10:00", after=101.0)),
        ],
        [item("a", "GONE", "2025-08-13T10:07")],
    )
    scratch.run("update securities set valid_to = '2025-09-30' where symbol = 'GONE'")
    fill_impacts(scratch, at("2025-10-20T12:00"))
    assert set(values(scratch, "2025-10-20T12:00").values()) == {0.03}


def test_simulated_securities_have_simulated_funds(scratch):
    bars = [
        quarter_hours(s, step("2025-08-13T10:00", after=a))
        for s, a in (
            ("TEKBAN", 104.0),
            ("SIMTEK", 101.0),
            ("SIMKET", 100.0),
            ("NVDA", 104.0),
            ("SPY", 102.0),
        )
    ]
    put(scratch, bars, [item(s, s, "2025-08-13T10:07") for s in ("TEKBAN", "SIMTEK", "NVDA")])
    scratch.run(
        "update securities x set name = 'Made (simulated)', asset_type = k, sector_id = (select sector_id from sectors where sector_name = s) from (values ('SIMKET', 'etf', null), ('SIMTEK', 'etf', 'Technology'), ('TEKBAN', 'stock', 'Technology')) v (y, k, s) where symbol = y"
    )
    fill_impacts(scratch, at("2025-08-20T12:00"))
    got = scratch.frame(
        "select symbol, i.* from news_impacts i join news_sentiment using (news_id) join securities using (security_id) where horizon = '15min'"
    ).set_index("symbol")
    assert got.abnormal_return.round(5).to_dict() == {"TEKBAN": 0.03, "SIMTEK": 0.01, "NVDA": 0.02}
    assert got.benchmark.to_dict() == {"TEKBAN": "sector", "SIMTEK": "market", "NVDA": "market"}


def test_without_a_market_there_is_no_abnormal_return(scratch):
    put(scratch, WORLD("2025-08-13T10:00")[:1], [item("a", "NVDA", "2025-08-13T10:07")])
    assert dict(fill_impacts(scratch, at("2025-08-20T12:00")).reasons) == {NO_MARKET: 1}
    assert scratch.value("select count(*) from news_impacts where abnormal_return is not null") == 0
    assert scratch.value(
        "select impact_reason from news_sentiment"
    ) == f"5min: {COARSE}; " + "; ".join(f"{h}: {NO_MARKET}" for h in list(HORIZONS)[1:])


def test_a_split_in_the_night_is_no_impact(scratch):
    put(
        scratch,
        [
            quarter_hours("NVDA", step("2025-08-18T09:30", 100.0, 25.0)),
            quarter_hours("SPY", flat()),
        ],
        [item("a", "NVDA", "2025-08-15T18:00")],
    )
    actions = pd.DataFrame(
        {
            "symbol": ["NVDA"],
            "ex_date": pd.to_datetime(["2025-08-18"]),
            "action_type": "split",
            "ratio": 4.0,
        }
    )
    import_actions(scratch, actions, "demo", at("2025-08-10T09:00"))
    fill_impacts(scratch, at("2025-08-25T12:00"))
    assert set(values(scratch, "2025-08-25T12:00").values()) == {0.0}


def test_abnormal_volume_is_against_the_same_slot_of_the_sessions_before(scratch):
    busy = lambda t: 10 if (t.hour, t.minute) == (14, 0) else 1
    volume = lambda t: 1000 * busy(t) * (3 if t >= pd.Timestamp(at("2025-08-13T10:00")) else 1)
    put(
        scratch,
        [quarter_hours("NVDA", flat(), volume), quarter_hours("SPY", flat())],
        [item("a", "NVDA", "2025-08-13T10:00"), item("b", "NVDA", "2025-07-03T10:00")],
    )
    fill_impacts(scratch, at("2025-08-25T12:00"))
    got = values(scratch, "2025-08-25T12:00", "abnormal_volume")
    by_item = {i: v for (i, h), v in got.items() if h == "15min"}
    assert sorted(by_item.values(), key=lambda v: (v != v, v))[0] == 3.0
    assert sum(v != v for v in by_item.values()) == 1, (
        "two sessions before July 3rd are too few to say what is usual"
    )


def test_nw03_a_horizon_that_is_not_over_waits_and_is_filled_later(scratch):
    put(scratch, WORLD("2025-08-13T10:00"), [item("a", "NVDA", "2025-08-13T10:07")])
    seen = {}
    for text in (
        "2025-08-13T10:08",
        "2025-08-13T10:30",
        "2025-08-13T10:45",
        "2025-08-13T11:15",
        "2025-08-13T14:15",
        "2025-08-14T10:15",
    ):
        fill_impacts(scratch, at(text))
        seen[text[-8:]] = len(values(scratch, text))
    assert list(seen.values()) == [0, 1, 2, 3, 4, 5]
    shown = scratch.rows(
        "select price_impact_5min, price_impact_15min, price_impact_1d, impact_reason from news_sentiment"
    )[0]
    assert float(shown["price_impact_15min"]) == float(shown["price_impact_1d"]) == 0.04
    assert shown["price_impact_5min"] is None and COARSE in shown["impact_reason"]


def test_nw03_late_bars_are_waited_for_and_then_the_question_is_closed(scratch):
    put(scratch, [], [item("a", "NVDA", "2025-08-13T10:07")])
    looks, asof = 0, at("2025-08-13T10:30")
    while asof < at("2025-08-20T00:00"):
        tally = fill_impacts(scratch, asof)
        looks += tally.quarantined + sum(tally.reasons.values()) > 0
        asof += timedelta(hours=2)
    assert 4 <= looks <= 16, "asked ever more rarely, not at each of 78 calls"
    assert scratch.rows("select state, look_at from news_impact_tries") == [
        {"state": "done", "look_at": None}
    ]
    assert scratch.value("select impact_reason from news_sentiment") == NO_START
    put(scratch, WORLD("2025-08-13T10:00"))
    assert fill_impacts(scratch, asof).as_dict()["accepted"] == 0, (
        "unrecoverable rows are not picked again"
    )
    assert reopen_impacts(scratch, asof) == 1
    assert (
        fill_impacts(scratch, asof).accepted == 1 and len(values(scratch, "2025-08-20T00:30")) == 5
    )


@pytest.fixture
def poisoned(monkeypatch):
    "Measuring item 3 raises"

    def bad(asked, tapes):
        if (asked.news_id == 3).any():
            raise TypeError("unsupported operand type(s) for +: 'datetime' and 'str'")
        return answer(asked, tapes)

    monkeypatch.setattr("catalyst.impact.answer", bad)


def test_nw03_guard_14_a_poison_row_does_not_stop_the_batch(scratch, poisoned):
    put(
        scratch,
        WORLD("2025-08-13T10:00"),
        [item(str(i), "NVDA", "2025-08-13T10:07") for i in range(9)],
    )
    asof, tallies = at("2025-08-20T12:00"), []
    for hours in range(6):
        tallies.append(fill_impacts(scratch, asof + timedelta(hours=hours)))
    assert (tallies[0].accepted, tallies[0].quarantined, tallies[0].reasons["failed"]) == (8, 1, 1)
    assert [t.quarantined for t in tallies] == [1] * TRIES + [0] * (6 - TRIES)
    row = scratch.rows("select * from news_impact_tries where state = 'dead'")
    assert [(r["news_id"], r["attempts"], r["look_at"]) for r in row] == [(3, TRIES, None)]
    assert "unsupported operand" in row[0]["note"]
    assert "unsupported operand" in scratch.value(
        "select impact_reason from news_sentiment where news_id = 3"
    )
    assert scratch.value("select count(distinct news_id) from news_impacts") == 8


def test_guard_14_a_row_that_the_database_refuses_is_alone_too(scratch):
    "The failure is in the writing, so what the half had written is taken back first"
    scratch.run(
        "alter table news_impacts add constraint poison check (news_id <> 2 or horizon <> '4h')"
    )
    put(
        scratch,
        WORLD("2025-08-13T10:00"),
        [item(str(i), "NVDA", "2025-08-13T10:07") for i in range(5)],
    )
    tally = fill_impacts(scratch, at("2025-08-20T12:00"))
    assert (tally.accepted, tally.quarantined) == (4, 1)
    assert scratch.value("select count(*) from news_impacts where news_id = 2") == 0
    assert scratch.value("select count(*) from news_impacts") == 4 * 6


def test_guard_14_a_mistake_of_ours_is_not_a_poison_row(scratch, monkeypatch):
    put(
        scratch,
        WORLD("2025-08-13T10:00"),
        [item(str(i), "NVDA", "2025-08-13T10:07") for i in range(60)],
    )
    monkeypatch.setattr("catalyst.impact.answer", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fill_impacts(scratch, at("2025-08-20T12:00"))
    assert scratch.value("select count(*) from news_impact_tries") == 0


def test_a_lost_database_is_not_a_poison_row(scratch, monkeypatch):
    def lost(*a):
        raise UnavailableError("the database is gone")

    put(scratch, WORLD("2025-08-13T10:00"), [item("a", "NVDA", "2025-08-13T10:07")])
    monkeypatch.setattr("catalyst.impact.answer", lost)
    with pytest.raises(UnavailableError):
        fill_impacts(scratch, at("2025-08-20T12:00"))
    assert scratch.value("select count(*) from news_impact_tries") == 0


def test_second_run_changes_nothing_and_written_values_stay(scratch):
    put(
        scratch,
        WORLD("2025-08-13T10:00"),
        [item("a", "NVDA", "2025-08-13T10:07"), item("b", "ZZZZ", "2025-08-13T10:07")],
    )
    state = lambda: (
        scratch.rows("select * from news_impacts order by 1, 2"),
        scratch.rows("select * from news_impact_tries order by 1"),
        scratch.rows("select * from news_sentiment order by 1"),
    )
    fill_impacts(scratch, at("2025-08-20T12:00"))
    before = state()
    assert fill_impacts(scratch, at("2025-08-20T12:00")).as_dict()["reasons"] == {}
    late = int(at("2025-08-13T10:00").timestamp())
    scratch.run(
        "update trading_history set open = open * 2, high = high * 2, low = low * 2, close = close * 2 where time_id >= :t and security_id = (select security_id from securities where symbol = 'NVDA')",
        t=late,
    )
    scratch.run(
        "update news_impact_tries set state = 'waiting', look_at = :t", t=at("2025-08-20T12:00")
    )
    fill_impacts(scratch, at("2025-08-20T12:00"))
    assert state() == before


def test_guard_18_nothing_is_seen_before_it_could_be_known(scratch):
    "Filled long afterwards or slot by slot: at each instant the same values, and every one from bars available by then"
    draw = np.random.default_rng(5)
    walk = lambda: {
        t: v
        for t, v in zip(
            [t for s in DAYS for t in slots(s)],
            100 * np.exp(np.cumsum(draw.normal(0, 0.003, 3000))),
            strict=False,
        )
    }
    prices = {s: walk() for s in ("NVDA", "XLK", "SPY")}
    bars = [quarter_hours(s, prices[s].__getitem__) for s in prices]
    bars = [b.assign(available_at=b.available_at + pd.Timedelta("7min")) for b in bars]
    news = [
        item(str(i), "NVDA", f"2025-08-{d}T{h}:{m:02d}")
        for i, (d, h, m) in enumerate([(13, "08", 0), (13, "10", 7), (13, "15", 50), (14, "18", 0)])
    ]
    put(scratch, bars, news)
    asofs = [
        t
        for d in ("2025-08-13", "2025-08-14", "2025-08-15", "2025-08-18")
        for t in slots(get_session(d), 60)
    ]
    by_slot = []
    for asof in asofs:
        fill_impacts(scratch, asof)
        by_slot.append(
            read_impacts(scratch, asof)
            .query("reason.isna()")
            .drop(columns="reason")
            .reset_index(drop=True)
        )
    scratch.run("truncate news_impacts, news_impact_tries")
    fill_impacts(scratch, at("2025-08-29T16:00"))
    for asof, then in zip(asofs, by_slot, strict=True):
        now = (
            read_impacts(scratch, asof)
            .query("reason.isna()")
            .drop(columns="reason")
            .reset_index(drop=True)
        )
        pd.testing.assert_frame_equal(then, now)
        assert (now.usable_from <= asof).all() and (
            now.usable_from >= now.due_at + pd.Timedelta("7min")
        ).all()
    assert [len(f) for f in by_slot][-1] == 20


def test_guard_18_bars_after_the_horizon_do_not_matter():
    time = TradingTime(date(2025, 6, 1), date(2025, 9, 30))
    bars = pd.concat(
        quarter_hours(s, step("2025-08-13T10:00")).assign(security_id=i)
        for i, s in ((1, "A"), (2, "B"))
    )
    bars.loc[bars.security_id == 2, "close"] = 100.0
    bars = bars.drop(columns="symbol").set_index(["security_id", "ts"]).sort_index()
    items = pd.DataFrame(
        {
            "news_id": [1],
            "security_id": [1],
            "sector_id": [0],
            "market_id": [2],
            "received_at": [pd.Timestamp(at("2025-08-13T10:07")).tz_convert("UTC")],
        }
    )
    asked = questions(items, time)
    now = answer(asked, {Timeframe.MIN15: make_tape(bars, Timeframe.MIN15, time)})
    for i in range(1, len(asked)):
        wild = bars.copy()
        wild.loc[wild.available_at > now.usable_from[i], ["close", "volume"]] *= 7.0
        then = answer(asked, {Timeframe.MIN15: make_tape(wild, Timeframe.MIN15, time)})
        pd.testing.assert_series_equal(then.loc[i], now.loc[i])


def test_reasons_for_what_cannot_be_measured(scratch):
    day = [s for s in DAYS if s.day < date(2025, 8, 14)]
    put(scratch, [quarter_hours("NVDA", step("2025-08-12T10:00", 1.0, 50.0), days=day), quarter_hours("SPY", flat())],
        [item("old", "NVDA", "2025-08-13T10:07", "2025-08-10T10:00"), item("wild", "NVDA", "2025-08-12T09:59"), item("end", "NVDA", "2025-08-13T15:30")])  # fmt: skip
    fill_impacts(scratch, at("2025-08-25T12:00"))
    got = (
        scratch.frame(
            "select r.item_id, i.horizon, i.reason from news_impacts i join news_sentiment using (news_id) join news_revisions r using (revision_id)"
        )
        .set_index(["item_id", "horizon"])
        .reason
    )
    assert got["old"].unique().tolist() == [OLD]
    assert (
        got["wild", "15min"] == WILD and got["end", "4h"] == NO_END and pd.isna(got["end", "15min"])
    )


def test_finer_bars_answer_what_coarse_ones_cannot(scratch):
    put(scratch, WORLD("2025-08-13T10:00"), [item("a", "NVDA", "2025-08-13T10:07")])
    for symbol, after in (("NVDA", 102.0), ("SPY", 100.0)):
        ts = pd.date_range(get_session("2025-08-13").opens, periods=78, freq="5min", unit="us")
        close = np.where(ts >= pd.Timestamp(at("2025-08-13T10:05")), after, 100.0)
        frame = pd.DataFrame(
            {"symbol": symbol, "ts": ts} | {c: close for c in ("open", "high", "low", "close")}
        )
        import_bars(
            scratch,
            frame.assign(volume=1.0, available_at=ts + pd.Timedelta("5min")),
            "5min",
            "demo",
            at("2025-09-01T09:00"),
        )
    fill_impacts(scratch, at("2025-08-20T12:00"))
    got = read_impacts(scratch, at("2025-08-20T12:00")).set_index("horizon")
    assert got.timeframe.to_dict() == {
        "5min": "5min",
        "15min": "5min",
        "30min": "5min",
        "1h": "5min",
        "4h": "5min",
        "1d": "15min",
    }
    assert got.abnormal_return["5min"] == 0.02 and got.abnormal_return["1d"] == 0.04


def test_a_story_has_the_impact_of_its_first_item():
    t = pd.Timestamp("2025-08-13 14:00", tz="UTC")
    news = pd.DataFrame(
        {
            "news_id": [5, 4, 6, 7],
            "story_id": [1, 1, 1, None],
            "security_id": [1, 1, 2, 1],
            "received_at": [t, t + pd.Timedelta("1h"), t, t],
        }
    )
    told = story_impacts(news, pd.DataFrame({"news_id": [4, 5, 6, 7], "horizon": "15min"}))
    assert told.news_id.tolist() == [5, 6]


def test_a_naive_instant_is_refused(scratch):
    with pytest.raises(InputError, match="asof"):
        fill_impacts(scratch, datetime(2025, 8, 13))


def test_against_a_plain_loop_on_real_bars_and_fast(scratch, shared):
    "3,000 items by arrays in seconds; 60 of them again, one by one, from the definition"
    d = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet").assign(
        symbol=lambda x: x.symbol.astype(str)
    )
    d = d[
        d.symbol.isin(["NVDA", "AAPL", "TSLA", "AMZN", "META", "XLK", "XLY", "XLC", "SPY"])
        & (d.volume > 0)
    ]
    ts = d.ts.astype("datetime64[us, UTC]")
    d = d.assign(
        ts=ts,
        available_at=ts + pd.Timedelta("15min"),
        **{c: d[c].astype(float).round(4) for c in ("open", "high", "low", "close")},
    )
    import_bars(scratch, d, "15min", "ibkr", at("2026-01-01T09:00"))
    n = pd.read_parquet(shared / "real_news_2025.parquet").rename(columns={"id": "item_id"})
    n = n[n.symbols.isin(["NVDA", "AAPL", "TSLA", "AMZN", "META"])].head(3000)
    n = n.assign(
        symbols=n.symbols.str.split(","), event_at=None, revised_at=None, received_at=n.published_at
    )
    import_news(scratch, n)
    watch = Stopwatch()
    assert fill_impacts(scratch, at("2025-12-31T16:00")).accepted > 500
    assert watch.seconds < 30, "it takes about 1.5 s; thirty allow for a busy machine"
    got = scratch.frame(
        "select i.*, s.symbol, n.received_at from news_impacts i join news_sentiment n using (news_id) join securities s using (security_id) where i.reason is null and i.horizon in ('1h', '1d')"
    )
    stored = scratch.frame(
        "select s.symbol, to_timestamp(time_id) as ts, close from trading_history join securities s using (security_id) order by 1, 2"
    )
    funds = {"NVDA": "XLK", "AAPL": "XLK", "TSLA": "XLY", "AMZN": "XLY", "META": "XLC"}
    for r in got.sample(60, random_state=1).itertuples():
        own, fund = plain(stored, r.symbol, r.received_at, HORIZONS[r.horizon]), funds[r.symbol]
        other = price(stored, fund, own[2]) / price(stored, fund, own[1]) - 1
        assert r.own_return == pytest.approx(own[0], abs=2e-5)
        assert r.abnormal_return == pytest.approx(own[0] - other, abs=3e-5)


def regular(stored, symbol):
    b = stored[stored.symbol == symbol]
    local = b.ts.dt.tz_convert(NEW_YORK)
    minute = local.dt.hour * 60 + local.dt.minute
    return b.assign(end=b.ts + pd.Timedelta("15min"))[(minute >= 570) & (minute < 960)]


def price(stored, symbol, end):
    b = regular(stored, symbol)
    return b[b.end <= end].close.iloc[-1]


def plain(stored, symbol, received, minutes):
    "Return, reference bar's end, last bar's end: by walking along the calendar"
    b = regular(stored, symbol)
    begin = b[b.end <= received].end.iloc[-1]
    left, now = timedelta(minutes=minutes), received.to_pydatetime()
    for s in sessions_between(received.date() - timedelta(1), received.date() + timedelta(12)):
        start = max(now, s.opens)
        if start < s.closes:
            if left <= s.closes - start:
                end = b[b.end >= start + left].end.iloc[0]
                return price(stored, symbol, end) / price(stored, symbol, begin) - 1, begin, end
            left -= s.closes - start
    raise AssertionError("no such session")


def test_a_slot_that_a_half_day_lacks_needs_a_session_more():
    "July 3rd ends at one: the morning's usual exists from the sixth session on, the afternoon's from the seventh"
    time = TradingTime(date(2025, 7, 1), date(2025, 8, 29))
    bars = quarter_hours("A", flat(), lambda t: 100).assign(security_id=1)
    tape = make_tape(
        bars.drop(columns="symbol").set_index(["security_id", "ts"]), Timeframe.MIN15, time
    )
    blank = np.diff(tape.blank, prepend=0) > 0
    slot = time.place(time.instant(tape.end))[1]
    assert (blank[slot <= 210 * 60].sum(), blank[slot > 210 * 60].sum()) == (5 * 14, 5 * 12)
    assert blank[: 6 * 26 - 12].sum() == blank.sum() and not blank[6 * 26 - 12 :].any()


def test_only_twenty_sessions_are_looked_back_on():
    table = np.r_[np.full(10, 1e6), np.full(20, 100.0), 7.0][:, None]
    assert trailing_mean(table)[-1].item() == 100 and trailing_mean(table)[-2].item() > 10_000
    assert np.isnan(trailing_mean(table)[:5]).all() and not np.isnan(trailing_mean(table)[5:]).any()


def test_only_what_bars_can_answer_is_opened_again(scratch):
    put(scratch, WORLD("2025-08-13T10:00"), [item("a", "NVDA", "2025-08-13T10:07")])
    fill_impacts(scratch, at("2025-08-20T12:00"))
    assert scratch.value("select count(*) from news_impacts where reason is not null") == 1
    assert reopen_impacts(scratch, at("2025-08-20T12:00")) == 0, "a measured item was opened again"
    scratch.run(
        "insert into trading_history (security_id, time_id, timeframe, open, high, low, close, volume, available_at, feed)"
        " select security_id, time_id, '5min', open, high, low, close, volume, available_at, feed from trading_history"
    )
    assert reopen_impacts(scratch, at("2025-08-20T12:00")) == 1
