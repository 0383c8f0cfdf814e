"Splits and dividends: from files, as of an instant, and out of real prices."

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalyst.adjust import (
    ACTION_COLUMNS,
    adjusted,
    ex_instants,
    factors,
    import_actions,
    read_actions,
)
from catalyst.bars import PRICES, import_bars
from catalyst.clock import NEW_YORK, get_session
from catalyst.core import InputError
from catalyst.dims import security_ids
from catalyst.history import read_bars

NOW = datetime(2025, 12, 1, tzinfo=UTC)


def actions(*rows):
    out = pd.DataFrame(
        rows, columns=["symbol", "ex_date", "action_type", "ratio", "amount", "known_at"]
    )
    out["ex_date"] = pd.to_datetime(out.ex_date).astype("datetime64[s]")
    out["known_at"] = pd.to_datetime(out.known_at, utc=True).astype("datetime64[us, UTC]")
    return out.astype({"ratio": "float64", "amount": "float64"})


def flat(symbol, rows, length="30min"):
    ts = (
        pd.DatetimeIndex([pd.Timestamp(t, tz=NEW_YORK) for t, _ in rows])
        .tz_convert("UTC")
        .as_unit("us")
    )
    out = pd.DataFrame({"symbol": symbol, "ts": ts} | {c: [p for _, p in rows] for c in PRICES})
    return out.assign(volume=700.0, available_at=ts + pd.Timedelta(length))


@pytest.fixture(scope="module")
def hours(request):
    from conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip(f"real data is not here: {SHARED}")
    f = pd.read_parquet(SHARED / "lean_hour.parquet")
    f = f[f.symbol.isin(["AAPL", "IBM", "SPY"])].astype({"symbol": str, "volume": "float64"})
    return f.assign(available_at=f.ts + pd.Timedelta(hours=1))


@pytest.fixture
def lean(scratch, shared, hours):
    "A store with three securities' hours and LEAN's factors; ids by symbol"
    ids = security_ids(scratch, ["AAPL", "IBM", "SPY"])
    import_bars(scratch, hours[hours.ts >= "2013-06-01"], "1hour", "lean", NOW)
    told = read_actions(shared / "lean_factor_files.csv")
    import_actions(scratch, told[told.symbol.isin(list(ids))], "lean", NOW)
    return scratch, ids


def test_apple_has_no_jump_on_the_days_of_its_splits(lean):
    "7:1 on 2014-06-09 and 4:1 on 2020-08-31, from unadjusted hours"
    store, ids = lean
    at = {
        k: read_bars(store, NOW, "1hour", [ids["AAPL"]], adjustment=k).loc[ids["AAPL"]]
        for k in ("raw", "split")
    }
    for day, ratio in (("2014-06-09", 7), ("2020-08-31", 4)):
        edge = pd.Timestamp(get_session(day).starts)
        jump = {
            k: b.open[b.index > edge].iloc[0] / b.close[b.index < edge].iloc[-1]
            for k, b in at.items()
        }
        assert abs(jump["raw"] * ratio - jump["split"]) < 1e-9
        assert abs(jump["split"] - 1) < 0.03, (day, jump)
        assert jump["raw"] < 0.3
    dollars = {k: b.close * b.volume for k, b in at.items()}
    np.testing.assert_allclose(dollars["raw"], dollars["split"])
    same = at["raw"].index > pd.Timestamp("2020-08-31", tz="UTC")
    assert (at["raw"].close[same] == at["split"].close[same]).all()


def test_all_equals_the_factors_of_the_file(lean, shared):
    "Adjusted over raw close is price factor times split factor, for every day of seven years, to rounding"
    store, ids = lean
    f = pd.read_csv(shared / "lean_factor_files.csv", keep_default_na=False)
    for symbol in ids:
        raw, full = (
            read_bars(store, NOW, "1hour", [ids[symbol]], adjustment=k).loc[ids[symbol]]
            for k in ("raw", "all")
        )
        own = f[f.symbol == symbol].sort_values("date")
        days = raw.index.tz_convert(NEW_YORK).strftime("%Y%m%d").astype(int)
        row = np.searchsorted(own.date.to_numpy(), days)
        wanted = (own.price_factor * own.split_factor).to_numpy()[row]
        last = wanted[
            -1
        ]  # The file goes on after the bars: it knows dividends that change all alike
        np.testing.assert_allclose((full.close / raw.close).to_numpy(), wanted / last, rtol=2e-4)


def test_adjusting_knows_no_later_action(lean, shared):
    "Splits and dividends of the future, and those that are not known yet, change no price"
    store, ids = lean
    day = get_session("2016-03-01")
    before = {k: read_bars(store, day.closes, "1hour", adjustment=k) for k in ("split", "all")}
    store.run("delete from corporate_actions where ex_date > '2016-03-01'")
    for k, bars in before.items():
        pd.testing.assert_frame_equal(bars, read_bars(store, day.closes, "1hour", adjustment=k))
    store.run(
        "update corporate_actions set known_at = :later", later=day.closes + timedelta(seconds=1)
    )
    late = read_bars(store, day.closes, "1hour", adjustment="all")
    pd.testing.assert_frame_equal(late, read_bars(store, day.closes, "1hour"))
    assert not late.equals(before["all"])


def test_an_action_counts_from_its_first_trade(scratch):
    "Known long before, in force at 04:00 New York of the ex date and not a second earlier; known exactly at asof counts"
    ids = security_ids(scratch, ["AAPL"])
    bars = flat("AAPL", [("2014-06-06 15:30", 700.0), ("2014-06-09 04:30", 100.0)])
    import_bars(scratch, bars, "30min", "files", NOW)
    import_actions(
        scratch,
        actions(("AAPL", "2014-06-09", "split", 7, None, "2014-04-23T21:00Z")),
        "files",
        NOW,
    )
    start = get_session("2014-06-09").starts
    read = lambda asof: read_bars(scratch, asof, "30min", adjustment="split").close.tolist()
    assert read(start - timedelta(seconds=1)) == [700.0]
    assert read(start) == [100.0]
    assert read(NOW) == [100.0, 100.0]
    scratch.run("update corporate_actions set known_at = :t", t=NOW)
    assert read(NOW - timedelta(microseconds=1)) == [700.0, 100.0]
    assert read(NOW) == [100.0, 100.0]
    assert len(factors(scratch, NOW, [ids["AAPL"]])) == 1 and not len(factors(scratch, NOW, [0]))


def test_a_dividend_before_a_split_is_put_on_its_scale(scratch):
    "1 % of the price left the company; a split afterwards does not make it 7 %"
    bars = [("2014-05-07 15:30", 700.0), ("2014-05-08 15:30", 693.0), ("2014-06-09 15:30", 99.0)]
    told = actions(
        ("AAPL", "2014-05-08", "dividend", None, 7.0, "2014-04-23"),
        ("AAPL", "2014-06-09", "split", 7, None, "2014-04-23"),
    )
    security_ids(scratch, ["AAPL", "MSFT"])
    import_bars(scratch, flat("AAPL", bars), "30min", "files", NOW)
    scaled = [(t, p / 7 if p > 100 else p) for t, p in bars]
    import_bars(scratch, flat("MSFT", scaled), "30min", "vendor", NOW)
    scratch.run("insert into bar_feeds values ('vendor', 'split', :t)", t=NOW)
    import_actions(scratch, pd.concat([told, told.assign(symbol="MSFT")]), "files", NOW)
    made = read_bars(scratch, NOW, "30min", adjustment="all").close.to_numpy()
    np.testing.assert_allclose(made, [99.0, 99.0, 99.0] * 2)
    between = get_session(
        "2014-05-20"
    ).closes  # The vendor's file has divided by a split that is not known yet
    made = read_bars(scratch, between, "30min", adjustment="all").close.to_numpy()
    np.testing.assert_allclose(sorted(made), [99.0, 99.0, 693.0, 693.0])


def test_a_dividend_and_a_split_on_one_day(scratch):
    "The amount is of new shares, and so is the close that it is compared with"
    security_ids(scratch, ["TWX"])
    import_bars(scratch, flat("TWX", [("2009-03-27 15:30", 8.42)]), "30min", "files", NOW)
    told = actions(
        ("TWX", "2009-03-30", "split", 1 / 3, None, None),
        ("TWX", "2009-03-30", "dividend", None, 0.17, None),
    )
    import_actions(scratch, told, "files", datetime(2009, 3, 30, 8, tzinfo=UTC))
    close = read_bars(scratch, NOW, "30min", adjustment="all").close.iloc[0]
    assert abs(close - 8.42 * 3 * (1 - 0.17 / (8.42 * 3))) < 1e-6


def test_the_close_before_a_span_and_the_dividend_after_it(scratch):
    "What is read does not depend on where the span was cut"
    times = {"08:00": 90.0, "15:30": 100.0, "16:30": 150.0}  # Only one of them is the close
    rows = [(f"2025-08-{d:02} {t}", p + d) for d in (7, 8, 11, 12) for t, p in times.items()]
    security_ids(scratch, ["AAPL"])
    import_bars(scratch, flat("AAPL", rows), "30min", "files", NOW)
    import_actions(
        scratch, actions(("AAPL", "2025-08-11", "dividend", None, 10.8, "2025-07-31")), "files", NOW
    )
    whole = read_bars(scratch, NOW, "30min", adjustment="all")
    ts = whole.index.get_level_values("ts")
    for start, end in ((ts[5], None), (None, ts[4]), (ts[2], ts[5]), (ts[5], ts[6])):
        inside = (ts >= (start or ts[0])) & (ts < end if end else True)
        part = read_bars(scratch, NOW, "30min", start=start, end=end, adjustment="all")
        pd.testing.assert_frame_equal(part, whole[inside])
    assert whole.close.iloc[4] == pytest.approx(108 * (1 - 10.8 / 108))


def test_a_feed_that_was_adjusted_is_not_made_raw(scratch):
    security_ids(scratch, ["AAPL"])
    import_bars(scratch, flat("AAPL", [("2025-08-11 15:30", 100.0)]), "30min", "yahoo", NOW)
    scratch.run("insert into bar_feeds values ('yahoo', 'all', :t)", t=NOW)
    for wanted in ("raw", "split"):
        with pytest.raises(InputError, match="yahoo is all"):
            read_bars(scratch, NOW, "30min", adjustment=wanted)
    assert read_bars(scratch, NOW, "30min", adjustment="all").close.tolist() == [100.0]
    assert read_bars(scratch, NOW, "30min", security_ids=[], adjustment="raw").empty
    with pytest.raises(InputError, match="allowed: raw, split, all"):
        read_bars(scratch, NOW, "30min", adjustment="splits")


def test_what_cannot_be_adjusted_is_one_line(scratch):
    security_ids(scratch, ["AAPL"])
    import_bars(scratch, flat("AAPL", [("2025-08-08 15:30", 100.0)]), "30min", "files", NOW)
    bars, none = read_bars(scratch, NOW, "30min"), factors(scratch, NOW)
    for wanted, was in (("raw", "split"), ("split", "all"), ("raw", "all")):
        with pytest.raises(InputError, match="cannot be put back"):
            adjusted(bars, none, wanted, was)
    import_actions(
        scratch, actions(("AAPL", "2025-08-11", "dividend", None, 100, None)), "files", NOW
    )
    with pytest.raises(InputError, match="less than the close before it"):
        read_bars(scratch, NOW, "30min", adjustment="all")


# --- files


def test_both_files_agree_where_they_overlap(scratch, shared):
    "Apple and IBM are in the vendor's JSON and in LEAN's factors: the same days, the same numbers"
    mine, theirs = (
        read_actions(shared / f)
        for f in ("stockbench_corporate_actions.json", "lean_factor_files.csv")
    )
    assert list(mine) == list(theirs) == ACTION_COLUMNS
    key = ["symbol", "ex_date", "action_type"]
    both = mine.merge(theirs, on=key)
    assert len(both) > 80
    off = (both.ratio_x.fillna(both.amount_x) / both.ratio_y.fillna(both.amount_y) - 1).abs()
    assert (off < 1e-3).mean() > 0.95, both[off >= 1e-3]
    assert (
        mine.known_at <= pd.to_datetime(mine.ex_date + pd.Timedelta(hours=9)).dt.tz_localize("UTC")
    ).all()


def test_every_row_of_the_files_is_counted(scratch, shared):
    for name in ("stockbench_corporate_actions.json", "lean_factor_files.csv"):
        told = read_actions(shared / name)
        first, again = (import_actions(scratch, told, name, NOW) for _ in range(2))
        assert first == again
        assert first.accepted + first.repaired + first.quarantined == len(told)
        assert first.quarantined == sum(first.reasons.values()) - first.repaired
    stored = scratch.value("select count(*) from corporate_actions")
    aside = scratch.value("select count(*) from quarantine where kind = 'actions'")
    assert stored > 1800 and aside > 300


@pytest.mark.parametrize(
    "row,reason",
    [
        (("AAPL", None, "split", 7, None, None), "no ex date"),
        (("AAPL", "2014-06-08", "split", 7, None, None), "exchange was shut"),
        (("AAPL", "2014-06-09", "merger", 7, None, None), "neither split nor dividend"),
        (("AAPL", "2014-06-09", "split", None, 7, None), "split without a ratio"),
        (("AAPL", "2014-06-09", "split", -7, None, None), "split without a ratio"),
        (("AAPL", "2014-06-09", "split", np.inf, None, None), "split without a ratio"),
        (("AAPL", "2014-06-09", "split", 1, None, None), "one for one"),
        (("AAPL", "2014-06-09", "dividend", 7, None, None), "dividend without an amount"),
        (("AAPL", "2014-06-09", "dividend", None, 0, None), "dividend without an amount"),
        (("NOBODY", "2014-06-09", "split", 7, None, None), "unknown symbol"),
        ((None, "2014-06-09", "split", 7, None, None), "unknown symbol"),
    ],
)
def test_a_row_that_cannot_be_used_names_its_reason(scratch, row, reason):
    security_ids(scratch, ["AAPL"])
    good = ("AAPL", "2020-08-31", "split", 4, None, None)
    tally = import_actions(scratch, actions(good, row), "demo", NOW)
    assert (tally.accepted, tally.quarantined) == (1, 1) and reason in next(iter(tally.reasons))
    with pytest.raises(InputError, match="all 1 rows were refused"):
        import_actions(scratch, actions(row), "demo", NOW)


def test_contradictions_do_not_depend_on_the_order_of_the_file(scratch):
    security_ids(scratch, ["AAPL", "MSFT"])
    rows = [("AAPL", "2020-08-31", "split", r, None, None) for r in (4, 4, 5)]
    tally = import_actions(scratch, actions(*rows), "demo", NOW)
    assert (tally.accepted, tally.repaired, tally.quarantined) == (1, 1, 1)
    assert tally.reasons["another value for the same action"] == 1
    other = import_actions(scratch, actions(*[("MSFT", *r[1:]) for r in rows[::-1]]), "demo", NOW)
    assert other == tally
    later = import_actions(
        scratch,
        actions(
            ("AAPL", "2020-08-31", "split", 3, None, None),
            ("MSFT", "2003-02-18", "split", 2, None, None),
        ),
        "other",
        NOW,
    )
    assert later.reasons["differs from the action that is stored"] == 1
    assert (
        scratch.rows("select distinct ratio::float8 as r from corporate_actions order by 1")[-1][
            "r"
        ]
        == 4
    )


def test_a_reused_ticker_s_actions_go_to_the_company_of_the_day(scratch):
    ids = security_ids(scratch, ["AAPL"])
    scratch.run(
        "update securities set valid_from = '2015-01-01' where security_id = :i", i=ids["AAPL"]
    )
    old = scratch.value(
        "insert into securities (symbol, valid_to) values ('AAPL', '2015-01-01') returning security_id"
    )
    told = actions(
        ("AAPL", "2014-06-09", "split", 7, None, None),
        ("AAPL", "2020-08-31", "split", 4, None, None),
    )
    import_actions(scratch, told, "demo", NOW)
    owner = {
        r["security_id"]: float(r["ratio"])
        for r in scratch.rows("select security_id, ratio from corporate_actions")
    }
    assert owner == {old: 7.0, ids["AAPL"]: 4.0}


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", '{"a": 3}', "symbol;ex_date\n", "\x00\x01", '{"a": [{"b": 1}]}']
)
def test_a_file_that_is_something_else_is_one_line(tmp_path, text):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(InputError, match="x.csv") as e:
        read_actions(file)
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="nowhere.csv"):
        read_actions(tmp_path / "nowhere.csv")


def test_our_own_csv_goes_through(tmp_path, scratch):
    file = tmp_path / "x.csv"
    file.write_text(
        "Symbol,ex_date,action_type,ratio,amount,known_at\nAAPL,2020-08-31,split,4,,2020-07-30T20:30:00Z\nMSFT,2003-02-19,dividend,,0.08,\n"
    )
    security_ids(scratch, ["AAPL", "MSFT"])
    assert import_actions(scratch, read_actions(file), "mine", NOW).accepted == 2
    known = {
        r["action_type"]: r["known_at"]
        for r in scratch.rows("select action_type, known_at from corporate_actions")
    }
    assert known == {"split": datetime(2020, 7, 30, 20, 30, tzinfo=UTC), "dividend": NOW}


def test_vendor_json_keeps_what_it_cannot_use(tmp_path, scratch):
    "A payment in euros is refused with its reason, two payments on a day are one"
    rows = [
        dict(id=i, ticker="MSFT", ex_dividend_date="2004-11-15", cash_amount=a, currency=c)
        for i, a, c in (("1", 0.08, "USD"), ("2", 3, "USD"), ("2", 3, "USD"))
    ]
    euro = [
        dict(id="3", ticker="AAPL", ex_dividend_date="2004-11-15", cash_amount=1, currency="EUR")
    ]
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"MSFT": rows, "AAPL": euro, "none": []}))
    security_ids(scratch, ["AAPL", "MSFT"])
    tally = import_actions(scratch, read_actions(file), "mine", NOW)
    assert tally.reasons == {"a dividend without an amount in dollars": 1}
    assert float(scratch.value("select amount from corporate_actions")) == 3.08


def test_a_declared_dividend_is_known_when_its_day_is_over(tmp_path):
    "Not at midnight before it; where no declaration is told, on the morning of the ex date"
    paid = dict(ticker="AAPL", cash_amount=0.26, currency="USD")
    rows = [
        paid | dict(id="1", ex_dividend_date="2025-08-11", declaration_date="2025-07-31"),
        paid | dict(id="2", ex_dividend_date="2012-02-09"),
    ]
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"AAPL": rows}))
    known = [t.isoformat() for t in read_actions(file).known_at]
    assert known == ["2012-02-09T09:00:00+00:00", "2025-08-01T04:00:00+00:00"]


# --- properties


@settings(max_examples=80, deadline=None)
@given(
    days=st.lists(st.integers(0, 60), min_size=1, max_size=12, unique=True),
    splits=st.dictionaries(st.integers(1, 60), st.sampled_from([2.0, 3.0, 0.1, 1.5]), max_size=4),
    ids=st.integers(1, 3),
)
def test_a_split_is_taken_out_of_what_came_before_it_and_of_nothing_else(days, splits, ids):
    "Against a loop over bars and steps"
    from catalyst.clock import sessions_between

    calendar = sessions_between(date(2025, 3, 3), date(2025, 6, 30))
    rows = [
        (i, pd.Timestamp(calendar[d].opens), 10.0 + d)
        for i in range(1, ids + 1)
        for d in sorted(days)
    ]
    index = pd.MultiIndex.from_tuples([r[:2] for r in rows], names=["security_id", "ts"])
    bars = pd.DataFrame({c: [r[2] for r in rows] for c in PRICES} | {"volume": 60.0}, index)
    steps = pd.DataFrame(
        [(1 + k % ids, calendar[k].day, r) for k, r in sorted(splits.items())],
        columns=["security_id", "day", "ratio"],
    )
    steps["ex_at"], steps["closed_at"] = ex_instants(
        steps.pop("day").to_numpy().astype("datetime64[D]")
    )
    steps = steps.assign(action_type="split", amount=np.nan, later_split=1.0).sort_values(
        ["security_id", "ex_at"]
    )
    made = adjusted(bars, steps, "split")
    for (i, ts), row in bars.iterrows():
        ratio = np.prod(
            [s.ratio for s in steps.itertuples() if s.security_id == i and s.ex_at > ts.timestamp()]
        )
        assert made.close[(i, ts)] == pytest.approx(row.close / ratio)
        assert made.volume[(i, ts)] == pytest.approx(row.volume * ratio)
