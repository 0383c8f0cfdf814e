"Bars, quotes, news, assets and calendar of Alpaca, against a server on this machine"

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from alpaca_bench import Bench, Faults, Tape
from catalyst.alpaca_api import Alpaca, Denied, Hosts, connect
from catalyst.alpaca_feed import AlpacaFeed, session_of_row
from catalyst.clock import ReplayClock, get_session
from catalyst.config import Config
from catalyst.core import InputError, Secret, Timeframe, UnavailableError
from catalyst.ports import ASSET_COLUMNS, BAR_COLUMNS, NEWS_COLUMNS, QUOTE_COLUMNS, Feed
from catalyst.track import POINT_FEATURES, newest_quotes, point, quote_of
from loopback import SPECS, Answer, Loopback, Service

AT = datetime(2025, 8, 13, 14, tzinfo=UTC)
BACK = AT - timedelta(hours=2)
FAST = dict(timeout=(9.0, 9.0), seconds=9.0, wait=0.01)
NEWS = [
    (AT + timedelta(minutes=5), ["AAPL"], "Apple opens a plant"),
    (AT + timedelta(minutes=25), ["MSFT"], "Later"),
]


def market():
    prices = {
        s: [100 + n + i / 10 for i in range(60)] for n, s in enumerate(("AAPL", "MSFT", "SPY"))
    }
    return Tape(AT, prices, news=NEWS, before=30)


def bench(minutes=20, faults=None, **options):
    return Bench(market(), AT + timedelta(minutes=minutes), faults, **options)


def feed_of(b, symbols=("AAPL", "MSFT", "SPY"), **options):
    return AlpacaFeed(connect(b.settings(Path()), **(FAST | options)), symbols)


def test_bars_are_the_market_s_and_nothing_later():
    truth = market()
    with bench() as b:
        feed = feed_of(b)
        assert isinstance(feed, Feed) and (feed.name, feed.simulated) == ("alpaca-bench", True)
        for timeframe in (Timeframe.MIN1, Timeframe.MIN15):
            for minutes in (0, 7, 20):
                asof = AT + timedelta(minutes=minutes)
                got = feed.bars(None, timeframe, BACK, AT + timedelta(hours=9), asof)
                want = truth.bars(None, timeframe, BACK, AT + timedelta(hours=9), asof)
                pd.testing.assert_frame_equal(got, want[BAR_COLUMNS], check_dtype=False)
                assert not len(got) or (got.available_at <= pd.Timestamp(asof)).all()
        some = feed.bars(["MSFT"], Timeframe.MIN1, AT, AT + timedelta(minutes=3), b.now)
    assert some.symbol.unique().tolist() == ["MSFT"] and len(some) == 3
    assert str(got.ts.dtype) == "datetime64[us, UTC]" and got.close.dtype == "float64"


@pytest.mark.skipif(not SPECS.is_dir(), reason="the document of the interface is not here")
def test_questions_and_answers_fit_the_document():
    with bench(validate=True) as b:
        feed = feed_of(b)
        feed.bars(None, Timeframe.MIN15, BACK, b.now, b.now)
        feed.quotes(feed.symbols, b.now)
        feed.news(AT, b.now)
        feed.assets()
        feed.calendar(date(2025, 8, 11), date(2025, 8, 15))
    assert (b.invalid, b.odd) == ([], [])


def test_trap_21_23_source_and_adjustment_are_spoken():
    with bench() as b:
        feed = feed_of(b)
        feed.bars(None, Timeframe.MIN1, BACK, b.now, b.now)
        feed.quotes(["AAPL"], b.now)
        bars, quotes = (a.query for a in b.asked if "/stocks/" in a.path)
    assert (bars["feed"], bars["adjustment"], bars["symbols"]) == ("iex", "raw", "AAPL,MSFT,SPY")
    assert bars["start"].endswith("+00:00") and quotes["feed"] == "iex"


class Paged(Service):
    "Bars in pages of any size; more than a page of symbols"

    def __init__(self, bars, size=7, **changes):
        self.rows, self.size, self.changes, self.asked = bars, size, changes, []

    def reply(self, asked):
        self.asked.append(asked)
        if asked.path == "/v2/account":
            return Answer(200, {"account_number": "PA3PAGED"})
        if asked.path == "/v2/assets":
            return Answer(200, [{"symbol": s} for s in sorted({s for s, _ in self.rows})])
        wanted = asked.query["symbols"].split(",")
        rows = [(s, b) for s, b in self.rows if s in (*wanted, "EVIL")]
        token = asked.query.get("page_token", "")
        first = int(token) if token.isdigit() else 0
        told, last = {}, first + self.size
        for s, b in rows[first:last]:
            told.setdefault(s, []).append(b)
        return Answer(
            200,
            {"bars": told, "next_page_token": str(last) if last < len(rows) else None}
            | self.changes,
        )


def bar(minute, **changes):
    t = (AT + timedelta(minutes=minute)).isoformat().replace("+00:00", "Z")
    return {"t": t, "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5, "v": 100, "n": 3, "vw": 1.2} | changes


def feed_at(server, symbols, **options):
    ws = server.url.replace("http", "ws")
    alpaca = Alpaca(
        Secret("PKLESSON"),
        Secret("lesson-secret"),
        Hosts(server.url, server.url, ws),
        **(FAST | options),
    )
    return AlpacaFeed(alpaca, symbols)


def ask(feed, minutes=60):
    end = AT + timedelta(minutes=minutes)
    return feed.bars(None, Timeframe.MIN1, AT, end, end)


def test_trap_22_all_pages_of_all_symbols():
    names = [f"S{chr(65 + i // 26)}{chr(65 + i % 26)}" for i in range(150)]
    rows = [(s, bar(m)) for s in names for m in range(3)]
    with Loopback(Paged(rows, size=100)) as server:
        got = ask(feed_at(server, names))
    assert got.groupby("symbol").size().tolist() == [3] * 150
    asked = [a for a in server.asked if a.path == "/v2/stocks/bars"]
    assert {len(a.query["symbols"].split(",")) for a in asked} == {100, 50}


def test_pages_that_do_not_end_end():
    with Loopback(Paged([("AAPL", bar(0))], next_page_token="again")) as server:
        with pytest.raises(UnavailableError, match="offered twice"):
            ask(feed_at(server, ["AAPL"]))
    assert [a.path for a in server.asked].count("/v2/stocks/bars") == 2
    with Loopback(Paged([("AAPL", bar(0))], next_page_token=7)) as server:
        with pytest.raises(UnavailableError, match="next_page_token"):
            ask(feed_at(server, ["AAPL"]))


def test_odd_bars_are_handed_on_and_spoil_nothing():
    odd = [
        bar(0),
        bar(1, c=None),
        bar(2, o="high"),
        bar(3, t="yesterday"),
        None,
        bar(4),
        bar(4, c=1.6),
    ]
    with Loopback(Paged([("AAPL", b) for b in odd] + [("EVIL", bar(0))])) as server:
        got = ask(feed_at(server, ["AAPL"]))
    assert set(got.symbol) == {"AAPL"} and int(got.ts.isna().sum()) == 1
    assert got.close.isna().sum() == 2 and got.open.isna().sum() == 2
    assert got[got.ts == pd.Timestamp(AT + timedelta(minutes=4))].close.tolist() == [1.6]


def test_no_bars_are_an_empty_frame():
    with bench(faults=Faults().next("null_bars", "bars")) as b:
        got = feed_of(b).bars(None, Timeframe.MIN1, BACK, b.now, b.now)
        assert got.empty and list(got.columns) == BAR_COLUMNS
        count = len(b.asked)
        assert feed_of(b).bars(None, Timeframe.MIN1, b.now, b.now, b.now).empty
        assert feed_of(b, []).bars(None, Timeframe.MIN1, BACK, b.now, b.now).empty
        assert [a.path for a in b.asked[count:]] == ["/v2/account"] * 2


@pytest.mark.parametrize(
    "kind",
    [
        "500",
        "503",
        "429_bare",
        "reset_before",
        "cut_json",
        "truncated",
        "foreign",
        "html",
        "empty",
        "hang",
        "endless",
    ],
)
def test_guard_12_unavailable_is_never_empty(kind):
    faults = Faults(hang_seconds=3.0)
    with bench(faults=faults) as b:
        feed = feed_of(b, **(dict(timeout=(0.5, 0.5)) if kind == "hang" else {}))
        for place, call in (
            ("bars", lambda: feed.bars(None, Timeframe.MIN1, BACK, b.now, b.now)),
            ("news", lambda: feed.news(AT, b.now)),
            ("quotes", lambda: feed.quotes(["AAPL"], b.now)),
        ):
            if kind == "endless" and place == "quotes":
                continue
            faults.next(kind, place, times=9)
            with pytest.raises(UnavailableError) as e:
                call()
            assert "\n" not in str(e.value) and "bench-secret" not in str(e.value)
            faults.plans.clear()
            call()


def test_quotes_are_null_where_nobody_bids_and_unknown_where_later():
    quotes = {
        "AAPL": {"ap": 0, "bp": 99.5, "t": "2025-08-13T14:00:00.123456789Z"},
        "MSFT": {"ap": 101.2, "bp": 101.1, "t": "2025-08-13T14:00:02Z"},
        "SPY": None,
    }

    class Quotes(Service):
        def reply(self, asked):
            return Answer(
                200,
                {"account_number": "PA3QUOTES"} if "account" in asked.path else {"quotes": quotes},
            )

    with Loopback(Quotes()) as server:
        got = feed_at(server, ["AAPL"]).quotes(["SPY", "MSFT", "AAPL"], AT + timedelta(seconds=1))
    assert list(got.columns) == QUOTE_COLUMNS and got.symbol.tolist() == ["AAPL"]
    assert got.ask.isna().all() and got.bid.tolist() == [99.5]


def at_alpaca(answers, symbols, now):
    "A feed of the real hosts, whose answers come from a table"

    class Table(Alpaca):
        def _call(self, service, method, path, data, version):
            told = answers[path]
            return told(data) if callable(told) else told

    alpaca = Table(Secret("PK1"), Secret("s"))
    alpaca.account_number = "PA3TABLE"
    return AlpacaFeed(alpaca, symbols, ReplayClock(now))


def test_a_quote_newer_than_the_slot_is_known_when_it_is_read_and_keeps_its_stamp():
    "At Alpaca the latest quote is always newer than the slot; the fresh were dropped and the stale kept"
    at = lambda s: (AT + timedelta(seconds=s)).isoformat().replace("+00:00", "Z")
    quote = lambda s: {"bp": 100.0, "ap": 100.1, "t": at(s)}
    told = {"AAPL": quote(18), "MSFT": quote(-7200), "SPY": quote(25)}
    now = AT + timedelta(seconds=20)
    feed = at_alpaca({"/stocks/quotes/latest": {"quotes": told}}, ["AAPL"], now)
    got = feed.quotes(["AAPL", "MSFT", "SPY"], AT)
    assert got.symbol.tolist() == ["AAPL", "MSFT"]  # What is newer than the reading does not exist
    assert got.ts.iloc[0] == AT + timedelta(seconds=18) and got.attrs["known_at"] == now
    ids = got.assign(security_id=[1, 2])
    live = newest_quotes(ids, AT)
    assert live[1]["ts"] == AT + timedelta(seconds=18)
    seen = quote_of(live[1], AT, Config())
    row = dict.fromkeys((*POINT_FEATURES, "volume", "close"), 1.0) | {
        "security_id": 1,
        "bar_ts": AT,
    }
    stamped = point(row, seen, None, "high", AT)
    assert stamped["bid"] == 100.0 and stamped["collected_at"] == live[1]["ts"] > AT
    ids.attrs.clear()
    assert 1 not in newest_quotes(ids, AT)  # Who reads as of the slot does not see it
    assert len(feed.quotes(["AAPL", "SPY"], AT - timedelta(hours=2))) == 0  # The past gets no grace


def test_one_symbol_that_alpaca_cannot_read_costs_no_other_its_bars():
    with bench() as b:
        feed = feed_of(b, ["AAPL", "BRK-B", "BTC/USD", "A1", "MSFT"])
        got = feed.bars(None, Timeframe.MIN1, AT, AT + timedelta(minutes=5), b.now)
        assert sorted(set(got.symbol)) == ["AAPL", "MSFT"] == feed.symbols
        assert feed.quotes(["AAPL", "BRK-B"], b.now).symbol.tolist() == ["AAPL"]
        assert len(feed.news(AT, b.now)) == 1
        with pytest.raises(Denied, match="invalid symbol: BRK-B"):  # What the service says itself
            feed.alpaca.get("data", "/stocks/quotes/latest", {"symbols": "AAPL,BRK-B"})


@pytest.mark.parametrize("wrong", [1, 8, 9])
def test_a_symbol_that_is_refused_by_name_is_dropped_and_the_rest_asked_for_again(wrong):
    gone, asked = [f"GONE{c}" for c in "ABCDEFGHI"[:wrong]], []

    def latest(fields):
        asked.append(fields["symbols"].split(","))
        if bad := [s for s in asked[-1] if s in gone]:
            raise Denied(f"alpaca: HTTP 400: invalid symbol: {bad[0]}", 400)
        return {"quotes": {"AAPL": {"bp": 1, "ap": 2, "t": AT.isoformat()}}}

    feed = at_alpaca({"/stocks/quotes/latest": latest}, ["AAPL"], AT)
    if wrong > 8:
        with pytest.raises(UnavailableError, match="more than 8 symbols"):
            feed.quotes(["AAPL", *gone], AT)
        return
    for _ in range(2):
        assert feed.quotes(["AAPL", *gone], AT).symbol.tolist() == ["AAPL"]
    assert len(asked) == wrong + 2 and feed.wrong == set(
        gone
    )  # The second time nobody asks for them


def test_a_refusal_that_names_nobody_stays_one():
    def latest(fields):
        raise Denied("alpaca: HTTP 400: invalid feed", 400)

    with pytest.raises(Denied, match="invalid feed"):
        at_alpaca({"/stocks/quotes/latest": latest}, [], AT).quotes(["AAPL"], AT)


def test_the_universe_is_what_alpaca_lists_and_a_list_that_does_not_come_costs_nothing():
    with bench() as b:
        feed = feed_of(b, ["AAPL", "MSFT", "ZZZZ"])
        ask(feed, 3)
        assert [a.query["symbols"] for a in b.asked if a.route == "bars"] == ["AAPL,MSFT"]
    with bench(faults=Faults(rates={"503@assets": 1.0})) as b:
        feed = feed_of(b, ["AAPL", "ZZZZ"], wait=0.001)
        assert set(ask(feed, 3).symbol) == {"AAPL"}


def test_who_can_be_borrowed_is_told_and_the_bench_refuses_the_others():
    with bench(faults=Faults(hard_to_borrow={"MSFT"})) as b:
        assert feed_of(b).shortable() == {"AAPL": True, "MSFT": False, "SPY": True}
        short = {"symbol": "MSFT", "side": "sell", "qty": "1", "type": "market"}
        with pytest.raises(Denied, match='asset "MSFT" cannot be sold short'):
            feed_of(b).alpaca.post("trading", "/orders", short | {"time_in_force": "day"})


def test_quotes_of_the_bench_are_around_its_prices():
    with bench() as b:
        got = feed_of(b).quotes(["MSFT", "AAPL", "ZZZZ"], b.now)
    assert got.symbol.tolist() == ["AAPL", "MSFT"] and (got.bid <= got.ask).all()


def test_news_are_those_of_the_span():
    with bench(minutes=20) as b:
        feed = feed_of(b)
        got = feed.news(AT, b.now)
        assert list(got.columns) == NEWS_COLUMNS and got.headline.tolist() == [
            "Apple opens a plant"
        ]
        assert (got.received_at == b.now).all() and (got.feed == "alpaca").all()
        b.advance(AT + timedelta(minutes=30))
        assert "Later" in feed.news(AT + timedelta(minutes=20), b.now).headline.tolist()
    real = AlpacaFeed(
        Alpaca(Secret("PK1"), Secret("s")), ["AAPL"], ReplayClock(AT + timedelta(days=1))
    )
    assert (real.name, real.simulated) == ("alpaca", False)
    with pytest.raises(UnavailableError, match="a live feed cannot tell"):
        real.news(BACK, AT)


def test_assets_are_asked_for_once():
    with bench() as b:
        feed = feed_of(b, ["MSFT", "AAPL", "ZZZZ"])
        got = feed.assets()
        assert list(got.columns) == ASSET_COLUMNS and got.symbol.tolist() == ["AAPL", "MSFT"]
        assert feed.assets().equals(got) and got.tradable.all() and got.sector.isna().all()
        assert [a.path for a in b.asked].count("/v2/assets") == 1


def test_trap_24_the_calendar_has_its_zone_and_its_half_days():
    with bench() as b:
        got = feed_of(b).calendar(date(2025, 11, 26), date(2025, 12, 1))
    assert got == [get_session(d) for d in ("2025-11-26", "2025-11-28", "2025-12-01")]
    assert got[1].half_day and got[1].closes.hour == 18
    for wrong in (
        None,
        {},
        {"date": "x", "open": "09:30", "close": "16:00"},
        {"date": "2025-08-13", "open": 9, "close": None},
    ):
        with pytest.raises(UnavailableError, match="no day of a calendar"):
            session_of_row(wrong)


def test_a_day_is_complete_when_its_extended_session_is_over():
    day = bar(0, t="2025-08-13T04:00:00Z")
    with Loopback(Paged([("AAPL", day)])) as server:
        feed, ends = feed_at(server, ["AAPL"]), get_session("2025-08-13").ends
        for asof, n in ((ends - timedelta(seconds=1), 0), (ends, 1)):
            assert (
                len(
                    feed.bars(
                        None, Timeframe.DAY1, AT - timedelta(days=3), AT + timedelta(days=3), asof
                    )
                )
                == n
            )


@pytest.mark.parametrize("symbol", ["aapl", "A,B", "", "AAPL\n", "É", "A" * 40, "A&feed=sip"])
def test_a_symbol_that_is_none_is_refused_before_it_is_asked_for(symbol):
    with Loopback(Paged([])) as server:
        with pytest.raises(InputError, match="symbol"):
            feed_at(server, ["AAPL", symbol])
        with pytest.raises(InputError, match="symbol"):
            feed_at(server, ["AAPL"]).quotes([symbol], AT)
    assert not server.asked


def test_naive_instants_and_other_lengths_are_refused():
    with Loopback(Paged([])) as server:
        feed = feed_at(server, ["AAPL"])
        with pytest.raises(InputError, match="start"):
            feed.bars(None, Timeframe.MIN1, AT.replace(tzinfo=None), AT, AT)
        for length in (Timeframe.HOUR1, Timeframe.WEEK1):
            with pytest.raises(InputError, match="timeframe"):
                feed.bars(None, length, BACK, AT, AT)
    assert not server.asked
