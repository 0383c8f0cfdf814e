"Health of the stored bars: every planted fault is found, and what is no fault is left alone"

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from catalyst.bars import PRICES, import_bars
from catalyst.clock import NEW_YORK, session_offset, sessions_between, slots
from catalyst.config import Config
from catalyst.core import InputError, Timeframe, UnavailableError
from catalyst.coverage import health_of
from catalyst.health import health_page, kind_rows, run_health, worst_rows, write_health_page
from catalyst.heatmap import heat_map
from catalyst.schema import scratch_store

# Thanksgiving lies in it, and the half day after it.
DAYS = sessions_between(date(2025, 11, 17), date(2025, 12, 5))
LAST = DAYS[-1]
EVENING = LAST.closes + timedelta(hours=2)
SYMBOLS = ("ZZA", "ZZB", "ZZC", "ZZD", "ZZE", "ZZF")


@pytest.fixture(scope="module")
def one_store():
    with scratch_store() as made:
        yield made


@pytest.fixture
def scratch(one_store):
    "One database for all tests of this file, emptied before each: making one takes longer than most tests"
    one_store.run(
        "truncate trading_history, quarantine, corporate_actions, security_tracking_state"
    )
    one_store.run("delete from securities where symbol like 'ZZ%'")
    return one_store


def market(symbols=SYMBOLS, days=DAYS, minutes=15, extended=False) -> pd.DataFrame:
    "Every slot of the sessions, with loud edges; with extended hours the surroundings are quiet"
    step, parts = timedelta(minutes=minutes), []
    at = [
        (t, s)
        for s in days
        for t in (slots(s, minutes, s.starts, s.ends) if extended else slots(s, minutes))
        if t < (s.ends if extended else s.closes)
    ]
    regular = np.array([s.opens <= t < s.closes for t, s in at])
    edge = np.array([min(t - s.opens, s.closes - step - t) / step for t, s in at])
    for n, symbol in enumerate(symbols):
        rng = np.random.default_rng(n)
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.002, len(at))))
        loud = np.where(regular, 2e5 / (1 + np.maximum(edge, 0)) + 3e4, 900)
        part = pd.DataFrame({"symbol": symbol, "ts": [t for t, _ in at], "close": close})
        part["open"] = close * (1 + rng.normal(0, 0.001, len(at)))
        part["volume"] = np.round(loud * rng.uniform(0.7, 1.3, len(at)))
        parts.append(part)
    out = pd.concat(parts, ignore_index=True)
    out["high"] = out[["open", "close"]].max(axis=1) * 1.001
    out["low"] = out[["open", "close"]].min(axis=1) * 0.999
    return out.assign(ts=pd.to_datetime(out.ts, utc=True).astype("datetime64[us, UTC]"))


def store(scratch, bars, feed="made", timeframe="15min", span=timedelta(minutes=15), ends=None):
    ends = bars.ts + span if ends is None else ends
    rows = bars.assign(available_at=ends)[["symbol", "ts", *PRICES, "volume", "available_at"]]
    return import_bars(
        scratch, rows.reset_index(drop=True), timeframe, feed, EVENING - timedelta(hours=1)
    )


def local(bars):
    return bars.ts.dt.tz_convert(NEW_YORK)


def rows_of(bars, symbol, day=None, start="00:00", end="23:59"):
    ny = local(bars)
    hit = (bars.symbol == symbol) & (ny.dt.strftime("%H:%M").between(start, end))
    return hit if day is None else hit & (ny.dt.date == day)


def found(health, kind):
    return health.findings[health.findings.kind == kind]


def told(health, kind="clock"):
    f = found(health, kind)
    return list(zip(f.symbol, f.text, f.breach, strict=True))


# --- nothing is wrong


@pytest.mark.parametrize("extended", [False, True])
def test_a_sound_market_has_no_finding(scratch, extended):
    "Half days, holidays, pre-market and evening bars are no faults"
    store(scratch, market(extended=extended))
    health = health_of(scratch, EVENING)
    assert health.findings.empty and not health.breach
    expected = len(SYMBOLS) * sum(len(slots(s)) - 1 for s in DAYS)
    assert health.counts["slots_expected"] == health.counts["slots_present"] == expected
    assert (health.coverage == 1).all(axis=None) and health.coverage.shape == (6, len(DAYS))


def test_a_few_early_bars_and_the_closing_auction_are_no_wrong_clock(scratch):
    bars = market()
    early = bars[rows_of(bars, "ZZA", start="09:30", end="10:45")].assign(volume=300.0)
    early["ts"] -= timedelta(minutes=90)
    auction = bars[rows_of(bars, "ZZB", start="15:45", end="15:45")].copy()
    auction["ts"] += timedelta(minutes=15)
    auction["volume"] *= 60
    store(scratch, pd.concat([bars, early, auction]))
    assert health_of(scratch, EVENING).findings.empty


def test_bad_news_in_the_evening_is_no_wrong_clock(scratch):
    bars = market(extended=True)
    night = rows_of(bars, "ZZA", DAYS[3].day, "16:00", "17:00")
    bars.loc[night, "volume"] = 400_000.0
    store(scratch, bars)
    assert not told(health_of(scratch, EVENING))


def test_real_bars_of_2025_raise_no_alarm(scratch, shared):
    bars = pd.read_parquet(shared / "ibkr_15min_101_2025.parquet")
    bars = bars[bars.ts >= "2025-11-17"].astype({"symbol": str, "volume": float})
    bars[PRICES] = bars[PRICES].astype("float64").round(4)
    store(scratch, bars)
    health = health_of(scratch, datetime(2026, 1, 1, 2, tzinfo=UTC))
    assert health.counts["bars"] > 80_000 and health.counts["quiet_slots"] > 0
    assert not health.breach and set(health.findings.kind) == {"quarantine"}


# --- what is missing


def test_a_lost_afternoon_is_found(scratch):
    bars = market()
    store(scratch, bars[~rows_of(bars, "ZZC", DAYS[4].day, "13:00")])
    health = health_of(scratch, EVENING)
    thin = found(health, "coverage").iloc[0]
    assert (thin.symbol, thin.session, thin.breach) == ("ZZC", DAYS[4].day, True)
    assert thin.value == pytest.approx(14 / 26) and thin.text == "14 of 26 slots"
    assert told(health, "gap") == [("ZZC", "12 slots missing, 2025-11-21 13:00 to 15:45", False)]
    assert health.counts["breaches"] == 1 and len(health.findings) == 2


def test_a_half_day_is_complete_with_fourteen_slots(scratch):
    bars, half = market(), date(2025, 11, 28)
    store(scratch, bars[~rows_of(bars, "ZZA", half, "12:30", "12:45")])
    assert found(health_of(scratch, EVENING), "coverage").text.tolist() == ["12 of 14 slots"]


def test_the_limit_is_the_configured_one(scratch):
    bars = market()
    store(scratch, bars[~rows_of(bars, "ZZA", DAYS[2].day, "11:00", "11:15")])
    assert health_of(scratch, EVENING).breach
    assert not health_of(scratch, EVENING, config=Config({"min_coverage": 0.9})).breach


def test_an_outage_of_all_is_told_once(scratch):
    bars = market()
    out = pd.concat([rows_of(bars, s, DAYS[5].day, "11:00", "12:59") for s in SYMBOLS], axis=1)
    whole = local(bars).dt.date == DAYS[7].day
    store(scratch, bars[~out.any(axis=1) & ~whole])
    health = health_of(scratch, EVENING)
    thin = found(health, "coverage")
    assert thin.symbol.isna().all() and thin.session.tolist() == [DAYS[7].day, DAYS[5].day]
    assert thin.text.tolist()[0] == "nobody has a bar in this session"
    assert thin.text.tolist()[1].startswith("6 of 6 securities, such as ZZA, ZZB, ZZC: 18 of 26")
    assert len(found(health, "gap")) == 1 and (health.coverage[DAYS[7].day] == 0).all()


def test_nobody_is_blamed_before_the_first_bar(scratch):
    "A listing in the middle of a day is complete with half a day"
    bars = market()
    late = (bars.symbol == "ZZD") & (bars.ts < pd.Timestamp(DAYS[6].opens + timedelta(hours=3)))
    store(scratch, bars[~late])
    health = health_of(scratch, EVENING)
    assert health.findings.empty
    row = health.coverage[health.securities.symbol == "ZZD"].iloc[0]
    assert row[:6].isna().all() and (row[6:] == 1).all()


def test_with_since_the_bars_before_it_still_count_as_a_life(scratch):
    bars = market()
    gone = rows_of(bars, "ZZD", DAYS[6].day) | rows_of(bars, "ZZD", DAYS[7].day)
    late = (bars.symbol == "ZZE") & (bars.ts < pd.Timestamp(DAYS[8].opens))
    store(scratch, bars[~gone & ~late])
    health = health_of(scratch, EVENING, since=DAYS[6].day)
    assert health.counts["sessions"] == len(DAYS) - 6
    thin = found(health, "coverage")
    assert thin.symbol.tolist() == ["ZZD"] * 2 and thin.session.tolist() == [
        d.day for d in DAYS[6:8]
    ]


def test_since_a_session_that_nobody_has(scratch):
    bars = market()
    store(scratch, bars[local(bars).dt.date != DAYS[6].day])
    health = health_of(scratch, EVENING, since=DAYS[6].day)
    assert found(health, "coverage").text.tolist() == ["nobody has a bar in this session"]


def test_two_histories_years_apart_are_no_hole(scratch):
    old = market(SYMBOLS[:4], sessions_between(date(2023, 3, 1), date(2023, 3, 17)))
    store(scratch, pd.concat([old, market()]))
    health = health_of(scratch, EVENING)
    assert not health.breach and health.counts["sessions"] == 13 + len(DAYS)
    assert not len(found(health, "gap")) and not len(found(health, "split"))
    assert not health_of(scratch, EVENING, since=date(2025, 11, 3)).breach


def test_a_long_silence_of_one_security_ends_its_life(scratch):
    days = sessions_between(date(2025, 6, 2), date(2025, 12, 5))
    bars = market(SYMBOLS[:2], days, 60)
    silent = rows_of(bars, "ZZB") & (bars.ts > pd.Timestamp(days[10].opens))
    bars = bars[~(silent & (bars.ts < pd.Timestamp(days[-10].opens)))]
    store(scratch, bars, timeframe="1hour", span=timedelta(hours=1))
    told_ = told(health_of(scratch, EVENING, timeframe="1hour"), "gap")
    assert len(told_) == 1 and told_[0][1].endswith("another company's by now")
    assert health_of(scratch, EVENING, timeframe="1hour").breach is False
    patient = Config({"reuse_gap_sessions": 250})
    assert health_of(scratch, EVENING, timeframe="1hour", config=patient).breach


def test_a_slot_in_which_nothing_traded_is_no_hole(scratch):
    bars = market()
    quiet = rows_of(bars, "ZZA", DAYS[2].day, "11:00", "12:00")
    bars.loc[quiet, "volume"] = 0.0
    bars.loc[rows_of(bars, "ZZA", LAST.day, "15:00"), "volume"] = 0.0
    store(scratch, bars)
    health = health_of(scratch, EVENING)
    assert health.counts["quiet_slots"] == 9 and not health.breach
    assert set(health.findings.kind) == {"quarantine"}
    assert found(health, "quarantine").value.tolist() == [9]
    noon = health_of(scratch, DAYS[2].opens + timedelta(hours=2))
    assert noon.counts["quiet_slots"] == 2, "quiet slots after asof do not exist"


def test_a_thin_security_is_told_once_and_its_lost_afternoon_is_a_breach(scratch):
    bars = market()
    rng = np.random.default_rng(7)
    thin = (bars.symbol == "ZZF") & (rng.uniform(size=len(bars)) < 0.3)
    thin &= ~local(bars).dt.strftime("%H:%M").isin(["09:30", "15:45"])
    store(scratch, bars[~thin & ~rows_of(bars, "ZZF", DAYS[3].day, "12:00")])
    f = found(health_of(scratch, EVENING), "coverage")
    assert f.symbol.tolist() == ["ZZF"] * 2 and f.breach.tolist() == [True, False]
    assert f.session.iloc[0] == DAYS[3].day and "thinly traded" in f.text.iloc[1]


def test_a_feed_that_leaves_slots_out_is_a_breach(scratch):
    bars = market()
    kept = np.random.default_rng(7).uniform(size=len(bars)) > 0.3
    kept |= local(bars).dt.strftime("%H:%M").isin(["09:30", "15:45"])
    store(scratch, bars[kept])
    f = found(health_of(scratch, EVENING), "coverage")
    rule = f[f.session.isna()]
    assert len(rule) == 1 and rule.breach.all() and "the feed leaves slots out" in rule.text.iloc[0]


def test_many_findings_of_one_security_become_one(scratch):
    days = sessions_between(date(2025, 9, 2), date(2025, 12, 5))
    bars = market(SYMBOLS[:3], days)
    worst = rows_of(bars, "ZZB", days[40].day, "12:00")
    store(scratch, bars[~rows_of(bars, "ZZB", start="14:00") & ~worst])
    f = found(health_of(scratch, EVENING), "coverage")
    assert len(f) == 1 and f.session.iloc[0] == days[40].day
    # not the half day, which is complete, and not the last one, which is a matter of age
    span = f"{days[0].day} to {days[-2].day}"
    assert f.text.iloc[0] == f"{len(days) - 2} times, {span}; the worst: 10 of 26 slots"


# --- age


def test_guard_11_a_store_that_nobody_feeds_is_behind(scratch):
    "guard-11: dead for days and nobody noticed"
    store(scratch, market())
    asof = session_offset(LAST.day, 2).closes
    f = found(health_of(scratch, asof), "staleness")
    assert f.breach.tolist() == [True] and f.symbol.isna().all() and f.value.tolist() == [52]
    assert not health_of(scratch, session_offset(LAST.day, 1).opens).breach, "a weekend is no age"


def test_guard_11_one_security_that_stopped_is_behind(scratch):
    bars = market()
    store(scratch, bars[~rows_of(bars, "ZZB", LAST.day, "14:00")])
    assert told(health_of(scratch, EVENING), "staleness") == [
        ("ZZB", "last bar 2025-12-05 13:45, 8 slots behind", True)
    ]


def test_a_security_that_left_is_not_behind(scratch):
    bars = market()
    gone = (bars.ts >= pd.Timestamp(DAYS[8].opens)) & bars.symbol.isin(["ZZA", "ZZB", "ZZC"])
    store(scratch, bars[~gone])
    ids = {
        r["symbol"]: r["security_id"]
        for r in scratch.rows("select symbol, security_id from securities")
    }
    stale = lambda: found(health_of(scratch, EVENING), "staleness").breach.tolist()
    assert stale() == [True], "three of six: one common finding"
    scratch.run("update securities set valid_to = '2025-11-28' where symbol = 'ZZA'")
    scratch.run("update securities set is_active = false where symbol = 'ZZB'")
    scratch.run(
        "insert into security_tracking_state (security_id, first_seen, tier, tracking_reason) values (:i, :t, 'archive', 'x')",
        i=ids["ZZC"], t=EVENING,
    )  # fmt: skip
    assert stale() == []


def test_guard_12_an_empty_store_is_not_healthy(scratch):
    "guard-12: failed is not empty, and empty is not healthy"
    told_ = run_health(scratch, EVENING)
    assert told_["breach"] and told_["bars"] == 0
    assert json.loads(json.dumps(told_, allow_nan=False))["findings"][0]["value"] is None
    assert "no security that is followed has a bar" in told_["findings"][0]["text"]


# --- clocks


@pytest.mark.parametrize("hours", [1, -1, -4, 5])
def test_an_hour_off_is_found(scratch, hours):
    bars = market()
    bars.loc[rows_of(bars, "ZZA", DAYS[4].day), "ts"] += timedelta(hours=hours)
    store(scratch, bars)
    clock = told(health_of(scratch, EVENING))
    which = f"stamps look {abs(hours)} h {'late' if hours > 0 else 'early'} in 1 session"
    assert [(c[0], c[1].startswith(which), c[2]) for c in clock if "look" in c[1]] == [
        ("ZZA", True, True)
    ]


@pytest.mark.parametrize("hours", [1, -1])
def test_an_hour_off_is_found_with_extended_hours(scratch, hours):
    "No slot is missing then: only the volume tells"
    bars = market(extended=True)
    bars.loc[rows_of(bars, "ZZA"), "ts"] += timedelta(hours=hours)
    store(scratch, bars)
    health = health_of(scratch, EVENING)
    assert health.counts["slots_present"] == health.counts["slots_expected"]
    assert any(f"{len(DAYS)} sessions" in c[1] and c[0] == "ZZA" for c in told(health))


def test_a_feed_an_hour_off_is_told_once(scratch):
    bars = market()
    march = local(bars).dt.date.isin([d.day for d in DAYS[3:6]])
    bars.loc[march, "ts"] += timedelta(hours=1)
    store(scratch, bars)
    clock = told(health_of(scratch, EVENING))
    assert len(clock) == 1 and clock[0][0] is None and "6 of 6 securities" in clock[0][1]
    assert "in 3 sessions, 2025-11-20 to 2025-11-24" in clock[0][1]


@pytest.mark.parametrize("extended", [False, True])
def test_a_feed_that_stamps_by_the_end_is_found(scratch, extended):
    bars = market(extended=extended)
    late = bars[bars.symbol.isin(SYMBOLS[:3])]
    ends = late.assign(ts=late.ts + timedelta(minutes=15), symbol=late.symbol + "E")
    store(scratch, bars, feed="starts")
    store(scratch, ends, feed="<ends>")
    clock = [c for c in told(health_of(scratch, EVENING)) if "open + 15min" in c[1]]
    assert (
        len(clock) == 1
        and "feed <ends>" in clock[0][1]
        and "by their end" in clock[0][1]
        and clock[0][2]
    )


def test_stamps_on_days_and_at_hours_without_trading(scratch):
    bars = market()
    some = bars[rows_of(bars, "ZZA", DAYS[4].day, "10:00", "10:30")]
    moved = [some.assign(ts=some.ts + timedelta(days=d)) for d in (1, 6)]
    moved.append(some.assign(ts=some.ts + timedelta(hours=12)))
    store(scratch, pd.concat([bars, *moved]))
    clock = {c[1].split(",")[0]: (c[0], c[2]) for c in told(health_of(scratch, EVENING))}
    assert clock == {
        f"3 bars {why}": ("ZZA", True) for why in ("on a weekend", "on a holiday", "at night")
    }


def test_daily_bars_stand_at_the_open(scratch):
    days = pd.DataFrame({"ts": [d.opens for d in DAYS], "close": [d.closes for d in DAYS]})
    parts = []
    for n, symbol in enumerate(SYMBOLS[:3]):
        price = 50 + n + np.arange(len(DAYS)) / 10
        prices = {c: price for c in PRICES} | {"high": price + 1, "volume": 1e6}
        parts.append(pd.DataFrame({"symbol": symbol, "ts": days.ts, "ends": days.close, **prices}))
    bars = pd.concat(parts, ignore_index=True)
    bars = bars[~rows_of(bars, "ZZB", DAYS[5].day)]
    store(scratch, bars, timeframe="1day", ends=bars.ends)
    health = health_of(scratch, EVENING, timeframe="1day")
    assert told(health, "coverage") == [("ZZB", "0 of 1 slot", True)] and not told(health)
    row = scratch.value("select max(time_id) from trading_history")
    scratch.value("select ensure_times(array[cast(:t as bigint)])", t=row + 3600)
    scratch.run("update trading_history set time_id = :b where time_id = :a", a=row, b=row + 3600)
    assert "off the grid" in told(health_of(scratch, EVENING, timeframe="1day"))[0][1]


# --- prices


def test_a_price_that_stands_still_is_found(scratch):
    bars = market()
    frozen = rows_of(bars, "ZZA", DAYS[3].day)
    bars.loc[frozen, PRICES] = 47.25
    repeated = rows_of(bars, "ZZB", DAYS[5].day, "11:00", "14:45")
    bars.loc[repeated, PRICES] = [50.0, 50.4, 49.9, 50.1]
    store(scratch, bars)
    health = health_of(scratch, EVENING)
    assert told(health, "stuck") == [
        ("ZZA", "26 bars without a change at 47.25, 2025-11-20 09:30 to 15:45", False),
        ("ZZB", "15 bars without a change at 50.10, 2025-11-24 11:15 to 14:45", False),
    ]
    assert not health.breach


@pytest.mark.parametrize("ratio", [4.0, 1.5, 0.1])
def test_an_unadjusted_split_is_found_until_it_is_on_record(scratch, ratio):
    bars, day = market(), DAYS[6]
    before = (bars.symbol == "ZZC") & (bars.ts < pd.Timestamp(day.opens))
    bars.loc[before, PRICES] *= ratio
    store(scratch, bars)
    f = found(health_of(scratch, EVENING), "split")
    assert f.symbol.tolist() == ["ZZC"] and f.session.tolist() == [day.day] and not f.breach.any()
    assert f.value.iloc[0] == pytest.approx(ratio, rel=0.04)
    scratch.run(
        "insert into corporate_actions values ((select security_id from securities where symbol = 'ZZC'), :d, 'split', :r, null, :k, 'x')",
        d=day.day, r=ratio, k=EVENING - timedelta(hours=1),
    )  # fmt: skip
    assert not len(found(health_of(scratch, EVENING), "split"))
    early = health_of(scratch, EVENING - timedelta(hours=1, minutes=5))
    assert len(found(early, "split")) == 1, "not on record yet"


def test_a_crash_that_recovers_or_misses_the_ratio_is_no_split(scratch):
    bars = market()
    bars.loc[rows_of(bars, "ZZA", DAYS[6].day), PRICES] *= 0.5
    bars.loc[(bars.symbol == "ZZB") & (bars.ts >= pd.Timestamp(DAYS[6].opens)), PRICES] *= 0.78
    store(scratch, bars)
    assert not len(found(health_of(scratch, EVENING), "split"))


# --- as of


def test_bars_that_were_not_available_do_not_exist(scratch):
    bars = market()
    asof = DAYS[5].opens + timedelta(hours=2, minutes=7)
    known = bars.ts + timedelta(minutes=15) <= asof
    store(scratch, bars[known])
    before = health_of(scratch, asof)
    later = bars[~known]
    later.loc[later.index[::3], PRICES] *= 4
    store(scratch, later[~rows_of(later, "ZZA", DAYS[6].day)], feed="other")
    after = health_of(scratch, asof)
    pd.testing.assert_frame_equal(before.findings, after.findings)
    pd.testing.assert_frame_equal(before.coverage, after.coverage)
    assert (before.counts, before.breach) == (after.counts, False)
    assert health_of(scratch, EVENING).breach


def test_bad_questions_are_refused(scratch):
    with pytest.raises(InputError, match="since: received '2025-12-08'"):
        health_of(scratch, EVENING, since=date(2025, 12, 8))
    with pytest.raises(InputError, match="timeframe: received '1week'"):
        health_of(scratch, EVENING, timeframe="1week")
    with pytest.raises(InputError, match="asof"):
        health_of(scratch, EVENING.replace(tzinfo=None))


# --- the page and the command


@pytest.fixture
def sick(scratch):
    bars = market()
    store(
        scratch, bars[~rows_of(bars, "ZZC", DAYS[4].day, "13:00")], feed="<script>alert(1)</script>"
    )
    bad = bars[:4].assign(high=bars.high[:4].mask(bars.index[:4] > 0, 1.0))
    store(scratch, bad, feed='"><img src=x onerror=alert(1)>')
    return health_of(scratch, EVENING)


def test_names_from_outside_are_text_on_the_page(sick, tmp_path):
    hostile = sick.securities.assign(symbol='</title><script>"x"', sector="<svg onload=alert(1)>")
    findings = sick.findings.assign(symbol="<img src=x>", text=sick.findings.text + "<script>")
    whole = health_page(replace(sick, securities=hostile, findings=findings), 0.95)
    assert (
        whole.count("<script") == 1
        and "<img" not in whole
        and "onload=alert(1)>" not in whole.replace("&gt;", "")
    )
    assert "default-src &#x27;none&#x27;" in whole and "http" not in whole.replace("http-equiv", "")
    text = write_health_page(sick, tmp_path / "h.html").read_text("utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;" in text and "<img" not in text
    with pytest.raises(UnavailableError, match="cannot write"):
        write_health_page(sick, tmp_path / "no" / "h.html")


def test_the_page_is_the_same_for_the_same_store(scratch, tmp_path):
    bars = market()
    store(scratch, bars[~rows_of(bars, "ZZC", DAYS[4].day, "13:00")])
    for name in ("a", "b"):
        run_health(scratch, EVENING, path=tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_a_program_gets_json_and_a_person_a_table(scratch, tmp_path):
    bars = market()
    store(scratch, bars[~rows_of(bars, "ZZC", DAYS[4].day, "13:00")])
    got = run_health(scratch, EVENING, since=DAYS[0].day, path=tmp_path / "h.html")
    again = json.loads(json.dumps(got, allow_nan=False))
    assert again["breach"] and again["kinds"]["coverage"] == {"findings": 1, "breaches": 1}
    assert again["findings"][0]["session"] == "2025-11-21" and again["page"].endswith("h.html")
    assert {"what": "coverage", "findings": 1, "breaches": 1} in kind_rows(got)
    assert [r["symbol"] for r in worst_rows(got, 1)] == ["ZZC", None]


def test_the_map_shows_each_bad_cell_and_stays_small(sick):
    drawn = heat_map(sick.coverage, sick.securities, 0.95)
    assert "ZZC, 2025-11-21: 54%" in drawn and drawn.count('class="s3"') == 1
    assert drawn.count('class="s0"') == 7, "one shape for each whole row, two around the hole"
    rng = np.random.default_rng(1)
    days = pd.Index(
        [d.day for d in sessions_between(date(2018, 1, 2), date(2025, 12, 5))], name="session"
    )
    cover = pd.DataFrame(rng.choice([1, 0.97, 0.6, 0], (1000, len(days))), columns=days)
    names = pd.DataFrame({"symbol": [f"S{i}" for i in range(1000)], "sector": None})
    large = heat_map(cover, names, 0.95)
    assert large.count("<rect") <= 120 * 260 and len(large) < 6_000_000
    assert "of 1,000" in large and "Each column is a week" in large


def test_every_length_of_bars_has_a_grid(scratch):
    lengths = [t for t in Timeframe if t != "1week"]
    assert (
        all(health_of(scratch, EVENING, timeframe=t).breach for t in lengths) and len(lengths) == 7
    )
