"Whole files of bars: every rule of `audit`, `tickers` and `intake` on made data, and the counts on the real files."

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalyst.audit import RATIOS, bad_prints, end_stamped, session_runs, split_suspects
from catalyst.bars import PRICES, import_bars, in_order, judge_rows, tidy, write_bars
from catalyst.clock import NEW_YORK, get_session, sessions_between, slots
from catalyst.config import Config
from catalyst.core import InputError, Timeframe
from catalyst.dims import clean_symbol, security_ids, security_ids_at, security_spans
from catalyst.intake import judge_file, read_bar_file, take_file, take_in, write_pieces
from catalyst.replay import SPAN

AT = datetime(2026, 1, 2, tzinfo=UTC)
SUMMER = (date(2025, 6, 30), date(2025, 7, 11))  # The third of July is a half day
AUTUMN = (
    date(2025, 10, 27),
    date(2025, 12, 1),
)  # Clocks change on 2 November; 28 November is a half day


def market(symbols=("AAA", "BBB"), span=SUMMER, timeframe="15min", price=100.0):
    "Every regular slot: a slow walk, and a volume that is large at the open and at the close"
    tf = Timeframe(timeframe)
    minutes = int(SPAN[tf].total_seconds() // 60)
    at = [(s, t) for s in sessions_between(*span) for t in slots(s, minutes) if t < s.closes]
    ts = pd.DatetimeIndex([t for _, t in at]).as_unit("us")
    edge = np.array([min(t - s.opens, s.closes - t) / SPAN[tf] for s, t in at])
    rng, parts = np.random.default_rng(11), []
    for symbol in symbols:
        close = price * np.exp(np.cumsum(rng.normal(0, 0.001, len(ts))))
        part = pd.DataFrame({"symbol": symbol, "ts": ts, "open": close, "close": close})
        part["volume"] = np.round(1e5 / (1 + edge) * rng.uniform(0.8, 1.2, len(ts)))
        parts.append(part.assign(high=close * 1.0005, low=close * 0.9995))
    out = pd.concat(parts, ignore_index=True)
    return out.assign(available_at=out.ts + SPAN[tf])


def stored(store, table="trading_history"):
    order = "security_id, timeframe, time_id" if table == "trading_history" else "row_hash"
    return store.rows(f"select * from {table} order by {order}")


def finding(taken, words):
    "The one finding whose reason holds `words`"
    rows = taken.findings[taken.findings.reason.str.contains(words, regex=False)]
    assert len(rows) <= 1
    return rows.iloc[0] if len(rows) else None


def stated(bars, zone):
    "The wall clock of `zone`, labelled UTC"
    return bars.assign(ts=bars.ts.dt.tz_convert(zone).dt.tz_localize(None).dt.tz_localize("UTC"))


# ---------------------------------------------------------------- every row is counted


def test_plain_bars_are_accepted_without_a_word(scratch):
    bars = market()
    got = take_in(scratch, bars, "15min", AT, "demo")
    assert (got.tally.accepted, got.tally.repaired, got.tally.quarantined) == (len(bars), 0, 0)
    assert got.findings.empty and got.new == len(bars)
    assert scratch.value("select count(*) from trading_history") == len(bars)


def rows_strategy():
    "Mostly good rows, so that they meet each other; and every fault"
    price = st.sampled_from([10.0, 10.1, 10.2, 99.0, 0.0, -1.0, float("nan"), float("inf"), 1e12])
    place = st.sampled_from(["NA", "aaa", " AAA"]), st.integers(0, 3)
    good = st.tuples(
        *place,
        *[st.just(p) for p in (10.0, 11.0, 9.0)],
        *[st.sampled_from([10.0, 10.1]), st.sampled_from([100.0, 200.0])],
    )
    odd = st.tuples(
        st.sampled_from(["NA", "aaa", "N_A", "", None, "TRUE"]),
        st.sampled_from([0, 1, 7.5, None, -50_000, 200]),
        *[price] * 4,
        st.sampled_from([100.0, 0.0, 0.4, -5.0, float("nan"), 1e300]),
    )
    return st.lists(st.one_of(good, good, odd), min_size=1, max_size=25)


@pytest.fixture(scope="module")
def kept_scratch():
    from catalyst.schema import scratch_store

    with scratch_store() as store:
        yield store


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=rows_strategy(), seed=st.integers(0, 1000))
def test_guard13_every_row_is_counted(rows, seed):
    "Accepted + repaired + quarantined are the rows given, in any order of the rows"
    base = pd.Timestamp("2025-08-13 13:30", tz="UTC")
    frame = pd.DataFrame(rows, columns=["symbol", "ts", *PRICES, "volume"])
    frame["symbol"] = frame.symbol.astype(object)
    frame["ts"] = pd.to_datetime(
        [None if pd.isna(s) else base + timedelta(minutes=15 * s) for s in frame.ts],
        utc=True,
    ).as_unit("us")
    frame["available_at"] = frame.ts + SPAN[Timeframe.MIN15]
    shuffled = frame.sample(frac=1, random_state=seed)
    try:
        here = judge_file(frame, Timeframe.MIN15, AT)
    except InputError as refused:
        with pytest.raises(InputError, match=str(refused).partition(":")[0]):
            judge_file(shuffled, Timeframe.MIN15, AT)
        return
    there = judge_file(shuffled, Timeframe.MIN15, AT)
    t = here.judged.tally()
    assert t.accepted + t.repaired + t.quarantined == len(rows)
    assert t == there.judged.tally()
    pd.testing.assert_frame_equal(here.kept, there.kept)
    assert not here.kept.duplicated(["symbol", "ts"]).any()
    told = sum(f.rows for f in here.findings if f.kind == "quarantined")
    assert told == t.quarantined


def test_guard13_what_the_rules_let_through_the_database_takes(kept_scratch):
    "Prices and volumes at the edge of what a column holds; nothing stops the import half-way"
    bars = market(("EDGE",))[:7].copy()
    bars.loc[0, PRICES] = 9_999_999_999.0
    bars.loc[1, PRICES] = 0.0001
    bars.loc[2, PRICES] = 0.00001
    bars.loc[3, "volume"] = 9e18
    bars.loc[4, "volume"] = 9.3e18
    bars.loc[5, "volume"] = 12.7
    bars.loc[6, PRICES] = 20_000_000_000.0
    got = import_bars(kept_scratch, bars, "15min", "edge", AT)
    assert (got.accepted, got.quarantined) == (4, 3)
    assert got.reasons == {"price not positive": 1, "no volume": 1, "no price": 1}


def test_db08_import_twice_adds_nothing(scratch):
    bars = market()
    bars.loc[5, PRICES] *= 4  # A bad print
    bars = pd.concat([bars, bars[7:9]], ignore_index=True)
    first = take_in(scratch, bars, "15min", AT, "demo")
    tables = ("trading_history", "quarantine", "securities", "bar_feeds", "time_dimension")
    before = {t: scratch.rows(f"select * from {t} order by 1, 2, 3") for t in tables}
    again = take_in(scratch, bars.sample(frac=1, random_state=3), "15min", AT, "demo")
    assert first.tally == again.tally and again.new == 0
    assert before == {t: scratch.rows(f"select * from {t} order by 1, 2, 3") for t in tables}
    assert finding(again, "stored earlier").rows == first.new


@pytest.mark.parametrize("piece", [1, 300, 10**9])
def test_guard21_pieces_do_not_change_what_is_stored(scratch, piece):
    from catalyst.schema import scratch_store

    bars, steps = tidy(market(("BBB", "AAA"), AUTUMN)), []
    write_pieces(scratch, bars, Timeframe.MIN15, "demo", steps.append, piece)
    with scratch_store() as other, other.transaction() as tx:
        write_bars(tx, bars[::-1], Timeframe.MIN15, "demo")
        whole = stored(tx)
    assert sum(steps) == len(bars)
    assert stored(scratch) == whole
    in_month = "select security_id, time_id from trading_history_202511"
    as_they_lie = [tuple(r.values()) for r in scratch.rows(in_month)]
    assert as_they_lie == sorted(as_they_lie)


def test_guard21_equal_and_contradicting_rows():
    bars = market()
    twice = pd.concat([bars, bars[:3], bars[3:5].assign(volume=1e9)], ignore_index=True)
    judged = judge_rows(in_order(tidy(twice))[0], Timeframe.MIN15)
    t = judged.tally()
    assert (t.accepted, t.repaired, t.quarantined) == (len(bars), 3, 2)
    assert t.reasons == {"equal row": 3, "another row for the same bar": 2}
    kept = judged.bars[judged.kept]
    assert len(kept) == len(bars)
    assert kept.volume[kept.ts.isin(bars.ts[3:5]) & (kept.symbol == "AAA")].tolist() == [1e9, 1e9]


def test_guard21_of_equal_volumes_the_lower_prices_are_kept():
    bars = market(("AAA",))
    higher = bars[:1].assign(high=bars.high[0] + 1)
    for frame in (pd.concat([bars, higher]), pd.concat([higher, bars])):
        judged = judge_rows(in_order(tidy(frame))[0], Timeframe.MIN15)
        assert judged.tally().reasons == {"another row for the same bar": 1}
        assert judged.bars[judged.kept].high.iloc[0] == round(bars.high[0], 4)


def test_a_faulty_row_never_displaces_a_good_one():
    bars = market(("AAA",))
    broken = bars[:1].assign(high=1.0, volume=1e12)
    judged = judge_rows(in_order(tidy(pd.concat([bars, broken])))[0], Timeframe.MIN15)
    assert judged.tally().quarantined == 1 and judged.kept.sum() == len(bars)


def test_order_of_the_file_is_told_and_counts_as_nothing(scratch):
    bars = market()
    got = take_in(scratch, bars[::-1], "15min", AT, "demo")
    assert got.tally.accepted == len(bars)
    line = finding(got, "out of order")
    assert line.kind == "note" and line.rows == len(bars) - 2


def test_rows_of_the_future_are_put_aside(scratch):
    bars = market()
    noon = datetime(2025, 7, 11, 16, tzinfo=UTC)
    got = take_in(scratch, bars, "15min", noon, "demo")
    late = (bars.available_at > noon).sum()
    assert got.tally.reasons == {"not over when it was seen": late} and late > 0


# ---------------------------------------------------------------- the clock


def test_naive_stamps_are_refused_by_name(tmp_path, scratch):
    path = tmp_path / "naive.csv"
    market().drop(columns="available_at").assign(ts=lambda f: f.ts.dt.tz_localize(None)).to_csv(
        path
    )
    with pytest.raises(InputError, match="column ts of naive.csv"):
        take_file(scratch, path, "15min", AT)
    with pytest.raises(InputError, match="instants with a time zone"):
        take_in(scratch, market().assign(ts=lambda f: f.ts.dt.tz_localize(None)), "15min", AT, "x")
    assert scratch.value("select count(*) from quarantine") == 0


@pytest.mark.parametrize(
    "zone, span",
    [
        ("America/New_York", SUMMER),
        ("America/New_York", AUTUMN),
        ("America/Los_Angeles", SUMMER),
        ("Asia/Tokyo", AUTUMN),
    ],
)
def test_wall_clock_labelled_utc_is_refused_with_the_remedy(scratch, tmp_path, zone, span):
    "Across the change of clocks, too; the remedy that the line names works"
    good, path = market(span=span), tmp_path / "wall.parquet"
    stated(good, zone).drop(columns="available_at").to_parquet(path)
    with pytest.raises(InputError, match=f"read as {zone} time they fit.*--tz {zone}") as e:
        take_file(scratch, path, "15min", AT)
    assert "\n" not in str(e.value)
    assert scratch.value("select count(*) from trading_history") == 0
    got = take_file(scratch, path, "15min", AT, tz=zone)
    assert got.tally.accepted == len(good)
    assert {r["time_id"] for r in stored(scratch)} == {int(t.timestamp()) for t in good.ts}


def test_a_wrong_remedy_is_refused_too(scratch, tmp_path):
    market().drop(columns="available_at").to_csv(tmp_path / "true.csv", index=False)
    with pytest.raises(InputError, match="do not fit America/New_York.*--tz UTC"):
        take_file(scratch, tmp_path / "true.csv", "15min", AT, tz="America/New_York")


def test_heavy_trading_after_hours_is_not_another_zone():
    "A quarter of the volume after the close would fit London's clock as well; the stated one is good enough"
    bars = market().assign(volume=100.0)
    last = bars[bars.ts.isin([s.closes - timedelta(minutes=15) for s in sessions_between(*SUMMER)])]
    evening = [
        last.assign(ts=last.ts + k * timedelta(minutes=15), volume=200.0) for k in (1, 2, 3, 4)
    ]
    evening = pd.concat(evening).assign(available_at=lambda f: f.ts + timedelta(minutes=15))
    both = pd.concat([bars, evening], ignore_index=True)
    assert judge_file(both, Timeframe.MIN15, AT).judged.tally().accepted == len(both)


def test_wrong_length_is_refused(scratch):
    with pytest.raises(InputError, match="allowed: 15min"):
        take_in(scratch, market(), "5min", AT, "demo")


def ended(bars, timeframe):
    step = SPAN[Timeframe(timeframe)]
    close = bars.ts.map(lambda t: get_session(t.tz_convert(NEW_YORK).date()).closes)
    return bars.assign(ts=(bars.ts + step).where(bars.ts + step <= close, close).dt.as_unit("us"))


@pytest.mark.parametrize("timeframe", ["1min", "5min", "15min", "30min", "1hour"])
@pytest.mark.parametrize("span", [SUMMER, AUTUMN])
def test_bars_stamped_by_their_end_are_moved(timeframe, span):
    good = market(("AAA",), span, timeframe)
    late = ended(good, timeframe)
    got = judge_file(late, Timeframe(timeframe), AT)
    tally = got.judged.tally()
    assert (tally.accepted, tally.repaired) == (0, len(good))
    assert tally.reasons == {"stamped at the end of the bar": len(good)}
    assert got.kept.ts.tolist() == good.ts.tolist()
    assert got.kept.available_at.tolist() == good.available_at.tolist(), "what a feed says stays"
    by_stamp = late.assign(available_at=late.ts + SPAN[Timeframe(timeframe)])
    assert (
        judge_file(by_stamp, Timeframe(timeframe), AT).kept.available_at.tolist()
        == late.ts.tolist()
    )


def extended(span=SUMMER):
    "Regular bars, and thin ones before and after"
    regular, parts = market(span=span), []
    for s in sessions_between(*span):
        thin = market(span=(s.day, s.day)).groupby("symbol").head(1)
        for hours in (-2, -1, -0.25, 6.5, 7, 8):
            parts.append(thin.assign(ts=thin.ts + timedelta(hours=hours), volume=50.0))
    out = pd.concat([regular, *parts]).sort_values(["symbol", "ts"], ignore_index=True)
    return out.assign(available_at=out.ts + timedelta(minutes=15))


def test_extended_hours_keep_their_stamps_and_tell_their_ends():
    good = extended()
    step = timedelta(minutes=15)
    tell = [
        end_stamped(in_order(tidy(f))[0], Timeframe.MIN15)
        for f in (good, good.assign(ts=good.ts + step))
    ]
    assert tell == [(0, 9), (9, 9)]
    assert judge_file(good, Timeframe.MIN15, AT).judged.tally().repaired == 0


def test_clock_hour_bars_are_not_taken_for_ends():
    "A feed of whole hours has a bar at 09:00 that holds the first half hour"
    bars = market(("AAA",), timeframe="1hour").assign(ts=lambda f: f.ts - timedelta(minutes=30))
    ready = in_order(tidy(bars))[0]
    assert end_stamped(ready, Timeframe.HOUR1) == (0, 9)
    runs = session_runs(ready, Timeframe.HOUR1)
    assert (runs.present == runs.expected).all() and set(runs.present) == {7, 4}


def test_a_file_of_one_pre_market_is_stored(scratch):
    early = market().assign(ts=lambda f: f.ts - timedelta(hours=4))
    early = early[early.ts.dt.tz_convert(NEW_YORK).dt.hour < 9]
    got = take_in(scratch, early, "15min", AT, "demo")
    assert got.tally.accepted == got.new == len(early)


def test_half_a_file_of_ends_is_told_and_not_moved(scratch):
    good = market()
    half = good.ts < pd.Timestamp("2025-07-07", tz="UTC")
    mixed = pd.concat([good[half], ended(good[~half], "15min")], ignore_index=True)
    got = take_in(scratch, mixed, "15min", AT, "demo")
    assert got.tally.repaired == 0
    assert finding(got, "sessions that look stamped at the end").rows == 5


# ---------------------------------------------------------------- daily bars


def daily(days, zone="UTC"):
    ts = pd.to_datetime(pd.Series(days)).dt.tz_localize(zone).dt.tz_convert("UTC").dt.as_unit("us")
    bars = pd.DataFrame({"symbol": "NA", "ts": ts, "volume": 100.0} | dict.fromkeys(PRICES, 10.0))
    return bars.assign(available_at=bars.ts + timedelta(days=1))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_daily_dates_become_sessions(scratch, zone):
    days = ["2025-10-31", "2025-11-03", "2025-11-27", "2025-11-28", "2025-11-30", "2025-12-01"]
    got = take_in(scratch, daily(days, zone), "1day", AT, "demo")
    assert got.tally.reasons == {"a date on which the exchange was shut": 2}
    want = [get_session(d) for d in ("2025-10-31", "2025-11-03", "2025-11-28", "2025-12-01")]
    rows = stored(scratch)
    assert [r["time_id"] for r in rows] == [int(s.opens.timestamp()) for s in want]
    assert [r["available_at"] for r in rows] == [s.closes for s in want]
    evidence = scratch.rows("select reason, row_text from quarantine order by row_text")
    assert "2025-11-27" in evidence[0]["row_text"] and "shut" in evidence[0]["reason"]


def test_daily_delay_is_kept_and_own_bars_pass_through(scratch):
    late = daily(["2025-07-02"]).assign(
        available_at=lambda f: f.available_at + timedelta(minutes=20)
    )
    s = get_session("2025-07-02")
    own = daily(["2025-07-02"]).assign(
        symbol="OWN", ts=pd.Timestamp(s.opens), available_at=pd.Timestamp(s.closes)
    )
    odd = daily(["2025-07-02"]).assign(symbol="ODD", ts=pd.Timestamp("2025-07-02 02:00", tz="UTC"))
    got = take_in(scratch, pd.concat([late, own, odd]), "1day", AT, "demo")
    assert got.tally.reasons == {"a daily stamp that names no day": 1}
    assert "2025-07-02 02:00" in scratch.value("select row_text from quarantine")
    at = scratch.rows(
        "select symbol, available_at from trading_history join securities using (security_id) order by 1"
    )
    assert [(r["symbol"], r["available_at"]) for r in at] == [
        ("NA", s.closes + timedelta(minutes=20)),
        ("OWN", s.closes),
    ]


# ---------------------------------------------------------------- prices and volumes


def changed(bars, rows, factor, columns=tuple(PRICES)):
    out = bars.copy()
    out.loc[rows, list(columns)] = out.loc[rows, list(columns)] * factor
    return out


def wild(bars, move=20.0):
    return np.flatnonzero(bad_prints(in_order(tidy(bars))[0], move)).tolist()


def test_bad_prints_and_what_only_looks_like_one():
    bars = market()
    assert wild(bars) == []
    assert wild(changed(bars, [40], 0.1)) == [40]
    assert wild(changed(bars, [40], 10.0)) == [40]
    assert wild(changed(bars, [40], 10.0, ["high"])) == [40]
    assert wild(changed(bars, range(40, 100), 0.7)) == [], "a fall that stays"
    assert wild(changed(bars, [40, 41], 0.7)) == [], "two bars agree"
    assert wild(changed(bars, [len(bars) - 1], 0.1)) == [], "nothing has taken it back yet"
    first = [0, int((bars.symbol == "AAA").sum())]
    assert wild(changed(bars, first, 0.1)) == [], "no bar before it"


def test_a_storm_is_not_a_bad_print():
    bars = market()
    assert wild(changed(bars, range(30, 51, 2), 0.75)) == []


def test_a_tick_of_a_cheap_stock_is_not_a_bad_print():
    bars = market(price=0.19)
    bars[PRICES] = 0.19
    assert wild(changed(bars, [40], 18 / 19)) == []


def test_bad_print_is_put_aside_and_a_wild_volume_only_told(scratch):
    bars = changed(changed(market(), [40], 0.5), [60], 1e7, ["volume"])
    got = take_in(scratch, bars, "15min", AT, "demo")
    assert got.tally.reasons == {"bad print: a jump that the next bar takes back": 1}
    line = finding(got, "volume far above")
    assert (line.kind, line.rows, got.new) == ("accepted", 1, len(bars) - 1)
    looser = take_in(scratch, bars, "15min", AT, "demo", config=Config({"outlier_move": 1000.0}))
    assert looser.tally.quarantined == 0, "the number comes from the registry"


@pytest.mark.parametrize("ratio", [4.0, 2.0, 1.5, 10.0, 0.25, 0.05])
def test_an_unadjusted_split_is_suspected_and_stored(scratch, ratio):
    assert ratio in RATIOS
    since = pd.Timestamp("2025-07-08", tz="UTC")
    bars = market()
    rows = (bars.symbol == "AAA") & (bars.ts >= since)
    split = changed(changed(bars, rows, 1 / ratio), rows, ratio, ["volume"])
    got = take_in(scratch, split, "15min", AT, "demo")
    assert got.tally.accepted == len(bars)
    words = f"{ratio:g}:1" if ratio > 1 else f"1:{1 / ratio:g}"
    assert finding(got, "split").first == f"AAA 2025-07-08, {words}"


def test_a_crash_is_no_split():
    bars = market()
    rows = (bars.symbol == "AAA") & (bars.ts >= pd.Timestamp("2025-07-08", tz="UTC"))
    for factor, shares in (
        (0.44, 3.0),
        (0.5, 0.4),
    ):  # no simple ratio; a simple one with fewer shares
        crash = changed(changed(bars, rows, factor), rows, shares, ["volume"])
        runs = session_runs(in_order(tidy(crash))[0], Timeframe.MIN15)
        assert split_suspects(runs).empty
    one_day = rows & (bars.ts < pd.Timestamp("2025-07-09", tz="UTC"))
    back = changed(changed(bars, one_day, 0.25), one_day, 4.0, ["volume"])
    assert split_suspects(session_runs(in_order(tidy(back))[0], Timeframe.MIN15)).empty


# ---------------------------------------------------------------- gaps and edges


@pytest.mark.parametrize("day, due", [("2025-07-03", 14), ("2025-11-28", 14), ("2025-11-03", 26)])
def test_slots_are_due_by_the_calendar(scratch, day, due):
    "Half days have fewer; on the Monday after the clocks change there are as many as ever"
    bars = market(span=SUMMER if day < "2025-08" else AUTUMN)
    that = bars.ts.dt.tz_convert(NEW_YORK).dt.strftime("%Y-%m-%d") == day
    runs = session_runs(in_order(tidy(bars))[0], Timeframe.MIN15)
    assert runs.expected[runs.day == day].tolist() == [due, due]
    assert (runs.expected == runs.present).all()
    drop = bars.index[that & (bars.symbol == "BBB")][2:5]
    got = take_in(scratch, bars.drop(index=drop), "15min", AT, "demo")
    line = finding(got, "regular slots without a bar")
    assert (line.kind, line.rows, line.first) == ("note", 3, f"BBB {day}: 3 in it")
    assert got.tally.accepted == len(bars) - 3, "a gap is no reason to refuse"


def test_missing_sessions_are_told(scratch):
    bars = market()
    gone = (bars.symbol == "AAA") & bars.ts.dt.day.isin([7, 8])
    line = finding(take_in(scratch, bars[~gone], "15min", AT, "demo"), "sessions without a bar")
    assert (line.rows, line.first) == (2, "AAA 2025-07-09: 2 before it")


def test_night_and_the_afternoon_of_a_half_day_are_told(scratch):
    bars = market()
    noon = bars[bars.ts == pd.Timestamp("2025-07-02 18:00", tz="UTC")]
    more = [
        noon.assign(ts=noon.ts + timedelta(days=1)),
        noon.assign(ts=noon.ts + timedelta(hours=9)),
    ]
    more = pd.concat(more).assign(available_at=lambda f: f.ts + timedelta(minutes=15))
    got = take_in(scratch, pd.concat([bars, more]), "15min", AT, "demo")
    assert got.tally.accepted == len(bars) + 4
    assert finding(got, "half day").first == "AAA 2025-07-03 14:00"
    assert finding(got, "outside of the exchange's day").first == "AAA 2025-07-02 23:00"
    assert finding(take_in(scratch, extended(), "15min", AT, "ext"), "half day") is None


# ---------------------------------------------------------------- tickers

REUSE = Config({"reuse_gap_sessions": 20})


def silent(symbol="FB", span=(date(2025, 1, 2), date(2025, 3, 31)), first=5, last=5):
    "Daily bars of two symbols; one of them trades only at both ends"
    days = [s.day for s in sessions_between(*span)]
    busy = daily([str(d) for d in days]).assign(symbol="SPY")
    some = daily([str(d) for d in days[:first] + days[-last:]]).assign(symbol=symbol)
    return pd.concat([busy, some], ignore_index=True), days


def test_a_reused_ticker_becomes_two_securities(scratch):
    bars, days = silent()
    had = security_ids(scratch, ["FB"])["FB"]
    got = take_in(scratch, bars, "1day", AT, "demo", config=REUSE)
    border = days[-5]
    spans = security_spans(scratch, ["FB"])
    assert [(s["valid_from"], s["valid_to"]) for s in spans] == [
        (date(1900, 1, 1), border),
        (border, None),
    ]
    assert spans[1]["security_id"] == had, "today's company keeps the id"
    n = {
        r["security_id"]: r["n"]
        for r in scratch.rows("select security_id, count(*) as n from trading_history group by 1")
    }
    assert [n[s["security_id"]] for s in spans] == [5, 5]
    assert security_ids_at(scratch, ["fb"], border) == {"FB": had}
    assert security_ids_at(scratch, ["fb"], border - timedelta(days=1)) == {
        "FB": spans[0]["security_id"]
    }
    assert not scratch.value(
        "select is_tradeable from securities where security_id = :i", i=spans[0]["security_id"]
    )
    assert "FB" in finding(got, "two securities").first
    again = take_in(scratch, bars, "1day", AT, "demo", config=REUSE)
    assert again.new == 0 and security_spans(scratch, ["FB"]) == spans
    assert len(security_spans(scratch, ["SPY"])) == 1


def test_a_border_within_the_silence_serves_every_file(scratch):
    "Another feed begins two sessions later; the border stays where it is"
    bars, days = silent()
    take_in(scratch, bars, "1day", AT, "demo", config=REUSE)
    spans = security_spans(scratch, ["FB"])
    gone = (bars.symbol == "FB") & bars.ts.dt.strftime("%Y-%m-%d").isin(
        [str(d) for d in days[-5:-3]]
    )
    got = take_in(scratch, bars[~gone], "1day", AT, "other", config=REUSE)
    assert finding(got, "two securities").rows == 1 and finding(got, "left so") is None
    assert security_spans(scratch, ["FB"]) == spans


def test_the_user_says_that_it_is_the_same_company(scratch):
    bars, _ = silent()
    got = take_in(scratch, bars, "1day", AT, "demo", config=REUSE, same={"fb"})
    assert len(security_spans(scratch, ["FB"])) == 1 and finding(got, "two securities") is None


def test_a_hole_in_the_whole_file_is_no_silence(scratch):
    bars, days = silent()
    hole = bars[~((bars.symbol == "SPY") & bars.ts.dt.date.isin(days[5:-5]))]
    take_in(scratch, hole, "1day", AT, "demo", config=REUSE)
    assert len(security_spans(scratch, ["FB"])) == 1


def test_one_company_that_left_and_another_that_came_are_not_confused(scratch):
    bars, days = silent()
    late = bars.ts >= pd.Timestamp(days[-5], tz="UTC")
    bars.loc[(bars.symbol == "FB") & late, "symbol"] = "FC"
    got = take_in(scratch, bars, "1day", AT, "demo", config=REUSE)
    assert finding(got, "second company") is None


@pytest.mark.parametrize("older_first", [True, False])
def test_a_reused_ticker_over_two_files(scratch, older_first):
    "The silence shows only against what is stored; either half may come first"
    bars, days = silent()
    cut = pd.Timestamp(days[-5], tz="UTC")
    parts = [bars[bars.ts < cut], bars[bars.ts >= cut]]
    for part in parts if older_first else parts[::-1]:
        take_in(scratch, part, "1day", AT, "demo", config=REUSE)
    spans = security_spans(scratch, ["FB"])
    assert [s["valid_from"] for s in spans] == [date(1900, 1, 1), days[-5]]
    rows = scratch.rows("select security_id as i, count(*) as n from trading_history group by 1")
    assert [{r["i"]: r["n"] for r in rows}[s["security_id"]] for s in spans] == [5, 5]


def test_files_of_other_years_do_not_divide_a_company(scratch):
    bars, _ = silent()
    spy = bars[bars.symbol == "SPY"]
    for keep in (spy[:5], spy[-5:]):
        take_in(scratch, keep, "1day", AT, "demo", config=REUSE)
    assert len(security_spans(scratch, ["SPY"])) == 1


@pytest.mark.parametrize("symbol", ["NA", "NAN", "TRUE", "NULL"])
def test_tickers_that_look_like_nothing(scratch, tmp_path, symbol):
    market((symbol,)).drop(columns="available_at").to_csv(tmp_path / "x.csv", index=False)
    got = take_file(scratch, tmp_path / "x.csv", "15min", AT)
    assert got.tally.accepted == len(market((symbol,)))
    assert scratch.value("select count(distinct security_id) from trading_history") == 1
    assert clean_symbol(symbol) in security_ids_at(scratch, [symbol], date(2025, 7, 2))


def test_symbols_that_cannot_be_tickers_do_not_stop_the_rest(scratch):
    got = take_in(scratch, market(("AAA", "7203_T")), "15min", AT, "demo")
    assert got.tally.reasons == {"not a ticker of the exchange": len(market(("AAA",)))}


# ---------------------------------------------------------------- feeds and files


def test_a_feed_says_once_what_it_did_to_its_prices(scratch):
    take_in(scratch, market(), "15min", AT, "demo", adjustment="split")
    assert scratch.value("select adjustment from bar_feeds where feed = 'demo'") == "split"
    with pytest.raises(InputError, match="adjustment of demo: received 'raw'; allowed: split"):
        take_in(scratch, market(), "15min", AT, "demo")
    with pytest.raises(InputError, match="adjustment"):
        take_in(scratch, market(), "15min", AT, "demo", adjustment="some")


def test_any_feed_can_be_taken_in(scratch, tmp_path):
    from catalyst.replay import ReplayFeed

    path = tmp_path / "feed.parquet"
    market().drop(columns="available_at").to_parquet(path)
    by_feed = take_in(scratch, ReplayFeed(bars=path), "15min", AT)
    by_file = take_file(scratch, path, "15min", AT)
    assert by_feed.tally == by_file.tally and (by_feed.new, by_file.new) == (len(market()), 0)
    assert scratch.value("select distinct feed from trading_history") == "replay:feed.parquet"


def test_guard12_nothing_but_faults_is_a_failure(scratch):
    with pytest.raises(InputError, match="all .* rows were refused"):
        take_in(scratch, market().assign(volume=0.0), "15min", AT, "demo")
    assert scratch.value("select count(*) from quarantine") == len(market())


def test_progress_counts_every_row(scratch):
    steps, bars = [], changed(market(), [40], 0.1)
    take_in(scratch, bars, "15min", AT, "demo", progress=steps.append)
    assert sum(steps) == len(bars)


def test_an_undated_row_is_evidence_and_not_lost(scratch, tmp_path):
    frame = market().drop(columns="available_at").astype({"ts": str})
    frame.loc[3, "ts"] = "soon"
    frame.to_csv(tmp_path / "x.csv", index=False)
    got = take_file(scratch, tmp_path / "x.csv", "15min", AT)
    assert got.tally.reasons == {"no time": 1}
    assert got.tally.accepted + got.tally.quarantined == len(frame)


# ---------------------------------------------------------------- the real files


def test_real_hours_hold_bad_prints_splits_and_a_silent_ticker(scratch, shared):
    got = take_file(scratch, shared / "lean_hour.parquet", "1hour", AT)
    t = got.tally
    assert (t.accepted, t.repaired, t.quarantined) == (228520, 0, 7)
    assert finding(got, "bad print").rows == 4
    splits = split_suspects(
        judge_file(
            read_bar_file(shared / "lean_hour.parquet", Timeframe.HOUR1), Timeframe.HOUR1, AT
        ).runs
    )
    known = {("AAPL", "2014-06-09", 7.0), ("AAPL", "2020-08-31", 4.0), ("AAPL", "2005-02-28", 2.0)}
    assert known <= {(s.symbol, f"{s.day:%Y-%m-%d}", s.ratio) for s in splits.itertuples()}
    rows = scratch.rows(
        "select symbol, count(*) as n from securities where symbol = any(:s) group by 1",
        s=["SPWR", "AAPL", "VXX", "SPY"],
    )
    assert {r["symbol"]: r["n"] for r in rows} == {"SPWR": 2, "AAPL": 1, "VXX": 1, "SPY": 1}


@pytest.mark.parametrize(
    "file, timeframe, counts",
    [
        ("ibkr_15min_101_2025", "15min", (429369, 0, 82)),
        ("us284_15min_2018", "15min", (335689, 0, 0)),
        ("lean_minute", "1min", (21258, 0, 0)),
        ("sp500_daily_2015_2020_sector", "1day", (656589, 0, 1338)),
    ],
)
def test_real_files_are_judged_as_they_were(shared, file, timeframe, counts):
    rows = read_bar_file(shared / f"{file}.parquet", Timeframe(timeframe))
    t = judge_file(rows, Timeframe(timeframe), AT).judged.tally()
    assert (t.accepted, t.repaired, t.quarantined) == counts
