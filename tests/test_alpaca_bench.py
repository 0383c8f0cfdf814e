"""The loopback Alpaca behaves as ../shared/alpaca.md says, its answers fit Alpaca's documents, and each fault is the fault it is named after.

The real alpaca-py 0.44 asks; what it raises for each fault is the table of section 2. No test reads the network or needs keys.
"""

import json
import logging
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import NewsClient, StockHistoricalDataClient
from alpaca.data.historical.screener import ScreenerClient
from alpaca.data.live import NewsDataStream, StockDataStream
from alpaca.data.requests import (
    MarketMoversRequest,
    MostActivesRequest,
    NewsRequest,
    StockBarsRequest,
    StockLatestQuoteRequest,
    StockSnapshotRequest,
)
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.requests import (
    ClosePositionRequest,
    GetCalendarRequest,
    GetOrderByIdRequest,
    GetOrdersRequest,
    LimitOrderRequest,
    MarketOrderRequest,
    StopLimitOrderRequest,
    StopLossRequest,
    StopOrderRequest,
    TakeProfitRequest,
    TrailingStopOrderRequest,
)
from alpaca.trading.stream import TradingStream
from alpaca_bench import AFTER, BEFORE, SECRET, Bench, Faults, Tape
from pydantic import ValidationError

from catalyst.clock import get_session

SESSION = get_session("2025-08-13")
AT = SESSION.opens + timedelta(minutes=30)
FLAT = [100] * 40
NESTED = GetOrderByIdRequest(nested=True)


def after(minutes):
    return AT + timedelta(minutes=minutes)


def client(bench, **more):
    c = TradingClient(*bench.keys, url_override=bench.trading_url, **more)
    c._retry, c.seconds = 0, 5
    send = c._session.request
    c._session.request = lambda *a, **k: send(*a, **k, timeout=c.seconds)
    return c


@contextmanager
def market(prices=None, faults=None, at=AT, **more):
    "A bench over a tape, its client, every answer held to the documents"
    tape = Tape(at, prices or {"AAPL": FLAT, "MSFT": [50] * 40}, **more.pop("tape", {}))
    with Bench(tape, at, faults, validate=True, **more) as bench:
        yield bench, client(bench)
        assert bench.invalid == []


def order(kind=MarketOrderRequest, side="buy", qty=100, symbol="AAPL", tif="gtc", **more):
    return kind(symbol=symbol, qty=qty, side=side, time_in_force=tif, **more)


def bracket(target=105, stop=98, **more):
    exits = {
        "take_profit": TakeProfitRequest(limit_price=target),
        "stop_loss": StopLossRequest(stop_price=stop),
    }
    return order(
        more.pop("kind", LimitOrderRequest),
        order_class="bracket",
        **({"limit_price": 101} | exits | more),
    )


def states(c, name):
    o = c.get_order_by_id(name, NESTED)
    return [o.status.value, *[leg.status.value for leg in o.legs or ()]]


def refused(call):
    with pytest.raises(APIError) as e:
        call()
    told = json.loads(str(e.value))
    return e.value.status_code, told.get("code"), told


# ---- life


def test_the_reply_to_an_order_is_never_its_fill():
    with market() as (bench, c):
        o = c.submit_order(order())
        assert (o.status.value, o.filled_qty) == ("pending_new", "0")
        assert c.get_order_by_id(o.id).status.value == "new"
        bench.advance(after(1))
        o = c.get_order_by_id(o.id)
        assert (o.status.value, o.filled_qty, o.filled_avg_price) == ("filled", "100", "100.02")
        assert Decimal(c.get_account().cash) == 100_000 - Decimal(10002)


def test_exits_are_held_until_the_whole_entry_is_filled_and_end_each_other():
    up = [100, 100, (100, 106, 100, 106), 106, 106]
    down = [100, 100, (100, 100, 97, 97), 97, 97]
    for path, ends, silent in (
        (up, ["filled", "filled", "canceled"], 1),
        (down, ["filled", "replaced", "filled"], 0),
    ):
        with market({"AAPL": path}) as (bench, c):
            said = []
            bench.books.publish = lambda place, m, said=said: (
                said.append(m["data"]) if place == "trade" else None
            )
            o = c.submit_order(bracket())
            assert [leg.status.value for leg in o.legs] == ["held", "held"]
            bench.advance(after(1))
            assert states(c, o.id) == ["filled", "new", "held"]
            held = c.get_open_position("AAPL")
            assert (held.qty, held.qty_available) == ("100", "0")
            bench.advance(after(5))
            assert states(c, o.id) == ends
            assert bench.state()["positions"] == []
            told = [(m["event"], m["order"]["type"]) for m in said]
            assert [t for t in told if t[0] == "canceled"] == [], (
                "a filled target ends its stop without an event"
            )
            assert (("replaced", "limit") in told) == (not silent)


def test_a_canceled_part_of_an_entry_is_left_without_a_stop():
    with market(faults=Faults().next("partial", "fill")) as (bench, c):
        o = c.submit_order(bracket())
        bench.advance(after(1))
        assert states(c, o.id) == ["partially_filled", "held", "held"]
        c.cancel_order_by_id(o.id)
        assert states(c, o.id) == ["canceled", "canceled", "canceled"]
        assert c.get_open_position("AAPL").qty == "50"


def test_a_pair_protects_shares_once_and_ends_together():
    with market({"AAPL": [100, 100, 100, 100, (100, 100, 95, 95), 95]}) as (bench, c):
        c.submit_order(order())
        bench.advance(after(1))
        pair = order(
            LimitOrderRequest, "sell", order_class="oco", take_profit=TakeProfitRequest(limit_price=110),
            stop_loss=StopLossRequest(stop_price=96),
        )  # fmt: skip
        o = c.submit_order(pair)
        assert (o.type.value, o.limit_price, o.legs[0].type.value, o.legs[0].stop_price) == (
            "limit",
            "110",
            "stop",
            "96",
        )
        assert states(c, o.id) == ["new", "held"]
        status, code, told = refused(lambda: c.close_position("AAPL"))
        assert (status, code, told["available"], told["held_for_orders"]) == (
            403,
            40310000,
            "0",
            "100",
        )
        bench.advance(after(6))
        assert states(c, o.id) == ["replaced", "filled"]
        again = c.submit_order(order())
        bench.advance(after(7))
        assert c.get_order_by_id(again.id).status.value == "new", "no bar, no fill"


def test_exits_never_sell_more_than_is_held():
    path = [100, (100, 106, 100, 104), (104, 104, 97, 97), 97]
    with market({"AAPL": path}, Faults().next("partial", "fill", nth=2)) as (bench, c):
        o = c.submit_order(bracket())
        bench.advance(after(2))
        assert states(c, o.id) == ["filled", "partially_filled", "held"]
        bench.advance(after(4))
        assert states(c, o.id) == ["filled", "replaced", "filled"]
        sold = [f["qty"] for f in bench.state()["fills"] if f["side"] == "sell"]
        assert sold == ["50", "50"] and bench.state()["positions"] == []


def test_stop_limit_and_trailing_stop_move_as_they_should():
    path = [100, 100, (100, 110, 100, 110), (110, 110, 106, 106), (106, 106, 104, 104), 104]
    with market({"AAPL": path}) as (bench, c):
        c.submit_order(order())
        bench.advance(after(1))
        trail = c.submit_order(order(TrailingStopOrderRequest, "sell", qty=50, trail_price=5))
        bench.advance(after(3))
        floor = c.submit_order(
            order(StopLimitOrderRequest, "sell", qty=50, stop_price=107, limit_price=106.5)
        )
        assert (
            c.get_order_by_id(trail.id).stop_price == "105"
            and c.get_order_by_id(trail.id).hwm == "110"
        )
        bench.advance(after(6))
        assert c.get_order_by_id(trail.id).filled_avg_price == "104.97"
        assert c.get_order_by_id(floor.id).filled_avg_price == "106.97"


def test_a_day_order_ends_at_the_close_and_a_late_one_waits_for_the_open():
    half = get_session("2025-11-28")
    at = half.closes - timedelta(minutes=2)
    monday = get_session("2025-12-01").opens
    with market({"AAPL": FLAT}, at=at) as (bench, c):
        day = c.submit_order(order(LimitOrderRequest, limit_price=90, tif="day"))
        bench.advance(half.closes)
        assert c.get_order_by_id(day.id).status.value == "expired"
        assert c.get_clock().is_open is False
        late = c.submit_order(order(LimitOrderRequest, limit_price=90, tif="day"))
        assert late.status.value == "accepted"
        bench.advance(monday)
        assert c.get_order_by_id(late.id).status.value == "new"
        [friday] = [d for d in c.get_calendar(GetCalendarRequest(start=half.day, end=half.day))]
        assert (friday.close.hour, friday.close.tzinfo) == (13, None)


def test_a_cancel_only_asks():
    with market() as (bench, c):
        o = c.submit_order(order(LimitOrderRequest, limit_price=90))
        bench.faults.cancel_lag = 2
        c.cancel_order_by_id(o.id)
        seen = [c.get_order_by_id(o.id).status.value for _ in range(3)]
        assert seen == ["pending_cancel", "pending_cancel", "canceled"]
        assert refused(lambda: c.cancel_order_by_id(o.id))[:2] == (422, 42210000)
        bench.faults.next("stuck_cancel", "cancel").next("cancel_fills", "cancel")
        stuck, filled = (c.submit_order(order(LimitOrderRequest, limit_price=90)) for _ in range(2))
        for x in (stuck, filled):
            c.cancel_order_by_id(x.id)
        bench.advance(after(5))
        assert [c.get_order_by_id(x.id).status.value for x in (stuck, filled)] == [
            "pending_cancel",
            "filled",
        ]
        bench.faults.heal()
        assert c.get_order_by_id(stuck.id).status.value == "canceled"


def test_a_name_is_used_once_for_ever_and_found_again():
    with market() as (bench, c):
        o = c.submit_order(order(LimitOrderRequest, limit_price=90, client_order_id="mine"))
        c.cancel_order_by_id(o.id)
        assert refused(lambda: c.submit_order(order(client_order_id="mine")))[:2] == (422, 40010001)
        assert c.get_order_by_client_id("mine").id == o.id
        assert len(bench.state()["orders"]) == 1
        assert refused(lambda: c.get_order_by_client_id("other"))[:2] == (404, 40410000)


def test_what_is_refused_carries_alpacas_numbers():
    post = lambda c, **o: c.post(
        "/orders",
        {"symbol": "AAPL", "side": "buy", "type": "market", "time_in_force": "day", "qty": "1"} | o,
    )
    limit = {"type": "limit", "limit_price": "100"}
    exits = {
        "order_class": "bracket",
        "take_profit": {"limit_price": "105"},
        "stop_loss": {"stop_price": "98"},
    }
    cases = [
        ({"qty": None}, 422, 40010001, "qty or notional is required"),
        ({"type": "limit"}, 422, 40010001, "limit orders require a limit price"),
        ({"limit_price": "5"}, 422, 40010001, "market orders require no stop or limit price"),
        ({"time_in_force": "fok2"}, 422, 40010001, "invalid time_in_force"),
        (limit | {"limit_price": 1.1400000000000001}, 422, 42210000, "sub-penny"),
        (limit | exits | {"stop_loss": {"stop_price": "100"}}, 422, 42210000, "stop_loss.stop_price must be <= base_price - 0.01"),
        (limit | exits | {"take_profit": {"limit_price": "99"}}, 422, 42210000, "take_profit.limit_price must be >="),
        (limit | exits | {"stop_loss": {}}, 422, 40010001, "bracket orders require stop_loss.stop_price"),
        ({"symbol": "NOPE"}, 422, 42210000, 'asset "NOPE" not found'),
        ({"symbol": "DEAD"}, 422, 42210000, "is not tradable"),
        ({"qty": "2000"}, 403, 40310000, "insufficient buying power"),
        (limit | {"side": "sell", "order_class": "oco", "take_profit": {"limit_price": "105"}, "stop_loss": {"stop_price": "98"}}, 422, 42210000, "exit"),
        ({"type": "trailing_stop"}, 422, 40010001, "trail_price or trail_percent"),
        ({"client_order_id": "x" * 129}, 422, 40010001, "128"),
    ]  # fmt: skip
    with market({"AAPL": FLAT, "DEAD": FLAT}, tape={"untradable": ["DEAD"]}) as (bench, c):
        for change, status, code, words in cases:
            told = refused(lambda change=change: post(c, **change))
            assert told[:2] == (status, code) and words in told[2]["message"], (change, told)
        assert bench.state()["orders"] == [], "a refusal leaves no order"
        assert refused(lambda: c.get_open_position("AAPL"))[:2] == (404, 40410000)
        wrong = TradingClient("PKWRONG", SECRET, url_override=bench.trading_url)
        assert refused(wrong.get_account) == (401, None, {"message": "unauthorized."})
        assert "<html>" in requests.get(bench.trading_url + "/v2/account", timeout=2).text


def test_a_resting_stop_makes_a_purchase_a_wash_trade():
    with market() as (bench, c):
        c.submit_order(order())
        bench.advance(after(1))
        stop = c.submit_order(order(StopOrderRequest, "sell", stop_price=95))
        status, code, told = refused(lambda: c.submit_order(order(qty=1)))
        assert (status, code, told["existing_order_id"]) == (403, 40310000, str(stop.id))
        c.submit_order(bracket(qty=1))  # A complex order is exempt
        assert (
            refused(lambda: c.submit_order(order(side="sell", qty=1)))[2]["held_for_orders"]
            == "100"
        )


def test_bracket_against_a_position_is_no_entry():
    with market() as (bench, c):
        c.submit_order(order())
        bench.advance(after(1))
        wrong = bracket(side="sell", target=90, stop=105, limit_price=99)
        assert (
            "bracket orders must be entry orders"
            in refused(lambda: c.submit_order(wrong))[2]["message"]
        )


def test_held_stops_are_not_open_and_pages_are_exclusive():
    with market() as (bench, c):
        parent = c.submit_order(bracket())
        bench.advance(after(1))
        one, two = (
            c.submit_order(order(LimitOrderRequest, symbol="MSFT", limit_price=40))
            for _ in range(2)
        )
        names = lambda **q: [str(o.id) for o in c.get_orders(GetOrdersRequest(**q))]
        target = str(c.get_order_by_id(parent.id, NESTED).legs[0].id)
        assert names() == [str(two.id), str(one.id), target]
        assert names(nested=True) == [str(two.id), str(one.id)], (
            "the filled entry is not open, its legs are not shown"
        )
        [whole] = c.get_orders(GetOrdersRequest(status="all", nested=True, symbols=["AAPL"]))
        assert [leg.status.value for leg in whole.legs] == ["new", "held"]
        assert names(status="all", after=one.submitted_at, direction="asc") == [str(two.id)]
        assert names(status="all", limit=1) == [str(two.id)]
        raw = c.get("/orders", {"status": "all", "nested": True, "after_order_id": str(one.id)})
        assert [o["id"] for o in raw] == [str(two.id)]


def test_cancel_all_and_close_all_say_what_became_of_each():
    with market() as (bench, c):
        c.submit_order(bracket())
        bench.advance(after(1))
        first = c.close_all_positions()
        assert [r.status for r in first] == [403]
        closed = c.close_all_positions(cancel_orders=True)
        assert [r.status for r in closed] == [200]
        bench.advance(after(2))
        assert c.get_all_positions() == [] and c.cancel_orders() == []
        c.submit_order(order(qty=10))
        bench.advance(after(3))
        c.close_position("AAPL", ClosePositionRequest(qty="4"))
        bench.advance(after(4))
        assert c.get_open_position("AAPL").qty == "6"


def test_activities_name_each_execution_and_page():
    with market(faults=Faults(rates={"partial": 1.0})) as (bench, c):
        o = c.submit_order(order(qty=10))
        bench.advance(after(10))
        rows = c.get("/account/activities/FILL", {"direction": "asc", "page_size": 2})
        more = c.get(
            "/account/activities",
            {"direction": "asc", "page_token": rows[-1]["id"], "activity_types": "FILL"},
        )
        assert [r["qty"] for r in rows + more] == ["5", "2", "1", "1", "1"]
        assert {r["order_id"] for r in rows} == {str(o.id)}
        assert [r["type"] for r in more][-1] == "fill" and more[-1]["leaves_qty"] == "0"
        assert [r["id"].split("::")[1] for r in rows + more] == [
            f["execution_id"] for f in bench.state()["fills"]
        ]


# ---- data


def data(bench, kind=StockHistoricalDataClient, **more):
    c = kind(*bench.keys, url_override=bench.data_url, **more)
    c._retry = 0
    return c


def test_bars_share_their_limit_and_page_to_the_end():
    with market() as (bench, _):
        bench.advance(after(20))
        d = data(bench)
        both = {
            "symbol_or_symbols": ["AAPL", "MSFT"],
            "timeframe": TimeFrame.Minute,
            "start": AT,
            "feed": "iex",
        }
        assert set(d.get_stock_bars(StockBarsRequest(**both, limit=5)).data) == {"AAPL"}
        whole = d.get_stock_bars(StockBarsRequest(**both))
        assert {s: len(b) for s, b in whole.data.items()} == {"AAPL": 20, "MSFT": 20}
        pages = [
            d.get(
                "/stocks/bars",
                {
                    "symbols": "AAPL,MSFT",
                    "timeframe": "1Min",
                    "start": AT.isoformat(),
                    "feed": "iex",
                    "limit": 15,
                },
            )
        ]
        while pages[-1]["next_page_token"]:
            pages.append(d.get("/stocks/bars", {"symbols": "AAPL,MSFT", "timeframe": "1Min", "start": AT.isoformat(), "feed": "iex",
                                                "limit": 15, "page_token": pages[-1]["next_page_token"]}))  # fmt: skip
        assert sum(len(b) for p in pages for b in p["bars"].values()) == 40 and len(pages) == 3
        both["feed"] = "sip"
        assert refused(lambda: d.get_stock_bars(StockBarsRequest(**both)))[:2] == (403, None)
        day = {
            "symbol_or_symbols": "AAPL",
            "timeframe": TimeFrame.Day,
            "start": AT - timedelta(1),
            "feed": "iex",
        }
        [today] = d.get_stock_bars(StockBarsRequest(**day)).data["AAPL"]
        assert (today.timestamp.hour, today.volume) == (4, 2_100_000), (
            "midnight in New York, and what there is of today"
        )
        none = d.get_stock_bars(StockBarsRequest(**day | {"symbol_or_symbols": ["ZZZZ"]}))
        assert none.data == {}


def test_quotes_snapshots_news_and_movers_fit_their_documents():
    news = [
        (after(2), ["AAPL"], "Apple opens a plant"),
        (after(3), ["MSFT"], "Microsoft does not"),
        (after(30), ["AAPL"], "Later"),
    ]
    with market({"AAPL": [100, 101, 102, 103, 104], "MSFT": [50] * 5}, tape={"news": news}) as (
        bench,
        c,
    ):
        bench.advance(after(5))
        quote = data(bench).get_stock_latest_quote(
            StockLatestQuoteRequest(symbol_or_symbols="AAPL", feed="iex")
        )["AAPL"]
        assert quote.bid_price < 104 < quote.ask_price
        assert (
            data(bench)
            .get_stock_snapshot(StockSnapshotRequest(symbol_or_symbols=["AAPL"], feed="iex"))[
                "AAPL"
            ]
            .daily_bar.close
            == 104
        )
        told = (
            data(bench, NewsClient)
            .get_news(NewsRequest(symbols="AAPL", start=AT - timedelta(1), end=AT + timedelta(1)))
            .data["news"]
        )
        assert [n.headline for n in told] == ["Apple opens a plant"], (
            "what is not known yet is not told"
        )
        assert (
            data(bench, NewsClient).get_news(NewsRequest(limit=1)).data["news"][0].headline
            == "Microsoft does not"
        )
        screen = data(bench, ScreenerClient)
        assert [
            a.symbol for a in screen.get_most_actives(MostActivesRequest(top=2)).most_actives
        ] == ["AAPL", "MSFT"]
        assert screen.get_market_movers(MarketMoversRequest(top=2)).gainers == []
        assert {a.symbol for a in c.get_all_assets()} == {"AAPL", "MSFT"} and c.get_asset(
            "MSFT"
        ).tradable


# ---- faults

BODY = {
    "429": APIError, "429_bare": APIError, "500": APIError, "502": APIError, "503": APIError, "504": APIError,
    "reset_before": requests.ConnectionError, "hang": requests.ReadTimeout,
    "500_after": APIError, "504_after": APIError, "reset_after": requests.ConnectionError, "lost_reply": requests.ConnectionError,
    "hang_after": requests.ReadTimeout, "truncated": requests.exceptions.ChunkedEncodingError,
    "cut_json": requests.exceptions.JSONDecodeError, "html": requests.exceptions.JSONDecodeError, "foreign": ValidationError,
    "empty": TypeError, "unknown_enum": ValidationError, "slow": None, "missing_field": None,
}  # fmt: skip


@pytest.mark.parametrize("kind", BODY)
def test_each_fault_is_what_the_library_raises_for_it(kind):
    faults = Faults(slow_seconds=0.1).next(kind, "orders.post")
    with market(faults=faults) as (bench, c):
        sent = lambda: c.submit_order(order(client_order_id="mine"))
        c.seconds = 0.3 if "hang" in kind else 5
        if BODY[kind] is None:
            sent()
        else:
            with pytest.raises(BODY[kind]) as e:
                sent()
        if BODY[kind] is APIError:
            assert e.value.status_code == int(kind[:3])
            assert ("X-RateLimit-Reset" in e.value.response.headers) == (kind != "429_bare")
        assert len(bench.state()["orders"]) == (kind in AFTER), (
            "done before the reply was spoilt, or not at all"
        )
        assert bench.faults.seen == {kind: 1}
        if kind in AFTER:
            assert c.get_order_by_client_id("mine").status.value == "new"


def test_every_fault_of_a_reply_is_tried():
    assert set(BEFORE) | set(AFTER) == set(BODY) | {"endless", "null_bars"}


def test_pages_without_end_and_bars_that_are_null():
    with market() as (bench, _):
        bench.advance(after(5))
        ask = {"symbols": "AAPL", "timeframe": "1Min", "start": AT.isoformat(), "feed": "iex"}
        bench.faults.rates = {"endless": 1.0}
        pages = [data(bench).get("/stocks/bars", ask)]
        for _ in range(3):
            pages.append(
                data(bench).get("/stocks/bars", ask | {"page_token": pages[-1]["next_page_token"]})
            )
        assert all(p == pages[0] and p["next_page_token"] for p in pages)
        bench.faults.rates = {"null_bars@bars": 1.0}
        assert data(bench).get("/stocks/bars", ask)["bars"] is None
        with pytest.raises(AttributeError):
            data(bench).get_stock_bars(
                StockBarsRequest(
                    symbol_or_symbols="AAPL", timeframe=TimeFrame.Minute, start=AT, feed="iex"
                )
            )


def test_faults_of_the_books():
    with market() as (bench, c):
        bench.faults.next("reject_late", "accept").next("legs_missing", "accept", nth=2).next(
            "exits_day", "accept", nth=3
        )
        late, bare, day = (c.submit_order(bracket(qty=10)) for _ in range(3))
        assert late.status.value == "pending_new" and states(c, late.id) == [
            "rejected",
            "canceled",
            "canceled",
        ]
        assert (bare.legs, bare.order_class.value) == (None, "simple")
        assert [leg.time_in_force.value for leg in day.legs] == ["day", "day"]
        bench.advance(SESSION.closes)
        assert states(c, day.id) == ["filled", "expired", "expired"], (
            "the position is bare overnight"
        )
        bench.faults.invisible = 2
        hidden = c.submit_order(order(LimitOrderRequest, limit_price=90, client_order_id="h"))
        assert [refused(lambda: c.get_order_by_client_id("h"))[0] for _ in range(2)] == [404, 404]
        assert c.get_order_by_client_id("h").id == hidden.id
        bench.faults.clock_off, bench.faults.live_account = 45.0, True
        assert (c.get_clock().timestamp - bench.now).total_seconds() == 45
        assert not c.get_account().account_number.startswith("PA")
        bench.faults.heal()
        assert c.get_account().account_number.startswith("PA")


def test_a_halted_symbol_takes_orders_and_does_not_fill():
    with market() as (bench, c):
        bench.halt("AAPL")
        halted, free = c.submit_order(order(qty=1)), c.submit_order(order(qty=1, symbol="MSFT"))
        bench.advance(after(5))
        assert [c.get_order_by_id(o.id).status.value for o in (halted, free)] == ["new", "filled"]
        bench.resume("AAPL")
        bench.advance(after(6))
        assert c.get_order_by_id(halted.id).status.value == "filled"


def test_pace_is_told_and_enforced_when_asked():
    with market(rate_limit=3) as (bench, _):
        told = []
        for _ in range(8):  # A minute may end in between
            r = requests.get(
                bench.trading_url + "/v2/clock", timeout=2,
                headers={"APCA-API-KEY-ID": bench.keys[0], "APCA-API-SECRET-KEY": bench.keys[1]},
            )  # fmt: skip
            told.append((r.status_code, r.headers["X-RateLimit-Remaining"]))
        assert (429, "0") in told and told[0] == (200, "2")


# ---- streams


def wait(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@contextmanager
def running(*streams):
    logging.getLogger("alpaca").setLevel(logging.CRITICAL)  # It tells every broken line at length
    threads = [threading.Thread(target=s.run, daemon=True) for s in streams]
    for t in threads:
        t.start()
    yield
    for s in streams:
        s.stop()


def streams(bench, heard):
    async def on(m):
        heard.append(m)

    trade = TradingStream(*bench.keys, url_override=bench.stream_url + "/stream")
    trade.subscribe_trade_updates(on)
    bars = StockDataStream(*bench.keys, url_override=bench.stream_url + "/v2/iex")
    bars.subscribe_bars(on, "AAPL")
    bars.subscribe_trading_statuses(on, "*")
    news = NewsDataStream(*bench.keys, url_override=bench.stream_url + "/v1beta1/news")
    news.subscribe_news(on, "*")
    return trade, bars, news


def test_the_library_hears_orders_bars_and_news():
    heard = []
    with (
        market(
            {"AAPL": FLAT, "MSFT": FLAT}, tape={"news": [(after(2), ["MSFT"], "Microsoft")]}
        ) as (bench, c),
        running(*streams(bench, heard)),
    ):
        wait(lambda: sum(len(x.subscribed) > 0 for x in bench.streams.lines) == 3)
        c.submit_order(order(qty=10))
        bench.advance(after(3))
        bench.halt("MSFT")
        wait(lambda: len(heard) == 7)
        events = [(m.event, m.position_qty) for m in heard if type(m).__name__ == "TradeUpdate"]
        assert events == [("new", None), ("fill", 10.0)]
        assert [m.timestamp for m in heard if type(m).__name__ == "Bar"] == [
            after(i) for i in range(3)
        ]
        others = {"News": "MSFT", "TradingStatus": "MSFT"}
        told = {
            type(m).__name__: getattr(m, "symbol", None) or m.symbols[0]
            for m in heard
            if type(m).__name__ in others
        }
        assert told == others
        fill = next(m for m in heard if getattr(m, "event", "") == "fill")
        assert str(fill.execution_id) == bench.state()["fills"][0]["execution_id"]


def test_a_second_stream_is_refused():
    import msgpack
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    packed = {"Content-Type": "application/msgpack"}
    with market() as (bench, _):
        say = lambda ws, **m: ws.send(msgpack.packb(m))
        hear = lambda ws: msgpack.unpackb(ws.recv(timeout=10))
        auth = {"action": "auth", "key": bench.keys[0], "secret": bench.keys[1]}
        with connect(bench.stream_url + "/v2/iex", additional_headers=packed) as one:
            assert hear(one) == [{"T": "success", "msg": "connected"}]
            say(one, action="subscribe", bars=["AAPL"])
            assert hear(one)[0]["code"] == 401
            say(one, action="auth", key="PK", secret="no")
            assert hear(one)[0]["code"] == 402
            say(one, **auth)
            assert hear(one) == [{"T": "success", "msg": "authenticated"}]
            with connect(bench.stream_url + "/v2/iex", additional_headers=packed) as two:
                hear(two)
                say(two, **auth)
                assert hear(two)[0]["code"] == 406
            say(one, action="subscribe", trades=[f"S{i}" for i in range(31)])
            assert hear(one)[0]["code"] == 405
        with connect(bench.stream_url + "/stream") as trade:
            trade.send(
                json.dumps(
                    {
                        "action": "authenticate",
                        "data": {"key_id": bench.keys[0], "secret_key": bench.keys[1]},
                    }
                )
            )
            assert json.loads(trade.recv(timeout=10))["data"]["status"] == "authorized"
            with pytest.raises(InvalidStatus, match="429"), connect(bench.stream_url + "/stream"):
                pass
        wait(lambda: not bench.streams.lines)
        with connect(bench.stream_url + "/v2/iex", additional_headers=packed) as again:
            hear(again)
            say(again, **auth)
            assert hear(again)[0]["msg"] == "authenticated", "a line that ended frees its place"


def test_updates_come_twice_late_or_never():
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    with market() as (bench, c), connect(bench.stream_url + "/stream") as ws:
        ws.send(
            json.dumps(
                {
                    "action": "authenticate",
                    "data": {"key_id": bench.keys[0], "secret_key": bench.keys[1]},
                }
            )
        )
        ws.send(json.dumps({"action": "listen", "data": {"streams": ["trade_updates"]}}))
        hear = lambda: json.loads(ws.recv(timeout=10))["data"].get("event")
        assert [hear(), hear()] == [None, None]
        plan = lambda kind: bench.faults.next(kind, "stream.trade")
        play = lambda: (
            c.submit_order(order(qty=1)),
            bench.advance(bench.now + timedelta(minutes=1)),
        )
        plan("duplicate")
        play()
        assert [hear() for _ in range(3)] == ["new", "new", "fill"]
        plan("reorder")
        play()
        assert [hear() for _ in range(2)] == ["fill", "new"]
        plan("drop")
        play()
        assert hear() == "fill"
        bench.faults.mute = {"trade"}
        play()
        with pytest.raises(TimeoutError):
            ws.recv(timeout=0.1)
        bench.faults.mute = set()
        plan("drop_socket")
        play()
        with pytest.raises(ConnectionClosed):
            ws.recv(timeout=10)
        assert len(bench.state()["fills"]) == 5, "the books do not care what was heard"


# ---- the bench itself


def test_the_same_seed_and_questions_give_the_same_books():
    rates = {"partial": 0.4, "reject_late": 0.3, "lost_reply@orders.post": 0.3, "500": 0.3}

    def play(seed):
        with market(faults=Faults(seed=seed, rates=rates)) as (bench, c):
            for i in range(12):
                try:
                    c.submit_order(order(qty=7, side="buy", client_order_id=f"o{i}"))
                except (APIError, requests.ConnectionError):
                    pass
                bench.advance(after(i + 1))
            told = bench.state()
            return told["orders"], told["fills"], told["faults"]

    one, two, other = play(1), play(1), play(2)
    assert one == two and one != other
    assert set(one[2]) == {"partial", "reject_late", "lost_reply", "500"}


def test_cash_and_positions_follow_from_the_fills_over_a_simulated_day():
    import random

    from catalyst.simulate import SimulatedFeed

    feed = SimulatedFeed(seed=3, securities=44, history_sessions=1)
    names = sorted(feed.assets().symbol)[:6]
    dice = random.Random(5)
    with Bench(
        feed,
        SESSION.opens + timedelta(minutes=1),
        Faults(seed=5, rates={"partial": 0.3, "stuck_cancel": 0.1}),
    ) as bench:
        c = client(bench)
        for hour in range(1, 14):
            for name in names:
                price = bench.books.price(name)
                if price is None:
                    continue
                p = lambda x, price=price: float(round(float(price) * x, 2))
                wish = dice.choice([
                    bracket(symbol=name, qty=10, limit_price=p(1.001), target=p(1.004), stop=p(0.997)),
                    order(symbol=name, side="sell", qty=5),
                    order(TrailingStopOrderRequest, "sell", symbol=name, qty=3, trail_percent=0.5),
                ])  # fmt: skip
                try:
                    c.submit_order(wish)
                except APIError as e:
                    assert e.status_code in (403, 422)
            for o in c.get_orders():
                if dice.random() < 0.2:
                    try:
                        c.cancel_order_by_id(o.id)
                    except APIError as e:
                        assert e.status_code == 422
            bench.advance(SESSION.opens + timedelta(minutes=1 + 28 * hour))
        told, sign = bench.state(), {"buy": 1, "sell": -1}
    cash, shares, filled = Decimal(told["start_cash"]), {}, {}
    for f in told["fills"]:
        q, name = Decimal(f["qty"]) * sign[f["side"]], f["order_id"]
        cash -= q * Decimal(f["price"])
        shares[f["symbol"]] = shares.get(f["symbol"], 0) + q
        filled[name] = filled.get(name, 0) + abs(q)
    assert cash == Decimal(told["cash"]) and len(told["fills"]) > 20
    assert {s: q for s, q in shares.items() if q} == {
        p["symbol"]: Decimal(p["qty"]) for p in told["positions"]
    }
    for o in told["orders"]:
        assert Decimal(o["filled_qty"]) == filled.get(o["id"], 0) <= Decimal(o["qty"])
        assert (o["status"] == "filled") == (o["filled_qty"] == o["qty"])


def test_a_process_of_its_own_answers_at_once_and_outlives_its_client():
    script = Path(__file__).parent / "alpaca_bench.py"
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, script, "--at", AT.isoformat()], stdin=-1, stdout=-1, text=True
    ) as p:
        told = json.loads(p.stdout.readline())
        took = time.monotonic() - started
        c = TradingClient(told["key"], told["secret"], url_override=told["trading_url"])
        assert c.get_clock().is_open
        c.submit_order(order(symbol="SIMKET", qty=1, client_order_id="a"))
        new = TradingClient(told["key"], told["secret"], url_override=told["trading_url"])
        requests.post(
            told["trading_url"] + "/bench/advance", json={"to": after(2).isoformat()}, timeout=9
        )
        assert new.get_order_by_client_id("a").status.value == "filled"
        requests.post(
            told["trading_url"] + "/bench/faults",
            json={"next": [{"kind": "503", "place": "account"}]},
            timeout=2,
        )
        assert refused(new.get_account)[0] == 503
        assert (
            requests.post(
                told["trading_url"] + "/bench/faults", json={"halt": 1}, timeout=2
            ).status_code
            == 422
        )
        state = requests.get(told["trading_url"] + "/bench/state", timeout=2).json()
        assert (len(state["fills"]), state["faults"]) == (1, {"503": 1})
        p.stdin.close()
    assert took < 20
