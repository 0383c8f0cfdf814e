"""A loopback Alpaca: REST, streams, books of its own, a time of its own, and everything that can go wrong.

    with Bench(market, at=instant, faults=Faults(seed=7, rates={"lost_reply@orders.post": 0.1})) as bench:
        settings = bench.settings(home)          # world alpaca, keys, hosts
        TradingClient(*bench.keys, url_override=bench.trading_url)
        bench.advance(later)                     # bars pass, orders fill, streams speak
        bench.state()                            # what really happened, for a judge

`market` is a `ports.Feed`; every price and fill comes from its bars (of one minute where it has them) through
`catalyst.matching`. The books live in the memory of the process that made the bench, so they survive the death of a client.
As a process of its own: `python tests/alpaca_bench.py --session 2025-08-13 --port 0` prints its addresses as one line of JSON.

The account itself, its faults and a small market are in `alpaca_books`.
"""

import argparse
import base64
import io
import json
import os
import queue
import re
import socket
import stat
import struct
import sys
import threading
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from decimal import Decimal
from functools import cache, cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from alpaca_books import (
    AFTER,
    BEFORE,
    HTTP,
    KINDS,
    MINUTES,
    NGINX,
    PAGED,
    PLACES,
    SPANS,
    TICKER,
    Books,
    Faults,
    No,
    Tape,
    instant,
    stamp,
    text,
    uid,
)

from catalyst.clock import (
    NEW_YORK,
    WallClock,
    aware,
    session_offset,
    sessions_between,
)
from catalyst.config import Config
from catalyst.core import (
    OrderType,
    Secret,
    Settings,
    Side,
    Timeframe,
    World,
)

__all__ = ["AFTER", "BEFORE", "KEY", "KINDS", "SECRET", "Bench", "Faults", "Tape"]

KEY, SECRET = "PKTESTLOOPBACK000001", "bench-secret-000000000000000000000000000001"
# ---------------------------------------------------------------- REST


@dataclass
class Asked:
    "One question to the REST side"

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # Lower case
    body: bytes
    route: str = ""
    fault: str | None = None
    status: int | None = None

    @cached_property
    def json(self):
        try:
            return json.loads(self.body or b"null")
        except ValueError:
            raise No(422, "request body format is invalid", 40010000) from None


TRADING, DATA = "trading-api.json", "market-data-api.json"
ROUTES = [  # Method, path of the document, place, function, document
    ("GET", "/v2/account", "account", "account", TRADING),
    ("GET", "/v2/clock", "clock", "clock", TRADING),
    ("GET", "/v2/calendar", "calendar", "calendar", TRADING),
    ("GET", "/v2/assets", "assets", "list_assets", TRADING),
    ("GET", "/v2/assets/{symbol_or_asset_id}", "assets.one", "one_asset", TRADING),
    ("POST", "/v2/orders", "orders.post", "post_order", TRADING),
    ("GET", "/v2/orders", "orders.list", "list_orders", TRADING),
    ("DELETE", "/v2/orders", "orders.cancel_all", "cancel_all", TRADING),
    ("GET", "/v2/orders:by_client_order_id", "orders.by_client", "by_client", TRADING),
    ("GET", "/v2/orders/{order_id}", "orders.one", "one_order", TRADING),
    ("DELETE", "/v2/orders/{order_id}", "orders.cancel", "cancel_order", TRADING),
    ("GET", "/v2/positions", "positions.list", "list_positions", TRADING),
    ("DELETE", "/v2/positions", "positions.close_all", "close_all", TRADING),
    ("GET", "/v2/positions/{symbol_or_asset_id}", "positions.one", "one_position", TRADING),
    ("DELETE", "/v2/positions/{symbol_or_asset_id}", "positions.close", "close_one", TRADING),
    ("GET", "/v2/account/activities", "activities", "activities", TRADING),
    ("GET", "/v2/account/activities/{activity_type}", "activities", "activities", TRADING),
    ("GET", "/v2/stocks/bars", "bars", "bars", DATA),
    ("GET", "/v2/stocks/bars/latest", "bars.latest", "latest_bars", DATA),
    ("GET", "/v2/stocks/quotes/latest", "quotes", "quotes", DATA),
    ("GET", "/v2/stocks/snapshots", "snapshots", "snapshots", DATA),
    ("GET", "/v1beta1/news", "news", "list_news", DATA),
    ("GET", "/v1beta1/screener/stocks/most-actives", "actives", "actives", DATA),
    ("GET", "/v1beta1/screener/{market_type}/movers", "movers", "movers", DATA),
]
PATTERNS = [(r, re.compile(re.sub(r"\\{\w+\\}", "([^/]+)", re.escape(r[1])))) for r in ROUTES]
PAGES = ("bars", "news")


class Rest:
    "Answers of REST: a question to (status, value)"

    def __init__(self, books):
        self.books, self.faults, self._rows = books, books.faults, {}

    def account(self, asked):
        b, m = self.books, self.books.money()
        power, equity = text(m["power"]), text(m["equity"])
        number = "123456789" if self.faults.live_account else "PA3BENCH0001"
        return 200, {
            "id": uid("account"), "admin_configurations": {}, "user_configurations": None, "account_number": number,
            "status": "ACTIVE", "crypto_status": "INACTIVE", "currency": "USD", "buying_power": power, "regt_buying_power": power,
            "options_buying_power": "0", "non_marginable_buying_power": power, "cash": text(m["cash"]), "accrued_fees": "0",
            "portfolio_value": equity, "trading_blocked": self.faults.blocked, "transfers_blocked": False, "account_blocked": False,
            "created_at": "2025-01-02T15:00:00Z", "trade_suspended_by_user": False, "multiplier": "1", "shorting_enabled": True,
            "equity": equity, "last_equity": text(b.start_cash), "long_market_value": text(m["long"]),
            "short_market_value": text(m["short"]), "position_market_value": text(m["long"] - m["short"]),
            "initial_margin": text(m["long"] - m["short"]), "maintenance_margin": "0", "last_maintenance_margin": "0",
            "sma": "0", "options_approved_level": 0, "options_trading_level": 0, "intraday_adjustments": "0",
            "pending_reg_taf_fees": "0", "balance_asof": str((b.now - timedelta(1)).date()), "crypto_tier": 0,
        }  # fmt: skip

    def clock(self, asked):
        b = self.books
        days = sessions_between((b.now - timedelta(1)).date(), (b.now + timedelta(10)).date())
        local = lambda t: t.astimezone(NEW_YORK).isoformat()
        return 200, {
            "timestamp": local(b.now + timedelta(seconds=self.faults.clock_off)), "is_open": b.open,
            "next_open": local(next(s.opens for s in days if s.opens > b.now)),
            "next_close": local(next(s.closes for s in days if s.closes > b.now)),
        }  # fmt: skip

    def calendar(self, asked):
        today = self.books.now.date()
        first = instant(asked.query.get("start", f"{today.year}-01-01")).astimezone(NEW_YORK).date()
        last = instant(asked.query.get("end", f"{today.year}-12-31")).astimezone(NEW_YORK).date()
        hour = lambda t: f"{t.astimezone(NEW_YORK):%H:%M}"
        return 200, [
            {"date": str(s.day), "open": hour(s.opens), "close": hour(s.closes), "session_open": "0400", "session_close": "2000",
             "settlement_date": str(session_offset(s.day, 1).day)}
            for s in sessions_between(first, last)
        ]  # fmt: skip

    def list_assets(self, asked):
        wanted = asked.query.get("status", "active"), asked.query.get("asset_class", "us_equity")
        rows = [a for a in self.books.assets.values() if (a["status"], a["class"]) == wanted]
        return 200, [self.borrow(a) for a in rows]

    def borrow(self, asset):
        "An asset with what can be borrowed of it at the moment"
        if asset["symbol"] not in self.faults.hard_to_borrow:
            return asset
        return asset | {"easy_to_borrow": False, "borrow_status": "hard_to_borrow"}

    def one_asset(self, asked, name):
        found = [a for a in self.books.assets.values() if name in (a["symbol"], a["id"])]
        if not found:
            raise No(404, f"asset not found for {name}", 40410000)
        return 200, self.borrow(found[0])

    # -- orders

    def post_order(self, asked):
        return 200, self.books.submit(asked.json)

    def seen(self, o, nested=False):
        "Whether a look-up finds it yet"
        top = o.parent or o
        if top.hidden > 0:
            top.hidden -= o is top
            return False
        self.books.looked(*(o.group if nested else [o]))
        return True

    def list_orders(self, asked):
        q = asked.query
        nested = q.get("nested", "").lower() == "true"
        rows = [o for o in list(self.books.orders.values()) if self.seen(o)]
        status = q.get("status", "open")
        if nested:
            rows = [o for o in rows if not o.parent]
        if status != "all":
            rows = [o for o in rows if o.ended == (status == "closed")]
        if status == "open":
            rows = [o for o in rows if o.status != "held"]
        for key, keep in (
            ("after", lambda o, t: o.created > t),
            ("until", lambda o, t: o.created < t),
        ):
            if q.get(key):
                t = instant(q[key])
                rows = [o for o in rows if keep(o, t)]
        if q.get("symbols"):
            rows = [o for o in rows if o.symbol in q["symbols"].split(",")]
        if q.get("side"):
            rows = [o for o in rows if o.side == q["side"]]
        place = lambda o: (o.created, bool(o.parent), o.kind != OrderType.LIMIT)
        for key, keep in (
            ("before_order_id", lambda a, b: a < b),
            ("after_order_id", lambda a, b: a > b),
        ):
            if q.get(key):
                edge = place(self.find(q[key]))
                rows = [o for o in rows if keep(place(o), edge)]
        rows = sorted(rows, key=place, reverse=q.get("direction", "desc") == "desc")
        rows = rows[: max(1, min(500, int(q.get("limit", 50))))]
        strange = self.books.strange if status == "all" and not q.get("after_order_id") else []
        return 200, [o.raw(nested) for o in rows] + strange

    def find(self, name):
        o = self.books.orders.get(name)
        if o is None:
            raise No(404, f"order not found for {name}", 40410000)
        return o

    def one_order(self, asked, name):
        o, nested = self.find(name), asked.query.get("nested", "").lower() == "true"
        if not self.seen(o, nested):
            raise No(404, f"order not found for {name}", 40410000)
        return 200, o.raw(nested)

    def by_client(self, asked):
        name = asked.query.get("client_order_id", "")
        o = self.books.by_name.get(name)
        if o is None or not self.seen(o):
            raise No(404, f"order not found for {name}", 40410000)
        return 200, o.raw()

    def cancel_order(self, asked, name):
        self.books.cancel(self.find(name))
        return 204, None

    def cancel_all(self, asked):
        out = []
        for o in list(self.books.orders.values()):
            if not o.ended and not o.parent or o.status == "new" and o.parent:
                try:
                    self.books.cancel(o)
                    out.append({"id": o.id, "status": 200})
                except No as e:
                    out.append({"id": o.id, "status": e.status})
        return 207, out

    # -- positions

    def position(self, symbol, shares, average):
        b = self.books
        price = b.price(symbol) or average
        day = b.now - timedelta(hours=20)
        before = (
            b.market.bars([symbol], Timeframe.DAY1, day - timedelta(6), b.now, b.now)
            if Timeframe.DAY1 in b.market.timeframes
            else []
        )
        last = Decimal(str(round(float(before.close.iloc[-1]), 4))) if len(before) else price
        profit, paid = (price - average) * shares, average * shares
        share = text((profit / abs(paid)).quantize(Decimal("1e-10")))
        return {
            "asset_id": uid("asset", symbol), "symbol": symbol, "exchange": b.assets[symbol]["exchange"], "asset_class": "us_equity",
            "asset_marginable": True, "qty": text(shares), "avg_entry_price": text(average), "side": "long" if shares > 0 else "short",
            "market_value": text(price * shares), "cost_basis": text(paid), "unrealized_pl": text(profit), "unrealized_plpc": share,
            "unrealized_intraday_pl": text(profit), "unrealized_intraday_plpc": share, "current_price": text(price),
            "lastday_price": text(last), "change_today": text((price / last - 1).quantize(Decimal("1e-10"))),
            "qty_available": text(shares - b.claimed(symbol, Side.SELL if shares > 0 else Side.BUY) * (1 if shares > 0 else -1)),
        }  # fmt: skip

    def list_positions(self, asked):
        average = self.books.average
        return 200, [self.position(s, p[0], average(s)) for s, p in self.books.held().items()]

    def owned(self, name):
        for s, p in self.books.held().items():
            if name in (s, uid("asset", s)):
                return s, p
        raise No(404, "position does not exist", 40410000)

    def one_position(self, asked, name):
        s, p = self.owned(name)
        return 200, self.position(s, p[0], self.books.average(s))

    def close(self, symbol, shares, qty=None):
        side = "sell" if shares > 0 else "buy"
        order = {
            "symbol": symbol,
            "side": side,
            "qty": text(qty or abs(shares)),
            "type": "market",
            "time_in_force": "day",
        }
        return self.books.submit(order)

    def close_one(self, asked, name):
        s, (shares, _) = self.owned(name)
        qty = self.books.number(asked.query, "qty")
        if asked.query.get("percentage"):
            qty = abs(shares) * self.books.number(asked.query, "percentage") / 100
        return 200, self.close(s, shares, qty)

    def close_all(self, asked):
        if asked.query.get("cancel_orders", "").lower() == "true":
            self.cancel_all(asked)
            self.books.settle()
        out = []
        for s, (shares, _) in self.books.held().items():
            try:
                out.append({"symbol": s, "status": 200, "body": self.close(s, shares)})
            except No as e:
                out.append({"symbol": s, "status": e.status, "body": e.body})
        return 207, out

    def activities(self, asked, kind="FILL"):
        q, rows = asked.query, []
        kinds = q.get("activity_types", kind).split(",")
        rows += [(at, row) for at, row in self.books.charges if row["activity_type"] in kinds]
        for o, f in self.books.fills if "FILL" in kinds else ():
            at = f["at"].astimezone(NEW_YORK)
            rows.append((f["at"], {
                "id": f"{at:%Y%m%d%H%M%S}{at.microsecond // 1000:03d}::{f['execution_id']}", "account_id": uid("account"),
                "activity_type": "FILL", "transaction_time": stamp(f["at"]), "type": "fill" if f["leaves"] == 0 else "partial_fill",
                "price": text(f["price"]), "qty": text(f["qty"]), "side": str(o.side), "symbol": o.symbol,
                "leaves_qty": text(f["leaves"]), "order_id": o.id, "cum_qty": text(f["cum"]), "order_status": f["status"],
            }))  # fmt: skip
        for key, keep in (("after", lambda at, t: at > t), ("until", lambda at, t: at < t)):
            if q.get(key):
                rows = [r for r in rows if keep(r[0], instant(q[key]))]
        if q.get("date"):
            rows = [r for r in rows if str(r[0].astimezone(NEW_YORK).date()) == q["date"]]
        rows.sort(key=lambda r: r[0])  # Stable: the order in which they happened
        if q.get("direction", "desc") == "desc":
            rows.reverse()
        rows = [r for _, r in rows]
        if q.get("page_token"):
            ids = [r["id"] for r in rows]
            rows = rows[ids.index(q["page_token"]) + 1 :] if q["page_token"] in ids else []
        return 200, rows[: max(1, min(100, int(q.get("page_size", 100))))]

    # -- data

    def frame(self, symbols, timeframe, start, end):
        "Bars whose stamp lies in [start, end], the running one included; daily stamps at midnight, New York"
        import pandas as pd

        b, day = self.books, timeframe == Timeframe.DAY1
        if timeframe not in b.market.timeframes:
            raise No(400, "invalid timeframe")
        early = start - timedelta(1) if day else start
        bars = b.market.bars(symbols, timeframe, early, end + timedelta(microseconds=1), b.now)
        bars = pd.concat(
            [x for x in (bars, self.running(symbols, timeframe, end)) if len(x)] or [bars]
        )
        bars = bars.drop_duplicates(["symbol", "ts"])
        if day:
            local = bars.ts.dt.tz_convert("America/New_York").dt.normalize().dt.tz_convert("UTC")
            bars = bars.assign(ts=local)
        return bars[(bars.ts >= start) & (bars.ts <= end)].sort_values(["symbol", "ts"])

    def running(self, symbols, timeframe, end):
        "The bar that is not over yet, from its minutes"
        b, minutes = self.books, MINUTES[timeframe]
        if not b.open or minutes in (1, 10080) or Timeframe.MIN1 not in b.market.timeframes:
            return ()
        opens = sessions_between(b.now.date(), b.now.date())[0].opens
        start = opens + (b.now - opens) // timedelta(minutes=minutes) * timedelta(minutes=minutes)
        if start > end or start == b.now:
            return ()
        m = b.market.bars(symbols, Timeframe.MIN1, start, b.now, b.now)
        if not len(m):
            return ()
        parts = {
            "open": "first",
            "high": "max",
            "low": "min",
            "close": "last",
            "volume": "sum",
            "available_at": "max",
        }
        return m.sort_values("ts").groupby("symbol", as_index=False).agg({"ts": "first"} | parts)

    def raw_bars(self, frame):
        out = []
        rows = zip(
            *(frame[c] for c in ("symbol", "ts", "open", "high", "low", "close", "volume")),
            strict=True,
        )
        for symbol, ts, o, h, l, c, v in rows:
            values = [round(float(x), 4) for x in (o, h, l, c)]
            out.append((symbol, dict(zip("ohlc", values, strict=True)) | {
                "t": stamp(ts.to_pydatetime()), "v": int(v), "n": max(1, int(v) // 100), "vw": round(sum(values[1:]) / 3, 4),
            }))  # fmt: skip
        return out

    def symbols(self, asked):
        names = [s for s in asked.query.get("symbols", "").split(",") if s]
        self.readable(names)
        return names or self.books.no(400, "symbols is required")

    def readable(self, names):
        "One name that is none fails the whole question"
        for s in names:
            TICKER.fullmatch(s) or self.books.no(400, f"invalid symbol: {s}")

    def free(self, asked, end):
        if asked.query.get("feed", "sip") not in (
            "iex",
            "delayed_sip",
        ) and end > self.books.now - timedelta(minutes=15):
            raise No(403, "subscription does not permit querying recent SIP data")

    def bars(self, asked):
        q, now = asked.query, self.books.now
        symbols = self.symbols(asked)
        span = SPANS.get(q.get("timeframe", "")) or self.books.no(
            400, f"invalid timeframe: {q.get('timeframe')}"
        )
        midnight = datetime.combine(now.astimezone(NEW_YORK).date(), time(), NEW_YORK)
        start = instant(q["start"]) if q.get("start") else midnight
        end = instant(q["end"]) if q.get("end") else now
        self.free(asked, end)
        key = (tuple(symbols), span, start, end, q.get("sort"), now)
        if key not in self._rows:
            rows = self.raw_bars(self.frame(symbols, span[0], start, end))
            if q.get("sort") == "desc":
                rows = [
                    r
                    for s in sorted({r[0] for r in rows})
                    for r in reversed([x for x in rows if x[0] == s])
                ]
            if len(self._rows) > 8:
                self._rows.clear()
            self._rows[key] = rows
        page, token = self.page(self._rows[key], q, 1000, 10000)
        out = defaultdict(list)
        for symbol, row in page:
            out[symbol].append(row)
        return 200, {"bars": out, "next_page_token": token, "currency": "USD"}

    def page(self, rows, q, default, most):
        limit = max(1, min(most, int(q.get("limit", default))))
        try:
            first = int(base64.b64decode(q["page_token"])) if q.get("page_token") else 0
        except ValueError:
            raise No(400, "invalid page_token") from None
        more = first + limit < len(rows)
        return rows[first : first + limit], base64.b64encode(
            str(first + limit).encode()
        ).decode() if more else None

    def latest_bars(self, asked):
        now, symbols = self.books.now, self.symbols(asked)
        f = self.frame(symbols, self.books.timeframe, now - timedelta(4), now)
        return 200, {"bars": dict(self.raw_bars(f)), "currency": "USD"}

    def quote(self, symbols):
        b, told = self.books, {}
        frame = b.market.quotes(symbols, b.now)
        if frame is not None:
            told = {
                r.symbol: (float(r.bid), float(r.ask), r.ts.to_pydatetime())
                for r in frame.itertuples()
            }
        for s in [s for s in symbols if s not in told and s in b.assets and b.price(s)]:
            half = b.price(s) * Decimal(str(b.config.half_spread_bps)) / 10_000
            told[s] = (
                float(round(b.price(s) - half, 2)),
                float(round(b.price(s) + half, 2)),
                b.now,
            )
        same = {"as": 300, "bs": 200, "ax": "V", "bx": "V", "c": ["R"], "z": "C"}
        return {
            s: {"bp": v[0], "ap": v[1], "t": stamp(v[2])} | same for s, v in sorted(told.items())
        }

    def quotes(self, asked):
        return 200, {"quotes": self.quote(self.symbols(asked)), "currency": "USD"}

    def snapshots(self, asked):
        b, symbols = self.books, self.symbols(asked)
        minute = dict(self.raw_bars(self.frame(symbols, b.timeframe, b.now - timedelta(4), b.now)))
        days = defaultdict(list)
        for s, row in self.raw_bars(
            self.frame(symbols, Timeframe.DAY1, b.now - timedelta(8), b.now)
        ):
            days[s].append(row)
        out, quotes = {}, self.quote(symbols)
        for i, s in enumerate(sorted(set(minute) & set(days) & set(quotes))):
            trade = {
                "c": ["@"],
                "i": i + 1,
                "p": minute[s]["c"],
                "s": 100,
                "t": stamp(b.now),
                "x": "V",
                "z": "C",
            }
            out[s] = {
                "latestTrade": trade,
                "latestQuote": quotes[s],
                "minuteBar": minute[s],
                "dailyBar": days[s][-1],
            }
            out[s] |= {"prevDailyBar": days[s][-2]} if len(days[s]) > 1 else {}
        return 200, out

    def list_news(self, asked):
        q, b = asked.query, self.books
        start = instant(q["start"]) if q.get("start") else b.now - timedelta(7)
        end = instant(q["end"]) if q.get("end") else b.now
        wanted = set(q["symbols"].split(",")) if q.get("symbols") else None
        self.readable(sorted(wanted or ()))
        rows = [n for n in b.news(start - timedelta(3), b.now) if start <= n["updated_at"] <= end]
        rows = [n for n in rows if wanted is None or wanted & set(n["symbols"])]
        rows.sort(key=lambda n: (n["updated_at"], n["id"]), reverse=q.get("sort", "desc") == "desc")
        if q.get("include_content", "").lower() == "true":
            rows = [n | {"content": f"<p>{n['summary']}</p>"} for n in rows]
        page, token = self.page(rows, q, 10, 50)
        page = [n | {k: stamp(n[k]) for k in ("created_at", "updated_at")} for n in page]
        for n in page:
            del n["received_at"]
        return 200, {"news": page, "next_page_token": token}

    def today(self):
        b, days = self.books, defaultdict(list)
        for s, row in self.raw_bars(self.frame(None, Timeframe.DAY1, b.now - timedelta(5), b.now)):
            days[s].append(row)
        return days

    def actives(self, asked):
        rows = [
            {"symbol": s, "volume": d[-1]["v"], "trade_count": d[-1]["n"]}
            for s, d in self.today().items()
        ]
        by = "trade_count" if asked.query.get("by") == "trades" else "volume"
        rows.sort(key=lambda r: (-r[by], r["symbol"]))
        return 200, {
            "most_actives": rows[: int(asked.query.get("top", 10))],
            "last_updated": stamp(self.books.now),
        }

    def movers(self, asked, kind):
        rows = []
        for s, d in self.today().items():
            if len(d) > 1:
                change = d[-1]["c"] - d[-2]["c"]
                percent = round(100 * change / d[-2]["c"], 2)
                rows.append(
                    {
                        "symbol": s,
                        "price": d[-1]["c"],
                        "change": round(change, 4),
                        "percent_change": percent,
                    }
                )
        rows.sort(key=lambda r: (-r["percent_change"], r["symbol"]))
        top = int(asked.query.get("top", 10))
        up, down = (
            [r for r in rows if r["change"] > 0][:top],
            [r for r in rows[::-1] if r["change"] < 0][:top],
        )
        return 200, {
            "gainers": up,
            "losers": down,
            "market_type": kind,
            "last_updated": stamp(self.books.now),
        }


# ---------------------------------------------------------------- HTTP


def spoil_value(kind, value):
    "An unknown word or a missing field, in the first record of an answer"
    for place in records(value):
        if kind == "unknown_enum" and "status" in place:
            place["status"] = "quantum_superposed"
            return
        if kind == "unknown_enum" and "side" in place:
            place["side"] = "sideways"
            return
        gone = next(
            (
                k
                for k in ("qty", "equity", "timestamp", "c", "ap", "headline", "open")
                if k in place
            ),
            None,
        )
        if kind == "missing_field" and gone:
            del place[gone]
            return


def records(value):
    "Every dict inside"
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from records(inner)


class Web:
    "The HTTP side: keys, pace, faults, and the bench's own questions"

    def __init__(self, bench, port):
        self.bench, self.books, self.faults = bench, bench.books, bench.faults
        self.rest, self.released, self.pace, self.open = (
            Rest(bench.books),
            threading.Event(),
            {},
            set(),
        )
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version, disable_nagle_algorithm, wbufsize = "HTTP/1.1", True, -1

            def setup(self):
                super().setup()
                web.open.add(self.connection)

            def finish(self):
                web.open.discard(self.connection)
                with suppress(OSError, ValueError):
                    super().finish()

            def handle(self):
                with suppress(ConnectionError, OSError, ValueError):  # The client left, or we did
                    super().handle()

            def log_message(self, *args):
                pass

            def do_GET(self):
                web.serve(self)

            do_POST = do_DELETE = do_PATCH = do_PUT = do_GET

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

            def handle_error(self, request, address):
                bench.errors.append(repr(sys.exc_info()[1]))

        self.server = Server(("127.0.0.1", port), Handler)
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def stop(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        for s in list(self.open):
            with suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    # -- one question

    def serve(self, handler):
        url = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        query = {k: v[-1] for k, v in parse_qs(url.query, keep_blank_values=True).items()}
        headers = {k.lower(): v for k, v in handler.headers.items()}
        asked = Asked(handler.command, url.path, query, headers, body)
        if asked.path.startswith("/bench/"):
            return self.control(handler, asked)
        found = [
            (r, m.groups())
            for r, p in PATTERNS
            if r[0] == asked.method and (m := p.fullmatch(asked.path))
        ]
        (route, given) = found[0] if found else (None, ())
        asked.route = route[2] if route else "none"
        self.bench.asked.append(asked)
        head = self.headers(asked)
        refused = self.gate(asked, route, head)
        if refused:
            asked.status = refused[0]
            return self.send(handler, *refused, head)
        kinds = HTTP if asked.route in PAGES else [k for k in HTTP if k not in PAGED]
        kind = asked.fault = self.faults.roll(kinds, asked.route, self.whom(asked))
        if kind in BEFORE:
            return self.before(handler, kind, head)
        status, value = self.answer(asked, route, given)
        asked.status = status
        try:
            if kind:
                self.after(handler, kind, status, value, head)
            else:
                self.send(handler, status, value, head)
        finally:
            with self.books.lock:
                self.books.settle()

    def whom(self, asked):
        "What chance depends on, so that threads do not change it"
        if asked.route == "orders.post":
            with suppress(No, AttributeError):
                return str(asked.json.get("client_order_id"))
        return asked.query.get("client_order_id") or asked.path

    def headers(self, asked):
        "Rate limit, counted by the minute of the wall"
        now = WallClock().now()
        minute, data = (
            now.replace(second=0, microsecond=0),
            "/stocks/" in asked.path or "/v1beta1/" in asked.path,
        )
        used = self.pace[data] = (
            (minute, self.pace[data][1] + 1)
            if self.pace.get(data, (0, 0))[0] == minute
            else (minute, 1)
        )
        limit = self.bench.rate_limit or 200
        left = limit - used[1] if self.bench.rate_limit else limit - 1
        # What a fault does must not hang on the second of the wall
        begun = minute if self.bench.rate_limit else now
        reset = int((begun + timedelta(minutes=1)).timestamp())
        return {
            "X-RateLimit-Limit": limit,
            "X-RateLimit-Remaining": max(0, left),
            "X-RateLimit-Reset": reset,
            "over": left < 0,
        }

    def gate(self, asked, route, head):
        over = head.pop("over")
        told = asked.headers.get("apca-api-key-id"), asked.headers.get("apca-api-secret-key")
        if told == (None, None):
            return 401, NGINX.format("401 Authorization Required")
        if told != self.bench.keys:
            return 401, {"message": "unauthorized."}
        if route is None:
            return 404, {"code": 40410000, "message": "endpoint not found."}
        if over:
            return self.too_many(asked)
        return None

    def too_many(self, asked):
        trading = not ("/stocks/" in asked.path or "/v1beta1/" in asked.path)
        return 429, {"code": 42910000, "message": "rate limit exceeded"} if trading else {
            "message": "too many requests."
        }

    def answer(self, asked, route, given):
        with self.books.lock:
            self.books.settle()
            try:
                status, value = getattr(self.rest, route[3])(asked, *given)
            except No as e:
                return e.status, e.body
            except ValueError as e:
                return 422, {"code": 40010001, "message": f"invalid parameter: {e}"}
            except Exception as e:  # noqa: BLE001  # Told when the bench ends
                self.bench.errors.append(f"{asked.method} {asked.path} {asked.query}: {e!r}")
                return 500, {"message": "the bench is at fault"}
        if self.bench.specs:
            self.bench.judge(asked, route, status, value)
        return status, value

    def send(self, handler, status, value, head=(), length=None, raw=None, seconds=0.0):
        html = isinstance(value, str)
        body = (
            raw
            if raw is not None
            else value.encode()
            if html
            else b""
            if value is None
            else json.dumps(value).encode()
        )
        handler.send_response(status)
        handler.send_header(
            "Content-Type", "text/html" if html else "application/json; charset=UTF-8"
        )
        for k, v in dict(head).items():
            handler.send_header(k, str(v))
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        for part in (
            [body]
            if not seconds
            else [body[i : i + 1 + len(body) // 5] for i in range(0, len(body), 1 + len(body) // 5)]
        ):
            handler.wfile.write(part)
            if seconds:
                handler.wfile.flush()
                self.released.wait(seconds / 5)
        handler.wfile.flush()

    # -- faults

    def before(self, handler, kind, head):
        if kind == "hang":
            self.released.wait(self.faults.hang_seconds)
            return self.vanish(handler)
        if kind == "reset_before":
            return self.reset(handler)
        self.error(handler, kind, head)

    def error(self, handler, kind, head):
        status = int(kind[:3])
        if status == 429:
            value = {"code": 42910000, "message": "rate limit exceeded"}
            head = {} if kind == "429_bare" else head | {"X-RateLimit-Remaining": 0}
        elif status == 502:
            value = NGINX.format("502 Bad Gateway")
        else:
            value = {"code": status * 100000, "message": HTTPStatus(status).phrase.lower()}
        self.send(handler, status, value, head)

    def after(self, handler, kind, status, value, head):
        if kind in ("500_after", "504_after"):
            return self.error(handler, kind, head)
        if kind == "reset_after":
            return self.reset(handler)
        if kind == "hang_after":
            self.released.wait(self.faults.hang_seconds)
        if kind in ("lost_reply", "hang_after"):
            return self.vanish(handler)
        if kind == "slow":
            return self.send(handler, status, value, head, seconds=self.faults.slow_seconds)
        body = json.dumps(value).encode()
        if kind == "cut_json":
            return self.send(handler, status, value, head, raw=body[: len(body) // 2])
        if kind == "truncated":
            self.send(handler, status, value, head, raw=body[: len(body) // 2], length=len(body))
            return self.vanish(handler)
        if kind in ("foreign", "html", "empty"):
            said = {
                "foreign": {"weather": [{"city": "Springfield"}]},
                "html": NGINX.format("Sign in"),
                "empty": None,
            }[kind]
            return self.send(handler, 200, said, head)
        if kind == "endless" and isinstance(value, dict):
            value = value | {"next_page_token": base64.b64encode(b"0").decode()}
        if kind == "null_bars":
            value = {next(iter(value)): None, "next_page_token": None}
        value = json.loads(json.dumps(value))
        spoil_value(kind, value)
        self.send(handler, status, value, head)

    def vanish(self, handler):
        "Close without a word"
        handler.close_connection = True
        with suppress(OSError):
            handler.connection.shutdown(socket.SHUT_RDWR)

    def reset(self, handler):
        "RST"
        handler.close_connection = True
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.wfile, handler.rfile = io.BytesIO(), io.BytesIO()
        socket.close(handler.connection.detach())

    # -- the bench's own

    def control(self, handler, asked):
        try:
            told = asked.json or {}
            if asked.path == "/bench/advance" and asked.method == "POST":
                self.bench.advance(instant(told["to"]))
            elif asked.path == "/bench/faults" and asked.method == "POST":
                self.bench.set_faults(told)
            elif asked.path == "/bench/drop" and asked.method == "POST":
                self.bench.drop(told.get("stream"))
            elif asked.path != "/bench/state":
                raise No(404, "the bench has advance, faults, drop, state")
            value = (
                self.bench.state()
                if asked.path == "/bench/state"
                else {"now": stamp(self.books.now)}
            )
            self.send(handler, 200, value)
        except No as e:
            self.send(handler, e.status, e.body)
        except (KeyError, TypeError, ValueError) as e:
            self.send(handler, 422, {"message": f"the bench does not understand: {e!r}"})


# ---------------------------------------------------------------- streams


@dataclass(eq=False)
class Line:
    "One open connection of a stream"

    socket: object
    place: str  # trade, data, news
    packed: bool
    ready: bool = False  # Logged in
    subscribed: dict[str, set] = field(default_factory=lambda: defaultdict(set))
    out: queue.Queue = field(default_factory=queue.Queue)
    late: object = None

    def wants(self, m):
        if not self.ready:
            return False
        if self.place == "trade":
            return "trade_updates" in self.subscribed["listen"]
        if m["T"] == "n":
            names = self.subscribed["news"]
            return "*" in names or bool(names & set(m["symbols"]))
        names = self.subscribed[
            {"b": "bars", "q": "quotes", "t": "trades", "s": "statuses"}[m["T"]]
        ]
        return "*" in names or m["S"] in names

    def frame(self, messages):
        if self.place == "trade":
            return json.dumps(messages).encode()
        if not self.packed:
            return json.dumps(messages, default=stamp)
        import msgpack

        return msgpack.packb(messages, datetime=True)

    def say(self, messages):
        with suppress(Exception):  # Gone
            self.socket.send(self.frame(messages))

    def write(self):
        "Runs in a thread: sends what is in the queue; what came late follows the next, or half a second"
        while True:
            try:
                m = self.out.get(timeout=0.5 if self.late else None)
            except queue.Empty:
                m = None
            else:
                if m is None:  # Something came late
                    continue
            if m == "end":
                return
            late, self.late = self.late, None
            for said in (m, late):
                if said is not None:
                    self.say(said)


ENDPOINTS = {"/stream": "trade", "/v2/iex": "data", "/v2/sip": "data", "/v1beta1/news": "news"}


class Streams:
    "Three endpoints on one port: /stream, /v2/iex, /v1beta1/news"

    def __init__(self, bench, port):
        from websockets.sync.server import serve

        self.bench, self.faults, self.lines, self.lock = bench, bench.faults, [], threading.Lock()
        self.server = serve(
            self.talk,
            "127.0.0.1",
            port,
            process_request=self.gate,
            ping_interval=None,
            compression=None,
            close_timeout=0.2,
        )
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def stop(self):
        self.server.shutdown()
        self.drop()

    def place(self, request):
        return ENDPOINTS.get(urlsplit(request.path).path)

    def gate(self, connection, request):
        place = self.place(request)
        if place is None:
            return connection.respond(404, "not found\n")
        kind = connection.fault = self.faults.roll(PLACES["connect"], f"connect.{place}")
        if place == "trade" and (kind in ("429_stream", "406") or self.others(place)):
            return connection.respond(429, "too many requests\n")
        return None

    def others(self, place, line=None):
        return [x for x in self.lines if x.place == place and x is not line and x.ready]

    def talk(self, ws):
        from websockets.exceptions import ConnectionClosed

        place = self.place(ws.request)
        line = Line(ws, place, ws.request.headers.get("Content-Type") == "application/msgpack")
        threading.Thread(target=line.write, daemon=True).start()
        with self.lock:
            self.lines.append(line)
        try:
            if place != "trade":
                line.out.put([{"T": "success", "msg": "connected"}])
            for frame in ws:
                self.heard(line, self.read(line, frame), ws.fault)
        except Exception as e:  # noqa: BLE001  # The client left, or speaks another language
            if not isinstance(e, ConnectionClosed):
                self.bench.babble.append(f"{place}: {e!r}")
        finally:
            with self.lock:
                self.lines.remove(line)
            line.out.put("end")

    def read(self, line, frame):
        if line.packed and isinstance(frame, bytes):
            import msgpack

            return msgpack.unpackb(frame)
        return json.loads(frame)

    def heard(self, line, m, fault):
        if line.place == "trade":
            return self.trade_action(line, m, fault)
        action = m.get("action")
        if action == "auth":
            return self.log_in(line, m, fault)
        if not line.ready:
            return line.out.put([self.wrong(401, "not authenticated")])
        if action not in ("subscribe", "unsubscribe"):
            return line.out.put([self.wrong(400, "invalid syntax")])
        if self.faults.refuse_statuses and m.get("statuses"):
            return line.out.put([self.wrong(410, "invalid subscribe action for this feed")])
        for channel, names in m.items():
            if channel != "action":
                change = (
                    line.subscribed[channel].update
                    if action == "subscribe"
                    else line.subscribed[channel].difference_update
                )
                change(names)
        if len(line.subscribed["trades"]) + len(line.subscribed["quotes"]) > 30:
            line.subscribed["trades"].clear()
            line.subscribed["quotes"].clear()
            return line.out.put([self.wrong(405, "symbol limit exceeded")])
        channels = (
            ("news",)
            if line.place == "news"
            else ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
        )
        whole = {c: sorted(line.subscribed[c]) for c in channels}
        line.out.put([{"T": "subscription"} | whole])

    def wrong(self, code, message):
        return {"T": "error", "code": code, "msg": message}

    def log_in(self, line, m, fault):
        with self.lock:
            if (m.get("key"), m.get("secret")) != self.bench.keys or fault == "auth_refused":
                said = self.wrong(402, "auth failed")
            elif fault == "406" or self.others(line.place, line):
                said = self.wrong(406, "connection limit exceeded")
            elif line.socket.request.path.startswith("/v2/sip"):
                said = self.wrong(409, "insufficient subscription")
            else:
                line.ready, said = True, {"T": "success", "msg": "authenticated"}
        line.out.put([said])

    def trade_action(self, line, m, fault):
        action, data = m.get("action"), m.get("data") or {}
        if action in ("authenticate", "auth"):
            told = data.get("key_id", m.get("key")), data.get("secret_key", m.get("secret"))
            line.ready = told == self.bench.keys and fault != "auth_refused"
            status = "authorized" if line.ready else "unauthorized"
            line.out.put(
                {"stream": "authorization", "data": {"status": status, "action": "authenticate"}}
            )
        elif action == "listen" and line.ready:
            line.subscribed["listen"] = set(data.get("streams", ()))
            line.out.put(
                {"stream": "listening", "data": {"streams": sorted(line.subscribed["listen"])}}
            )

    # -- out

    def listening(self):
        names = {
            s
            for x in self.lines
            if x.place == "data"
            for c in ("bars", "quotes")
            for s in x.subscribed[c]
        }
        return {None} if "*" in names else names

    def publish(self, place, message):
        kind = self.faults.roll(PLACES["stream"], f"stream.{place}")
        if kind == "drop_socket":
            return self.drop(place)
        if kind == "drop" or place in self.faults.mute:
            return
        for line in [x for x in list(self.lines) if x.place == place and x.wants(message)]:
            said = message if place == "trade" else [message]
            if kind == "reorder" and line.late is None:
                line.late = said
                line.out.put(None)
                continue
            for _ in range(2 if kind == "duplicate" else 1):
                line.out.put(said)

    def drop(self, place=None):
        "Cut connections without a close frame"
        for line in [x for x in list(self.lines) if place in (None, x.place)]:
            with suppress(OSError):
                line.socket.socket.shutdown(socket.SHUT_RDWR)


# ---------------------------------------------------------------- the bench


@cache
def documents():
    "Alpaca's documents; reading them takes half a second"
    from loopback import Spec

    return {name: Spec(name) for name in (TRADING, DATA)}


class Bench:
    "The whole of it; a context manager"

    keys = (KEY, SECRET)

    def __init__(
        self,
        market,  # A ports.Feed, or a function that makes one when it is needed
        at,  # Aware: where its time begins
        faults=None,
        cash=100_000,  # Dollars
        config=None,  # Costs; default: the registry's
        timeframe=None,  # Bars that fill; default one minute, where the market has it
        rate_limit=None,  # Questions a minute, of the wall; None: told, never enforced
        validate=False,  # Hold answers to ../shared/specs; what is wrong is in `invalid`
        port=0,
        stream_port=0,
    ):
        self.faults, self.rate_limit = faults or Faults(), rate_limit
        self.asked, self.errors, self.invalid, self.odd, self.babble = [], [], [], [], []
        self.books = Books(market, at, self.faults, config or Config(), cash, timeframe)
        self.specs = documents() if validate else {}
        self.web, self.streams = Web(self, port), Streams(self, stream_port)
        self.books.publish, self.books.listening = self.streams.publish, self.streams.listening
        self.books.reading = lambda: any(x.place == "news" for x in self.streams.lines)
        self.trading_url = self.data_url = f"http://127.0.0.1:{self.web.port}"
        self.stream_url = f"ws://127.0.0.1:{self.streams.port}"

    def __enter__(self):
        self.web.thread.start()
        self.streams.thread.start()
        return self

    def __exit__(self, *failed):
        self.streams.stop()
        self.web.stop()
        if not failed[0]:
            assert not self.errors, self.errors

    @property
    def now(self):
        return self.books.now

    def advance(self, to):
        "Let the market pass until `to`; twice is once"
        with self.books.lock:
            self.books.advance(aware(to, "to"))

    def state(self):
        "The books as they are, whatever a client was told"
        b = self.books
        with b.lock:
            b.settle()
            orders = [
                o.raw() | {"parent_id": o.parent and o.parent.id, "reject_reason": o.reason}
                for o in b.orders.values()
            ]
            fills = [
                {"execution_id": f["execution_id"], "order_id": o.id, "client_order_id": o.client_order_id, "symbol": o.symbol,
                 "side": str(o.side), "qty": text(f["qty"]), "price": text(f["price"]), "at": stamp(f["at"])}
                for o, f in b.fills
            ]  # fmt: skip
            positions = [
                {"symbol": s, "qty": text(q), "avg_entry_price": text(a)}
                for s, (q, a) in b.held().items()
            ]
            return {
                "now": stamp(b.now), "start_cash": text(b.start_cash), "cash": text(b.cash), "equity": text(b.money()["equity"]),
                "charges": text(sum((Decimal(row["net_amount"]) for _, row in b.charges), Decimal(0))),
                "orders": orders, "fills": fills, "positions": positions, "faults": dict(self.faults.seen),
                "requests": dict(Counter(a.route for a in self.asked)),
                "streams": dict(Counter(x.place for x in self.streams.lines if x.ready)),
            }  # fmt: skip

    def set_faults(self, told):
        "Switches from JSON; a halt is told on the stream"
        before = set(self.faults.halted)
        with self.books.lock:
            self.faults.set(dict(told))
        for s in sorted(before ^ self.faults.halted):
            self._status(s, s in self.faults.halted)

    def halt(self, symbol):
        self.set_faults({"halted": self.faults.halted | {symbol}})

    def resume(self, symbol):
        self.set_faults({"halted": self.faults.halted - {symbol}})

    def _status(self, symbol, halted):
        code, word, reason = (
            ("H", "Trading Halt", "T12") if halted else ("T", "Trading Resumption", "")
        )
        m = {
            "T": "s",
            "S": symbol,
            "sc": code,
            "sm": word,
            "rc": reason,
            "rm": "",
            "t": self.now,
            "z": "C",
        }
        self.streams.publish("data", m)

    def drop(self, place=None):
        "Cut the sockets of trade, data, news, or all"
        self.streams.drop(place)

    def settings(self, home):
        "Settings of a client that trades here"
        return Settings(
            home=Path(home), world=World.ALPACA, alpaca_key=Secret(KEY), alpaca_secret=Secret(SECRET),
            alpaca_trading_url=self.trading_url, alpaca_data_url=self.data_url, alpaca_stream_url=self.stream_url,
        )  # fmt: skip

    def environment(self):
        "The same as environment variables, for a process"
        return {
            "CATALYST_WORLD": "alpaca", "APCA_API_KEY_ID": KEY, "APCA_API_SECRET_KEY": SECRET,
            "CATALYST_ALPACA_TRADING_URL": self.trading_url, "CATALYST_ALPACA_DATA_URL": self.data_url,
            "CATALYST_ALPACA_STREAM_URL": self.stream_url,
        }  # fmt: skip

    def judge(self, asked, route, status, value):
        "Hold an answer, and the question, to the document"
        spec, path = self.specs[route[4]], route[1]
        if path.endswith("{activity_type}"):
            path = "/v2/account/activities"  # Its `oneOf` fits no fill: both schemas allow one
        if route[3] == "close_all":
            value = [v for v in value if v["status"] == 200]  # The document knows no other body
        if route[3] == "list_news":
            value = value | {
                "news": [n | {"content": n["content"] or "-"} for n in value["news"]]
            }  # Empty, whatever it says
        self.invalid += [
            f"{asked.method} {asked.path}: {w}"
            for w in spec.answer(asked.method, path, status, value)
        ]
        if route[3] != "calendar":  # The document wants instants, the library sends dates
            self.odd += [f"{asked.method} {asked.path}: {w}" for w in spec.question(asked, path)]


def main(arguments=None):
    "A process of its own"
    p = argparse.ArgumentParser(description="A loopback Alpaca")
    p.add_argument("--session", default="2025-08-13", help="trading day")
    p.add_argument("--at", default="", help="instant at which its time begins; default: the open")
    p.add_argument("--seed", type=int, default=7, help="which simulated market")
    p.add_argument("--securities", type=int, default=110)
    p.add_argument("--bars", type=Path, help="a file of real bars instead of the simulated market")
    p.add_argument("--news", type=Path, help="and of news")
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--stream-port", type=int, default=0)
    p.add_argument("--cash", type=float, default=100_000)
    p.add_argument("--faults", default="{}", help="as JSON, for /bench/faults; a seed is allowed")
    a = p.parse_args(arguments)
    from catalyst.clock import get_session

    def market():
        if a.bars:
            from catalyst.replay import ReplayFeed

            return ReplayFeed(bars=a.bars, news=a.news)
        from catalyst.simulate import SimulatedFeed

        return SimulatedFeed(seed=a.seed, session=a.session, securities=a.securities)

    told = json.loads(a.faults)
    faults = Faults(seed=told.pop("seed", 0))
    faults.set(told)
    at = instant(a.at) if a.at else get_session(a.session).opens
    with Bench(market, at, faults, a.cash, port=a.port, stream_port=a.stream_port) as bench:
        urls = {
            "trading_url": bench.trading_url,
            "data_url": bench.data_url,
            "stream_url": bench.stream_url,
        }
        print(
            json.dumps(
                urls
                | {
                    "key": KEY,
                    "secret": SECRET,
                    "at": stamp(at),
                    "environment": bench.environment(),
                }
            ),
            flush=True,
        )
        with bench.books.lock:
            bench.books.market  # noqa: B018  # Made while the first client connects
        with suppress(
            KeyboardInterrupt
        ):  # A parent that ends takes it along; without one it waits for a signal
            sys.stdin.read() if stat.S_ISFIFO(os.fstat(0).st_mode) else threading.Event().wait()


if __name__ == "__main__":
    main()
