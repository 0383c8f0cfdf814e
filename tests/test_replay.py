"What a replay must refuse, must hand on, and must not see"

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from catalyst.core import InputError, Timeframe, UnavailableError
from catalyst.ports import BAR_COLUMNS, NEWS_COLUMNS
from catalyst.replay import ReplayFeed

OPEN = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)
FAR = datetime(2100, 1, 1, tzinfo=UTC)
ODD = ["NA", "NAN", "TRUE", "NULL", "None", "1E5"]


def bars(symbols=("AA", "BB"), n=26, step="15min"):
    ts = pd.date_range(OPEN, periods=n, freq=step)
    rows = [
        (s, t, 10.0 + i, 11.0 + i, 9.0 + i, 10.5 + i, 100 + i)
        for s in symbols
        for i, t in enumerate(ts)
    ]
    return pd.DataFrame(rows, columns=["symbol", "ts", "open", "high", "low", "close", "volume"])


def news(n=20):
    at = pd.date_range(OPEN, periods=n, freq="20min")
    rows = [
        (f"i{i:03d}", "wire", "AA,NA" if i % 2 else "", f"headline {i}", t)
        for i, t in enumerate(at)
    ]
    return pd.DataFrame(rows, columns=["id", "feed", "symbols", "headline", "published_at"])


def everything(feed, asof=FAR, symbols=None, timeframe=Timeframe.MIN15):
    return feed.bars(symbols, timeframe, datetime(1990, 1, 1, tzinfo=UTC), FAR, asof)


def save(frame, path):
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("kind", ["x.parquet", "x.csv", "x.csv.gz"])
def test_the_future_changes_nothing(tmp_path, kind):
    asof = OPEN + timedelta(hours=2, minutes=7)
    b, n = bars(), news()
    feed = ReplayFeed(save(b, tmp_path / kind), save(n, tmp_path / f"n{kind}"))
    late = b.ts + timedelta(minutes=15) > asof
    b.loc[late, ["open", "high", "low", "close", "volume"]] *= 2
    n.loc[n.published_at > asof, ["headline", "symbols"]] = "ALTERED"
    extra = n[n.published_at > asof].assign(id=lambda f: "x" + f.id)
    (tmp_path / "b").mkdir()
    other = ReplayFeed(
        save(pd.concat([b, b[late]]), tmp_path / "b" / kind),
        save(pd.concat([n, extra]), tmp_path / "b" / f"n{kind}"),
    )
    assert late.any() and len(extra)
    first, second = everything(feed, asof), everything(other, asof)
    pd.testing.assert_frame_equal(first, second)
    assert (first.available_at <= asof).all() and len(first) == 2 * 8
    pd.testing.assert_frame_equal(feed.news(OPEN, asof), other.news(OPEN, asof))
    assert len(everything(other)) > len(everything(feed))  # The alteration is there, after asof


def test_the_first_instant_of_a_bar(tmp_path):
    feed = ReplayFeed(save(bars(), tmp_path / "x.parquet"), delay_seconds=30)
    known = OPEN + timedelta(minutes=15, seconds=30)
    assert len(everything(feed, known - timedelta(microseconds=1))) == 0
    assert len(everything(feed, known)) == 2


@pytest.mark.parametrize("kind", ["x.parquet", "x.csv"])
def test_symbols_that_look_like_nothing(tmp_path, kind):
    feed = ReplayFeed(save(bars(ODD), tmp_path / kind))
    assert feed.assets().symbol.tolist() == sorted(ODD)
    assert len(everything(feed, symbols=["NA", "NULL"])) == 52


def test_categories_and_four_byte_prices(tmp_path):
    b = bars(ODD).astype({"symbol": "category", "close": "float32"})
    got = everything(ReplayFeed(save(b, tmp_path / "x.parquet")))
    assert got.columns.tolist() == BAR_COLUMNS
    assert (got.close.dtype, str(got.ts.dtype)) == ("float64", "datetime64[us, UTC]")
    assert got.symbol.drop_duplicates().tolist() == sorted(ODD)


def test_an_index_of_symbol_and_time_is_read(tmp_path):
    save(bars().set_index(["symbol", "ts"]), tmp_path / "x.parquet")
    assert len(everything(ReplayFeed(tmp_path / "x.parquet"))) == 52


def test_doubles_contradictions_and_bad_numbers_are_handed_on(tmp_path):
    b = bars(["AA"], 3).astype(object)
    b = pd.concat([b, b.iloc[[1]].assign(close=99.0), b.iloc[[2]].assign(high="n/a")])
    b.loc[0, "high"] = 1.0
    got = everything(ReplayFeed(save(b, tmp_path / "x.csv")))
    assert got.close.tolist() == [10.5, 11.5, 99.0, 12.5, 12.5]  # Order of the file among equals
    assert got.high[0] == 1.0 and got.high.isna().tolist() == [False] * 4 + [True]


def test_a_null_symbol_and_numbered_times_in_parquet(tmp_path):
    b = bars(["AA"], 3)
    b.loc[1, "symbol"] = None
    assert everything(ReplayFeed(save(b, tmp_path / "x.parquet"))).symbol.tolist() == [
        "",
        "AA",
        "AA",
    ]
    epoch = b.assign(ts=b.ts.astype("int64"))
    with pytest.raises(InputError, match="column ts of y.parquet: received"):
        ReplayFeed(save(epoch, tmp_path / "y.parquet"), tz="UTC")


def test_rows_of_another_width_are_refused(tmp_path):
    lines = "symbol,ts,open,high,low,close,volume\nA,2025-08-13T14:00Z,1,1,1,1,1\n"
    for name, row in [
        ("long.csv", "A,2025-08-13T14:15Z,1,1,1,1,1,1,1\n"),
        ("cut.csv", "A,2025-08-13T14:15Z,1\n"),
    ]:
        (tmp_path / name).write_text(lines + row)
    with pytest.raises(InputError, match="long.csv: cannot be read.*line 3"):
        ReplayFeed(tmp_path / "long.csv")
    got = everything(
        ReplayFeed(tmp_path / "cut.csv")
    )  # A last line cut short is a row without prices
    assert got.close.isna().tolist() == [False, True]


def test_a_row_without_time_or_symbol(tmp_path):
    b = bars(["AA"], 4).astype(object)
    b.loc[1, "ts"], b.loc[2, "symbol"] = "soon", None
    feed = ReplayFeed(save(b, tmp_path / "x.csv"))
    assert feed.undated == {"bars": 1, "news": 0}
    assert everything(feed).symbol.tolist() == ["", "AA", "AA"]  # `bars` quarantines the nameless
    assert feed.assets().symbol.tolist() == ["AA"]


BAD = {
    "cut.parquet": (b"PAR1\0\0\0", "cannot be read"),
    "page.parquet": (b"<html>404</html>", "not a Parquet file"),
    "empty.csv": (b"", "cannot be read"),
    "rows.csv": (b"symbol,ts,open,high,low,close,volume\n", "has no rows"),
    "page.csv": (
        b"<html>404</html>\n",
        "no column for symbol, ts, open, high, low, close, volume; found: <html>404",
    ),
    "photo.csv": (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "cannot be read"),
    "wide.csv": (b"symbol,ts,open,high,low,close,volume\nA,2025-08-13,1,1,1,1,1\n", "--tz America"),
    "epoch.csv": (
        b"symbol,ts,open,high,low,close,volume\nA,1755091800,1,1,1,1,1\n",
        "column ts of epoch.csv",
    ),
    "never.csv": (
        b"symbol,ts,open,high,low,close,volume\nA,,1,1,1,1,1\n",
        "column ts of never.csv",
    ),
    "mixed.csv": (
        b"ticker,Time,o,h,l,c,v\nA,2025-08-13T10:00:00Z,1,1,1,1,1\nA,2025-08-13 10:15:00,1,1,1,1,1\n",
        "column Time of mixed.csv: mixed time zones",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_get_one_line(tmp_path, name):
    content, says = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as e:
        ReplayFeed(tmp_path / name)
    assert says in str(e.value) and "\n" not in str(e.value) and name in str(e.value)
    assert len(str(e.value)) < 400 and str(tmp_path) not in str(e.value)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "gone.parquet", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            ReplayFeed(path)


def test_a_truncated_parquet_file(tmp_path):
    whole = save(bars(), tmp_path / "x.parquet").read_bytes()
    for cut in (len(whole) // 2, len(whole) - 3):
        (tmp_path / "y.parquet").write_bytes(whole[:cut])
        with pytest.raises(InputError, match="y.parquet: cannot be read"):
            ReplayFeed(tmp_path / "y.parquet")


def test_damage_inside_a_parquet_file(tmp_path):
    whole = bytearray(save(bars(n=2000), tmp_path / "x.parquet").read_bytes())
    whole[40:400] = b"\xaa" * 360
    (tmp_path / "y.parquet").write_bytes(whole)
    with pytest.raises(InputError, match="y.parquet: cannot be read"):
        ReplayFeed(tmp_path / "y.parquet")


def test_offsets_differ_and_naive_stamps_need_a_zone(tmp_path):
    (tmp_path / "x.csv").write_text(
        "ticker,time,o,h,l,c,v\nA,2025-08-13T09:30:00-04:00,1,1,1,1,1\nA,2025-08-13T14:45:00+01:00,1,1,1,1,1\n"
    )
    assert everything(ReplayFeed(tmp_path / "x.csv")).ts.dt.minute.tolist() == [30, 45]
    naive = bars().assign(ts=lambda f: f.ts.dt.tz_convert("America/New_York").dt.tz_localize(None))
    for name in ("n.csv", "n.parquet"):
        save(naive, tmp_path / name)
        with pytest.raises(InputError, match=f"column ts of {name}.*--tz America/New_York"):
            ReplayFeed(tmp_path / name)
        assert everything(ReplayFeed(tmp_path / name, tz="America/New_York")).ts.min() == OPEN
    with pytest.raises(InputError, match="tz: received 'Mars'"):
        ReplayFeed(tmp_path / "n.csv", tz="Mars")


def test_mapping(tmp_path):
    odd = save(bars().rename(columns={"volume": "Shares", "ts": "begins"}), tmp_path / "x.csv")
    with pytest.raises(InputError, match="no column for ts, volume; found: symbol, begins"):
        ReplayFeed(odd)
    assert len(everything(ReplayFeed(odd, columns={"ts": "begins", "volume": "shares"}))) == 52
    short = save(bars().rename(columns={"close": "c"}), tmp_path / "y.csv")
    assert len(everything(ReplayFeed(short))) == 52
    with pytest.raises(InputError, match="no column for close"):
        ReplayFeed(short, columns={"close": "adjusted"})
    with pytest.raises(InputError, match="columns: received 'prize'"):
        ReplayFeed(odd, columns={"prize": "close"})


def test_a_wrong_timeframe_is_refused(tmp_path):
    hourly = save(bars(step="1h"), tmp_path / "x.csv")
    with pytest.raises(InputError, match="allowed: 1hour"):
        ReplayFeed(hourly)  # As quarters of an hour its bars would be known 45 minutes too early
    feed = ReplayFeed(hourly, timeframe="1hour")
    with pytest.raises(InputError, match="allowed: 1hour"):
        everything(feed)


def test_news_are_cut_ordered_and_split(tmp_path):
    n = news().sample(frac=1, random_state=1)
    feed = ReplayFeed(news=save(n, tmp_path / "n.csv"))
    got = feed.news(OPEN, OPEN + timedelta(hours=1))
    assert got.columns.tolist() == NEWS_COLUMNS
    assert got.item_id.tolist() == ["i001", "i002", "i003"]  # Start is exclusive, asof inclusive
    assert got.symbols.tolist() == [["AA", "NA"], [], ["AA", "NA"]]
    assert (got.received_at == got.published_at).all() and got.event_at.isna().all()
    with pytest.raises(UnavailableError):
        everything(feed)


def test_received_at_wins_and_a_revision_waits(tmp_path):
    n = news(4).assign(received_at=pd.NaT, revised_at=pd.NaT)
    n["received_at"] = n.published_at.where(n.id == "i000") + timedelta(minutes=90)
    n["revised_at"] = n.published_at.where(n.id == "i001") + timedelta(minutes=90)
    feed = ReplayFeed(news=save(n, tmp_path / "n.parquet"), delay_seconds=60)
    got = feed.news(OPEN - timedelta(1), FAR).set_index("item_id").received_at
    assert got["i000"] == OPEN + timedelta(minutes=90)
    assert got["i001"] == OPEN + timedelta(minutes=20 + 90 + 1)
    assert got["i002"] == OPEN + timedelta(minutes=40 + 1)
    assert got.index.tolist() == ["i002", "i003", "i000", "i001"]


def test_news_unavailable_is_not_no_news(tmp_path):
    feed = ReplayFeed(save(bars(), tmp_path / "x.csv"))
    with pytest.raises(UnavailableError):
        feed.news(OPEN, FAR)
    assert feed.quotes(["AA"], FAR) is None


def test_answers_do_not_touch_the_store(tmp_path):
    feed = ReplayFeed(save(bars(), tmp_path / "x.parquet"), save(news(), tmp_path / "n.parquet"))
    got = everything(feed)
    got.loc[:, "close"] = 0.0
    feed.news(OPEN, FAR).symbols[0].append("XX")
    assert everything(feed).close.min() > 0
    assert "XX" not in feed.news(OPEN, FAR).symbols[0]


def test_naive_instants_are_refused(tmp_path):
    feed = ReplayFeed(save(bars(), tmp_path / "x.csv"))
    with pytest.raises(InputError, match="asof"):
        everything(feed, OPEN.replace(tzinfo=None))


def test_dates(tmp_path):
    evening = bars(["AA"], 2).assign(ts=pd.to_datetime(["2025-08-12T23:45Z", "2025-08-13T00:15Z"]))
    assert ReplayFeed(save(evening, tmp_path / "x.csv")).sessions() == [date(2025, 8, 12)]
    daily = evening.assign(ts=pd.to_datetime(["2025-08-12T00:00Z", "2025-08-13T00:00Z"]))
    feed = ReplayFeed(save(daily, tmp_path / "d.csv"), timeframe=Timeframe.DAY1)
    assert feed.sessions() == [date(2025, 8, 12), date(2025, 8, 13)]


def test_real_files(shared):
    feed = ReplayFeed(shared / "ibkr_15min_101_2025.parquet", shared / "real_news_2025.parquet")
    assert len(everything(feed)) == 429_451 and len(feed.assets()) == 101
    assert feed.undated == {"bars": 0, "news": 0}
    day = datetime(2025, 8, 13, 4, tzinfo=UTC)
    got = feed.news(day, day + timedelta(days=1))
    assert len(got) > 1000 and {"AAPL"} in map(set, got.symbols)
    assert date(2025, 8, 13) in feed.sessions() and date(2025, 8, 16) not in feed.sessions()


def test_news_of_a_year_that_no_calendar_holds_is_counted(tmp_path):
    "Rows of the year 1 and of 2099 were in no answer, and nobody was told"
    path = tmp_path / "n.csv"
    path.write_text(
        "id,symbols,headline,published_at\n"
        "1,ACM,Acme opens a canteen,2025-08-13T12:00:00Z\n"
        "2,ACM,Acme closes a canteen,0001-01-01T00:00:00Z\n"
        "3,ACM,Acme moves a canteen,2099-01-01T00:00:00Z\n"
    )
    feed = ReplayFeed(None, path)
    assert feed.undated["news"] == 2
