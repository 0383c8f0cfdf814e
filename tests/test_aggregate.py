"Long bars out of short ones: against a plain pandas resample, by properties, and as of an instant."

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.aggregate import aggregate, aggregate_stored
from catalyst.bars import PRICES, import_bars
from catalyst.clock import NEW_YORK, get_session, sessions_between
from catalyst.core import InputError, Timeframe
from catalyst.history import read_bars
from catalyst.replay import SPAN

HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def frame(symbols, ts, prices, volume, timeframe):
    "A bars frame out of columns"
    ts = pd.DatetimeIndex(ts).tz_convert("UTC").as_unit("us")
    ids = pd.Categorical(symbols).codes.astype("int64")
    index = pd.MultiIndex.from_arrays([ids, ts], names=["security_id", "ts"])
    out = pd.DataFrame(
        {c: np.asarray(p, "float64") for c, p in zip(PRICES, prices, strict=True)}, index
    )
    out["volume"] = np.asarray(volume, "float64")
    out["available_at"] = pd.DatetimeIndex(ts + SPAN[Timeframe(timeframe)]).as_unit("us")
    return out.sort_index()


def load(path, timeframe):
    f = pd.read_parquet(path)
    return frame(f.symbol, f.ts, [f[c] for c in PRICES], f.volume, timeframe)


def resampled(bars, to):
    "The same by pandas: one Grouper per session and part of the day, nothing of ours but the calendar"
    flat = bars.reset_index()
    days = flat.ts.dt.tz_convert(NEW_YORK).dt.date
    out = []
    for session in sessions_between(days.min(), days.max()):
        edges = [session.starts, session.opens, session.closes, session.ends]
        today = flat[(flat.ts >= edges[0]) & (flat.ts < edges[3])]
        for begin, end in zip(edges, edges[1:]):
            part = today[(today.ts >= begin) & (today.ts < end)]
            if not len(part) or (to == "1day" and begin != session.opens):
                continue
            width = pd.Timedelta(end - begin) if to == "1day" else pd.Timedelta(SPAN[Timeframe(to)])
            slots = pd.Grouper(key="ts", freq=width, origin=pd.Timestamp(begin))
            made = part.groupby(["security_id", slots]).agg(HOW).dropna(subset=["open"])
            ends = np.minimum(made.index.get_level_values("ts") + width, pd.Timestamp(end))
            out.append(made.assign(available_at=ends))
    made = pd.concat(out).sort_index()
    index = made.index.set_levels(made.index.levels[1].as_unit("us"), level=1)
    return made.set_index(index).astype({"available_at": "datetime64[us, UTC]"})


def same(ours, theirs):
    pd.testing.assert_frame_equal(ours.reset_index(), theirs.reset_index(), check_exact=True)


@pytest.fixture(scope="module")
def minutes(request):
    from conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip(f"real data is not here: {SHARED}")
    bars = load(SHARED / "tech99_1min_2025-01_ext.parquet", "1min")
    return bars[bars.index.get_level_values("ts") < pd.Timestamp("2025-01-18", tz="UTC")]


@pytest.mark.parametrize("to", ["5min", "15min", "1hour", "1day"])
def test_real_minutes_equal_a_pandas_resample(minutes, to):
    same(aggregate(minutes, "1min", to), resampled(minutes, to))


def test_steps_equal_one_leap(minutes):
    "1 → 5 → 15 → 30 → 60 → day gives what 1 → each gives, delays included"
    rng = np.random.default_rng(4)
    late = pd.to_timedelta(
        rng.integers(0, 90, len(minutes)) * (rng.random(len(minutes)) < 0.1), unit="s"
    )
    bars, short = minutes.assign(available_at=minutes.available_at + late.as_unit("us")), "1min"
    steps = bars
    for to in ("5min", "15min", "30min", "1hour", "1day"):
        steps, short = aggregate(steps, short, to), to
        pd.testing.assert_frame_equal(steps, aggregate(bars, "1min", to))


def test_five_minutes_of_a_half_year_equal_a_pandas_resample(shared):
    "Both changes of the clocks and three half days are in it"
    bars = load(shared / "ibkr_5min_101_2025.parquet", "5min")
    bars = bars[bars.index.get_level_values(0) < 12]
    for to in ("15min", "1hour", "1day"):
        same(aggregate(bars, "5min", to), resampled(bars, to))


def test_the_vendor_s_own_quarter_hours(shared):
    "All 429,451 bars of its 15-minute file come out of its 5-minute file, value for value"
    ours = aggregate(load(shared / "ibkr_5min_101_2025.parquet", "5min"), "5min", "15min")
    own = load(shared / "ibkr_15min_101_2025.parquet", "15min")
    pd.testing.assert_frame_equal(
        ours.drop(columns="available_at"), own.drop(columns="available_at")
    )


# --- stamps and instants


def one_day(day, prices, first="09:30", timeframe="1min", delay=0):
    ts = pd.date_range(
        f"{day} {first}", periods=len(prices), freq=SPAN[Timeframe(timeframe)], tz=NEW_YORK
    )
    out = frame(["A"] * len(ts), ts, [prices] * 4, np.full(len(ts), 10.0), timeframe)
    return out.assign(available_at=out.available_at + pd.Timedelta(seconds=delay).as_unit("us"))


@pytest.mark.parametrize("day,hours", [("2025-08-13", 7), ("2025-11-28", 4), ("2025-03-10", 7)])
def test_regular_hours_count_from_the_open_and_end_with_the_close(day, hours):
    session = get_session(day)
    n = int((session.closes - session.opens).total_seconds() // 60)
    made = aggregate(one_day(day, np.arange(1.0, n + 1)), "1min", "1hour")
    starts = made.index.get_level_values("ts")
    assert [t.minute for t in starts.tz_convert(NEW_YORK)] == [30] * hours
    assert made.available_at.iloc[-1] == session.closes
    assert made.volume.sum() == n * 10


def test_no_bar_holds_two_parts_of_the_day():
    day = one_day("2025-08-13", np.arange(1.0, 961), "04:00")
    for to in ("5min", "15min", "30min", "1hour", "4hour"):
        made = aggregate(day, "1min", to)
        begins = made.index.get_level_values("ts").tz_convert(NEW_YORK)
        ends = made.available_at.dt.tz_convert(NEW_YORK) - timedelta(seconds=1)
        for edge in ("09:30", "16:00"):
            edge = pd.Timestamp(f"2025-08-13 {edge}", tz=NEW_YORK)
            assert not ((begins < edge) & (ends >= edge).to_numpy()).any(), to
        assert made.volume.sum() == day.volume.sum()


def test_a_bar_is_as_late_as_its_slowest_part():
    bars = one_day("2025-08-13", [1.0, 2, 3, 4, 5], delay=3)
    bars.loc[bars.index[1], "available_at"] += pd.Timedelta("1min")
    made = aggregate(bars, "1min", "5min")
    assert made.available_at.iloc[0] == pd.Timestamp("2025-08-13 09:36:03", tz=NEW_YORK)


def test_a_part_that_claims_to_be_early_does_not_open_its_bar_early():
    bars = one_day("2025-08-13", [1.0] * 5, delay=-50)
    made = aggregate(bars, "1min", "5min")
    assert made.available_at.iloc[0] == pd.Timestamp("2025-08-13 09:35", tz=NEW_YORK)


def test_hours_of_the_clock_are_refused():
    with pytest.raises(InputError, match="aggregate shorter bars"):
        aggregate(one_day("2025-08-13", [1.0, 2], "10:00", "1hour"), "1hour", "1day")


def test_nothing_in_nothing_out():
    bars = one_day("2025-08-13", [1.0])
    none = aggregate(bars[:0], "1min", "1hour")
    assert list(none) == list(bars) and not len(none)
    assert not len(aggregate(one_day("2025-08-16", [1.0]), "1min", "1hour"))  # A Saturday


# --- properties

WEEK = [
    s.starts for s in sessions_between(get_session("2025-11-24").day, get_session("2025-12-01").day)
]


@st.composite
def some_bars(draw):
    n = draw(st.integers(1, 60))
    at = st.tuples(st.integers(0, 1), st.sampled_from(WEEK), st.integers(0, 959))
    keys = draw(st.lists(at, min_size=n, max_size=n, unique=True))
    low = np.array(draw(st.lists(st.integers(1, 10**6), min_size=n, max_size=n))) / 100
    up = np.array(draw(st.lists(st.integers(0, 500), min_size=n, max_size=n))) / 100
    ts = [day + timedelta(minutes=m) for _, day, m in keys]
    volume = draw(st.lists(st.integers(1, 10**9), min_size=n, max_size=n))
    return frame([str(k[0]) for k in keys], ts, [low, low + up, low, low + up], volume, "1min")


@settings(max_examples=60, deadline=None)
@given(
    bars=some_bars(),
    to=st.sampled_from(["5min", "15min", "1hour", "4hour"]),
    seed=st.integers(0, 99),
)
def test_extremes_sums_and_order(bars, to, seed):
    made = aggregate(bars, "1min", to)
    assert made.volume.sum() == bars.volume.sum()
    assert made.high.max() == bars.high.max() and made.low.min() == bars.low.min()
    assert (made.available_at > made.index.get_level_values("ts")).all()
    step = SPAN[Timeframe(to)]
    for (i, ts), row in made.iterrows():
        parts = bars.loc[i]
        parts = parts[(parts.index >= ts) & (parts.index < min(ts + step, row.available_at))]
        assert (row.high, row.low, row.volume) == (
            parts.high.max(),
            parts.low.min(),
            parts.volume.sum(),
        )
        assert (row.open, row.close) == (parts.open.iloc[0], parts.close.iloc[-1])
        assert row.available_at >= parts.available_at.max()
    pd.testing.assert_frame_equal(
        made, aggregate(bars.sample(frac=1, random_state=seed), "1min", to)
    )


# --- stored


def flat(bars, symbol="AAPL"):
    return bars.reset_index().drop(columns="security_id").assign(symbol=symbol)


def test_an_hour_is_never_read_before_its_end(scratch):
    "At no minute of the day is there an hour that has not ended, whenever it was made"
    session = get_session("2025-11-28")
    import_bars(
        scratch,
        flat(one_day("2025-11-28", np.arange(1.0, 541), "04:00")),
        "1min",
        "demo",
        session.ends,
    )
    aggregate_stored(scratch, session.ends, "1min", "1hour")
    held = read_bars(scratch, session.ends, "1hour")
    assert len(held) == 6 + 4
    for minute in range(0, 600, 7):
        asof = session.starts + timedelta(minutes=minute)
        seen = read_bars(scratch, asof, "1hour").index.get_level_values("ts")
        for ts in seen:
            edge = next(e for e in (session.opens, session.closes, session.ends) if e > ts)
            assert min(ts + timedelta(hours=1), edge) <= asof, (ts, asof)
        assert len(seen) == (held.available_at <= asof).sum()


def test_step_by_step_gives_what_the_evening_gives(scratch):
    "Aggregating every quarter of an hour and once at night leave the same rows"
    session, bars = get_session("2025-08-13"), one_day("2025-08-13", np.arange(1.0, 391))
    import_bars(scratch, flat(bars), "1min", "demo", session.ends)
    for i in range(27):
        asof = session.opens + timedelta(minutes=15 * i, seconds=1)
        aggregate_stored(scratch, asof, "1min", "1hour")
    piecewise = read_bars(scratch, session.ends, "1hour")
    scratch.run("delete from trading_history where timeframe = '1hour'")
    aggregate_stored(scratch, session.ends, "1min", "1hour")
    pd.testing.assert_frame_equal(piecewise, read_bars(scratch, session.ends, "1hour"))
    again = aggregate_stored(scratch, session.ends, "1min", "1hour")
    assert (again.inserted, again.updated) == (0, 0)


def test_what_comes_later_changes_no_bar(scratch):
    "Bars of the future are stored; aggregates made as of an instant do not know them"
    session, asof = get_session("2025-08-13"), datetime(2025, 8, 13, 14, 30, tzinfo=UTC)
    import_bars(
        scratch, flat(one_day("2025-08-13", np.arange(1.0, 61))), "1min", "demo", session.ends
    )
    import_bars(
        scratch, flat(one_day("2025-08-13", [500.0] * 60, "10:30")), "1min", "demo", session.ends
    )
    aggregate_stored(scratch, asof, "1min", "1hour")
    made = read_bars(scratch, session.ends, "1hour")
    assert made.high.tolist() == [60.0] and made.available_at.iloc[0] == asof


def test_a_minute_that_is_late_is_not_in_an_hour_made_before_it_came(scratch):
    session, bars = get_session("2025-08-13"), one_day("2025-08-13", np.arange(1.0, 61))
    bars.loc[bars.index[5], ["available_at", "high"]] = [
        bars.available_at.iloc[5] + pd.Timedelta("3h"),
        900.0,
    ]
    import_bars(scratch, flat(bars), "1min", "demo", session.ends)
    asof = session.opens + timedelta(hours=1)
    aggregate_stored(scratch, asof, "1min", "1hour")
    made = read_bars(scratch, asof, "1hour")
    assert made.high.tolist() == [60.0] and made.volume.tolist() == [590.0]
    scratch.run("delete from trading_history where timeframe = '1hour'")
    aggregate_stored(scratch, session.ends, "1min", "1hour")
    assert read_bars(scratch, asof + timedelta(minutes=59), "1hour").empty
    assert read_bars(scratch, session.ends, "1hour").high.tolist() == [900.0]


def test_a_span_makes_whole_buckets_only(scratch):
    "A span that begins inside of an hour makes none from a part of its minutes"
    session = get_session("2025-08-13")
    import_bars(
        scratch, flat(one_day("2025-08-13", np.arange(1.0, 391))), "1min", "demo", session.ends
    )
    start, end = (session.opens + timedelta(minutes=m) for m in (60, 121))
    aggregate_stored(scratch, session.ends, "1min", "1hour", start, end)
    made = read_bars(scratch, session.ends, "1hour")
    assert made.volume.tolist() == [600.0, 600.0]
    assert made.open.tolist() == [61.0, 121.0]


def test_aggregates_inherit_what_their_feed_did_to_its_prices(scratch):
    session = get_session("2025-08-13")
    scratch.run("insert into bar_feeds values ('vendor', 'split', :t)", t=session.opens)
    import_bars(scratch, flat(one_day("2025-08-13", [1.0] * 390)), "1min", "vendor", session.ends)
    import_bars(
        scratch, flat(one_day("2025-08-13", [1.0] * 390), "MSFT"), "1min", "files", session.ends
    )
    aggregate_stored(scratch, session.ends, "1min", "1day")
    told = scratch.rows(
        "select distinct h.feed, f.adjustment from trading_history h join bar_feeds f using (feed) where timeframe = '1day' order by 1"
    )
    assert [tuple(r.values()) for r in told] == [
        ("aggregate:files", "raw"),
        ("aggregate:vendor", "split"),
    ]
    aggregate_stored(scratch, session.ends, "1min", "1hour")
    scratch.run("delete from trading_history where timeframe = '1day'")
    aggregate_stored(scratch, session.ends, "1hour", "1day")
    assert (
        scratch.value(
            "select count(distinct feed) from trading_history where feed like 'aggregate:aggregate%'"
        )
        == 0
    )


def test_a_bar_of_the_feed_itself_stays(scratch):
    session = get_session("2025-08-13")
    import_bars(
        scratch,
        flat(one_day("2025-08-13", [7.0], timeframe="15min")),
        "15min",
        "demo",
        session.ends,
    )
    import_bars(scratch, flat(one_day("2025-08-13", [1.0] * 30)), "1min", "demo", session.ends)
    done = aggregate_stored(scratch, session.ends, "1min", "15min")
    assert (done.inserted, done.unchanged) == (1, 1)
    assert read_bars(scratch, session.ends).close.tolist() == [7.0, 1.0]
