"The one reader of bars: what it returns, as of when, and how its frame looks."

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.bars import PRICES, import_bars
from catalyst.clock import get_session, sessions_between, slots
from catalyst.core import InputError, Timeframe
from catalyst.history import bars_frame, bars_index, read_bars

DAY = get_session("2025-08-13")


def quarters(symbol, day, price=10.0, delay=0):
    ts = pd.DatetimeIndex(slots(get_session(day))[:-1]).as_unit("us")
    steps = price + np.arange(len(ts)) / 4
    out = pd.DataFrame({"symbol": symbol, "ts": ts, "open": steps, "high": steps + 0.5})
    out = out.assign(low=steps - 0.5, close=steps + 0.0001, volume=100.0 + np.arange(len(ts)))
    return out.assign(
        available_at=ts + pd.Timedelta("15min") + pd.Timedelta(seconds=delay).as_unit("us")
    )


@pytest.fixture
def store(scratch):
    "Two securities, sessions in two months, the later ones stored first"
    for day in ("2025-08-13", "2025-08-01", "2025-07-31"):
        both = pd.concat([quarters("MSFT", day, 500), quarters("AAPL", day, 200)])
        import_bars(scratch, both, "15min", "demo", DAY.ends)
    return scratch


def plain(store, where="true"):
    "The same by a plain query and set_index"
    flat = store.frame(
        f"""select security_id\\:\\:bigint as security_id, to_timestamp(time_id) as ts, open, high, low, close, volume\\:\\:float8 as volume, available_at
            from trading_history where timeframe = '15min' and {where} order by security_id, time_id"""
    )
    return flat.set_index(["security_id", "ts"])


def test_it_reads_what_a_plain_query_reads(store):
    got = read_bars(store, DAY.ends)
    pd.testing.assert_frame_equal(got, plain(store), check_exact=True)
    assert got.index.is_monotonic_increasing and got.index.is_unique
    assert got.index.names == ["security_id", "ts"] and len(got) == 2 * 26 * 3
    assert [str(t) for t in got.index.dtypes] == ["int64", "datetime64[us, UTC]"]


def test_prices_come_out_to_the_last_digit(scratch):
    "Four decimals survive the way through numeric and back"
    ts = pd.DatetimeIndex(slots(DAY)[:-1]).as_unit("us")
    rng = np.random.default_rng(3)
    prices = np.round(rng.uniform(0.0001, 99_999, len(ts)), 4)
    rows = pd.DataFrame({"symbol": "AAPL", "ts": ts} | {c: prices for c in PRICES})
    import_bars(
        scratch,
        rows.assign(volume=2.0**40, available_at=ts + pd.Timedelta("15min")),
        "15min",
        "demo",
        DAY.ends,
    )
    got = read_bars(scratch, DAY.ends)
    assert got.close.tolist() == prices.tolist() and got.volume.tolist() == [2.0**40] * 26


def test_a_bar_is_there_from_the_instant_it_is_available(store):
    "available_at exactly at asof is included, a microsecond earlier is not"
    for asof in (DAY.opens + timedelta(minutes=15), DAY.closes):
        seen, before = (read_bars(store, t) for t in (asof, asof - timedelta(microseconds=1)))
        assert len(seen) == len(before) + 2
        assert (seen.available_at <= asof).all() and seen.available_at.max() == asof


def test_a_slow_feed_s_bar_waits(scratch):
    import_bars(scratch, quarters("AAPL", "2025-08-13", delay=20), "15min", "demo", DAY.ends)
    end = DAY.opens + timedelta(minutes=15)
    assert read_bars(scratch, end).empty
    assert len(read_bars(scratch, end + timedelta(seconds=20))) == 1


def test_what_comes_later_changes_nothing(store):
    asof = get_session("2025-08-01").closes
    before = read_bars(store, asof)
    store.run("update trading_history set open = 1, low = 1 where available_at > :t", t=asof)
    import_bars(store, quarters("NVDA", "2025-08-14"), "15min", "demo", DAY.ends)
    pd.testing.assert_frame_equal(before, read_bars(store, asof))


def test_spans_that_touch_share_no_bar(store):
    whole, cut = read_bars(store, DAY.ends), get_session("2025-08-01").opens + timedelta(minutes=30)
    first, last = read_bars(store, DAY.ends, end=cut), read_bars(store, DAY.ends, start=cut)
    assert len(first) + len(last) == len(whole)
    assert first.index.get_level_values("ts").max() < cut == last.index.get_level_values("ts").min()
    both = read_bars(store, DAY.ends, start=cut, end=cut + timedelta(minutes=15))
    assert both.index.get_level_values("ts").unique().tolist() == [cut]


def test_only_the_securities_that_were_asked_for(store):
    ids = read_bars(store, DAY.ends).index.get_level_values(0).unique()
    some = read_bars(store, DAY.ends, security_ids=[np.int64(ids[1]), 999_999])
    assert some.index.get_level_values(0).unique().tolist() == [ids[1]]
    pd.testing.assert_frame_equal(some, plain(store, f"security_id = {ids[1]}"))


def test_no_bars_have_the_same_columns(store):
    full = read_bars(store, DAY.ends)
    for none in (
        read_bars(store, datetime(2000, 1, 1, tzinfo=UTC)),
        read_bars(store, DAY.ends, security_ids=[]),
        read_bars(store, DAY.ends, "1min"),
        read_bars(store, DAY.ends, "1min", adjustment="all"),
    ):
        assert (
            none.empty and none.dtypes.equals(full.dtypes) and none.index.names == full.index.names
        )
        assert [str(t) for t in none.index.dtypes] == [str(t) for t in full.index.dtypes]


def test_mistakes_are_one_line(store):
    with pytest.raises(InputError, match="asof"):
        read_bars(store, datetime(2025, 8, 13))
    with pytest.raises(InputError, match="start"):
        read_bars(store, DAY.ends, start=datetime(2025, 8, 13))
    with pytest.raises(InputError, match="end"):
        read_bars(store, DAY.ends, end=datetime(2025, 8, 13), adjustment="raw")
    with pytest.raises(InputError, match="end"):
        read_bars(store, DAY.ends, end=datetime(2025, 8, 13), adjustment="all")
    with pytest.raises(InputError, match="timeframe: received '15 min'"):
        read_bars(store, DAY.ends, "15 min")


def test_it_reads_within_the_transaction_of_its_caller(store):
    "Rows that the transaction wrote are seen in it, and gone with it"
    n = len(read_bars(store, DAY.ends))
    with pytest.raises(ZeroDivisionError), store.transaction() as tx:
        tx.run("delete from trading_history")
        assert read_bars(tx, DAY.ends).empty and read_bars(tx, DAY.ends, adjustment="split").empty
        1 / 0
    assert len(read_bars(store, DAY.ends)) == n


def test_another_length_is_another_series(store):
    hour = quarters("AAPL", "2025-08-13").iloc[::4].assign(close=1.0, low=1.0)
    import_bars(
        store,
        hour.assign(available_at=hour.ts + pd.Timedelta("1h")),
        Timeframe.HOUR1,
        "demo",
        DAY.ends,
    )
    assert len(read_bars(store, DAY.ends, "1hour")) == 7
    assert len(read_bars(store, DAY.ends)) == 2 * 26 * 3


STARTS = [
    int(t.timestamp()) for s in sessions_between(DAY.day, DAY.day + timedelta(9)) for t in slots(s)
]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(1, 2**31 - 1), st.sampled_from(STARTS)), unique=True, max_size=40
    )
)
def test_the_index_is_the_one_that_pandas_makes(rows):
    rows = sorted(rows)
    ids, at = (np.array(c, "int64") for c in zip(*rows)) if rows else (np.empty(0, "int64"),) * 2
    ts = pd.DatetimeIndex((at * 10**6).view("datetime64[us]")).tz_localize("UTC")
    theirs = pd.MultiIndex.from_arrays([ids, ts], names=["security_id", "ts"])
    ours = bars_index(ids.astype("int32"), at)
    pd.testing.assert_index_equal(ours, theirs, exact=True)
    assert ours.is_monotonic_increasing
    assert all(
        level.is_monotonic_increasing for level in ours.levels
    )  # Or slices are slow, or fail
    for key in rows:
        assert ours.get_loc((key[0], ts[rows.index(key)])) == rows.index(key)


def test_rows_in_any_order_become_one_frame(store):
    from catalyst.history import unpacked

    flat = read_bars(store, DAY.ends).reset_index()
    flat["key"] = (flat.security_id.to_numpy() << 34) + flat.ts.array.asi8 // 10**6
    for c in PRICES:
        flat[c] = (flat[c] * 10_000).round().astype("int64")
    mixed = flat.sample(frac=1, random_state=2).drop(columns=["security_id", "ts"])
    pd.testing.assert_frame_equal(bars_frame(unpacked(mixed)), read_bars(store, DAY.ends))
