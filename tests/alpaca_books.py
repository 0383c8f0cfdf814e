"""What the loopback Alpaca of `alpaca_bench` knows: an account, the time at which it stands, what can go wrong, and a small market.

What it does as Alpaca does (../shared/alpaca.md; the numbers are its sections): the reply to a POST is `pending_new`, or `accepted`
while the market is closed, and never a fill (5); a DELETE only asks (5); exits of a bracket are `held`, wake when the entry is
*completely* filled, the target `new`, the stop `held` (6); one canceled order cancels its group, and what was filled of the entry is
bare (6); a triggered stop makes the target `replaced`, a filled target cancels the stop without an event (6); held legs are not in
`status=open` (6); names are unique for ever (4); look-up by client id brings no legs (6); size is ignored, wash trades are
refused, shares are held once for a pair (5, 7); a buy stop is a stop-limit 4% (below $50) or 2.5% above its stop, so that a gap over it
leaves it alive (6); fees are taken from the cash after the close, as activities of their own; the average price of what was held over a
night is that of the shares that are left, first in, first out. Ids follow from names and fills from bars: the same questions give the same books.
"""

import fnmatch
import hashlib
import re
import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property

from catalyst.clock import (
    NEW_YORK,
    aware,
    market_phase,
    sessions_between,
)
from catalyst.core import (
    MarketPhase,
    OrderClass,
    OrderStatus,
    OrderType,
    Side,
    Timeframe,
    TimeInForce,
    UnavailableError,
)
from catalyst.matching import DIRECTION, bars_of, cost, day_end, match, net_positions, trailed
from catalyst.ports import NEWS_COLUMNS, BrokerOrder, tick_size

SPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
SPANS = {
    "1Min": (Timeframe.MIN1, 1), "5Min": (Timeframe.MIN5, 5), "15Min": (Timeframe.MIN15, 15),
    "30Min": (Timeframe.MIN30, 30), "1Hour": (Timeframe.HOUR1, 60), "4Hour": (Timeframe.HOUR4, 240),
    "1Day": (Timeframe.DAY1, 1440), "1Week": (Timeframe.WEEK1, 10080),
}  # fmt: skip
SPANS |= {"60Min": SPANS["1Hour"], "1T": SPANS["1Min"], "15T": SPANS["15Min"], "1D": SPANS["1Day"]}
MINUTES = {t: m for t, m in SPANS.values()}
ENDED = {"filled", "canceled", "expired", "rejected", "replaced"}
TICKER = re.compile(r"[A-Z]+(\.[A-Z]+)?")  # What the service calls a symbol
SEC_FEE, TAF = Decimal("0.0000278"), Decimal("0.000166")  # Of what a sale brings; per share sold
NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"


@cache
def uid(*parts):
    "A name that follows from what it names"
    return str(uuid.uuid5(SPACE, "/".join(map(str, parts))))


def stamp(t):
    "RFC 3339, UTC"
    return t and t.astimezone(UTC).isoformat().replace("+00:00", "Z")


def text(number):
    "A number as Alpaca writes it: a string without an exponent"
    if number is None:
        return None
    out = f"{Decimal(number):f}"
    return out.rstrip("0").rstrip(".") if "." in out else out


def instant(said):
    "What a client said, as an instant; a plain date is its start in New York"
    t = datetime.fromisoformat(said.strip().replace(" ", "+"))
    return (t if t.tzinfo else t.replace(tzinfo=NEW_YORK if len(said) == 10 else UTC)).astimezone(
        UTC
    )


class No(Exception):
    "An answer that is not 200"

    def __init__(self, status, message, code=None, **more):
        self.status, self.body = (
            status,
            ({"code": code} if code else {}) | {"message": message} | more,
        )


# ---------------------------------------------------------------- faults

BEFORE = ("429", "429_bare", "500", "502", "503", "504", "reset_before", "hang")  # Nothing was done
AFTER = (
    "500_after", "504_after", "reset_after", "lost_reply", "hang_after", "slow", "truncated", "cut_json",
    "foreign", "html", "empty", "unknown_enum", "missing_field", "endless", "null_bars",
)  # fmt: skip  # It was done; the reply is spoilt
HTTP = BEFORE + AFTER
PAGED = ("endless", "null_bars")  # Only where there are pages
PLACES = {
    "accept": ("reject_late", "legs_missing", "exits_day"),
    "cancel": ("stuck_cancel", "cancel_fills"),
    "fill": ("partial",),
    "connect": ("406", "429_stream", "auth_refused"),
    "stream": ("duplicate", "reorder", "drop", "drop_socket"),
}
KINDS = HTTP + tuple(k for kinds in PLACES.values() for k in kinds)


@dataclass
class Faults:
    """Switches. A kind happens by chance (`rates`, "kind" or "kind@place": probability) or by plan (`next`).

    Places: the routes (`orders.post`, `orders.list`, `orders.one`, `orders.by_client`, `orders.cancel`, `positions.list`,
    `account`, `clock`, `activities`, `bars`, `quotes`, `news` …), then `accept`, `cancel`, `fill`, `connect.trade|data|news`,
    `stream.trade|data|news`. A pattern may have stars. Chance follows from the seed, the place, whom it concerns and how often
    that was asked, and not from the order in which threads come.
    """

    seed: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    halted: set[str] = field(default_factory=set)  # Symbols that do not trade
    clock_off: float = 0.0  # Seconds that /v2/clock is ahead
    live_account: bool = False  # The account's number is not one of a paper account
    blocked: bool = False  # The account may not trade
    hard_to_borrow: set[str] = field(default_factory=set)  # Symbols that cannot be sold short
    refuse_statuses: bool = False  # A message that asks for trading statuses is refused as a whole
    mute: set[str] = field(default_factory=set)  # Of "trade", "data", "news": connected and silent
    cancel_lag: int = 0  # Look-ups that still say pending_cancel
    invisible: int = 0  # Look-ups that answer 404 for a new order
    hang_seconds: float = 30.0
    slow_seconds: float = 0.5  # That a slow body takes
    seen: Counter = field(default_factory=Counter)  # Faults that happened, by kind
    healed: int = 0  # How often `heal` was called; a stuck cancel gets through after the next
    plans: list[dict] = field(default_factory=list)

    def __post_init__(self):
        self._turns, self._lock = Counter(), threading.Lock()
        for rate in self.rates:
            self._known(rate.partition("@")[0])

    @staticmethod
    def _known(kind):
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(KINDS)}")

    def next(self, kind, place="*", nth=1, times=1):
        "Let `kind` happen at the n-th visit of a place from here, `times` times"
        self._known(kind)
        self.plans.append({"kind": kind, "place": place, "wait": nth - 1, "times": times})
        return self

    def heal(self):
        "No chance, no plans, all switches off; what happened stays counted"
        kept = {k: getattr(self, k) for k in ("seed", "hang_seconds", "slow_seconds", "seen")}
        kept["healed"] = self.healed + 1
        for name, value in vars(Faults(**kept)).items():
            if name not in ("_turns", "_lock"):
                setattr(self, name, value)

    def roll(self, kinds, place, whom=""):
        "The kind of fault that happens here, or None"
        with self._lock:
            self._turns[place, whom] += 1
            kind = self._planned(kinds, place) or self._chance(kinds, place, whom)
            if kind:
                self.seen[kind] += 1
            return kind

    def _planned(self, kinds, place):
        hit = None
        for p in self.plans:
            if p["times"] > 0 and p["kind"] in kinds and fnmatch.fnmatch(place, p["place"]):
                if p["wait"] > 0:
                    p["wait"] -= 1
                elif hit is None:
                    p["times"] -= 1
                    hit = p["kind"]
        return hit

    def _chance(self, kinds, place, whom):
        if not self.rates:
            return None
        told = f"{self.seed}/{place}/{whom}/{self._turns[place, whom]}"
        u = int.from_bytes(hashlib.sha256(told.encode()).digest()[:8]) / 2**64
        for key, p in sorted(self.rates.items()):
            kind, _, where = key.partition("@")
            if kind in kinds and fnmatch.fnmatch(place, where or "*"):
                if u < p:
                    return kind
                u -= p
        return None

    def set(self, told):
        "From JSON: {rates, next: [{kind, place, nth, times}], heal, and any switch}"
        if told.pop("heal", False):
            self.heal()
        for plan in told.pop("next", ()):
            self.next(**plan)
        for name, value in told.items():
            if name not in self.__dataclass_fields__ or name in ("seen", "plans", "seed", "healed"):
                raise No(422, f"no switch {name!r}")
            if name == "rates":
                for rate in value:
                    self._known(rate.partition("@")[0])
            setattr(
                self, name, set(value) if name in ("halted", "mute", "hard_to_borrow") else value
            )


# ---------------------------------------------------------------- books


@dataclass
class Order:
    "An order in Alpaca's words"

    id: str
    client_order_id: str
    symbol: str
    side: Side
    kind: OrderType
    order_class: str  # "" of a simple one
    tif: str
    qty: Decimal
    created: datetime
    live_from: datetime  # Bars that start before do not count
    limit: Decimal | None = None
    stop: Decimal | None = None
    trail: Decimal | None = None
    trail_percent: Decimal | None = None
    status: str = "pending_new"
    filled: Decimal = Decimal(0)
    average: Decimal | None = None
    triggered: bool = False
    updated: datetime | None = None
    parent: "Order | None" = None
    legs: list["Order"] = field(default_factory=list)
    times: dict[str, datetime] = field(
        default_factory=dict
    )  # filled, canceled, expired, failed, replaced
    replaced_by: str | None = None
    replaces: str | None = None
    intent: str = ""
    reason: str | None = None
    lag: int = 0  # Look-ups before a cancel is seen
    hidden: int = 0  # Look-ups before it is seen at all
    stuck: int = -1  # While `Faults.healed` is this, a cancel goes nowhere

    @property
    def ended(self):
        return self.status in ENDED

    @property
    def left(self):
        return self.qty - self.filled

    @property
    def group(self):
        top = self.parent or self
        return [top, *top.legs]

    @property
    def fence(self):
        "The limit that a buy stop is sent with"
        if self.kind != OrderType.STOP or self.side != Side.BUY:
            return None
        return (self.stop * Decimal("1.04" if self.stop < 50 else "1.025")).quantize(
            Decimal("0.01")
        )

    def record(self):
        "For the matching"
        kind = OrderType.STOP_LIMIT if self.fence else self.kind
        waiting = kind == OrderType.STOP_LIMIT and not self.triggered
        return BrokerOrder(
            self.id, self.client_order_id, self.symbol, self.side, kind, OrderClass.SIMPLE, TimeInForce.GTC, self.qty,
            self.fence or self.limit, self.stop, OrderStatus.HELD if waiting else OrderStatus.ACCEPTED, self.filled, self.average,
            self.live_from, None, trail_price=self.trail,
        )  # fmt: skip

    def raw(self, nested=False):
        "As JSON"
        at = lambda name: stamp(self.times.get(name))
        ends = day_end(self.created) if self.tif == "day" else self.created + timedelta(90)
        mark = self.stop - DIRECTION[self.side] * self.trail if self.trail and self.stop else None
        percent = self.trail_percent
        return {
            "id": self.id, "client_order_id": self.client_order_id, "created_at": stamp(self.created),
            "updated_at": stamp(self.updated or self.created), "submitted_at": stamp(self.created),
            "filled_at": at("filled"), "expired_at": at("expired"), "expires_at": stamp(ends), "canceled_at": at("canceled"),
            "failed_at": at("failed"), "replaced_at": at("replaced"), "replaced_by": self.replaced_by, "replaces": self.replaces,
            "asset_id": uid("asset", self.symbol), "symbol": self.symbol, "asset_class": "us_equity", "notional": None,
            "qty": text(self.qty), "filled_qty": text(self.filled), "filled_avg_price": text(self.average),
            "order_class": self.order_class, "order_type": str(self.kind), "type": str(self.kind), "side": str(self.side),
            "time_in_force": self.tif, "limit_price": text(self.limit), "stop_price": text(self.stop), "status": self.status,
            "extended_hours": False, "legs": [x.raw() for x in self.legs] if nested and self.legs else None,
            "trail_percent": text(percent), "trail_price": None if percent else text(self.trail), "hwm": text(mark),
            "position_intent": self.intent, "subtag": None, "source": None,
        }  # fmt: skip


class Books:
    "One paper account: orders, fills, cash, and the time at which it stands. The caller holds `lock`"

    def __init__(self, market, at, faults, config, cash, timeframe):
        self._market, self.now, self.faults, self.config = market, aware(at, "at"), faults, config
        self.start_cash = self.cash = Decimal(str(cash))
        self.lock, self.publish = threading.RLock(), lambda place, message: None
        self.orders, self.by_name, self.fills, self.waiting, self._held = {}, {}, [], [], (0, {})
        self.charges, self.strange = [], []  # Fees and the like; orders of no equity, as JSON
        self.ticks, self._frame_of, self._prices = 0, timeframe, {}
        self.listening = lambda: set()  # Symbols whose bars are streamed; None among them: all
        self.reading = lambda: False  # Whether somebody hears news

    @cached_property
    def market(self):
        return self._market() if callable(self._market) else self._market

    @cached_property
    def timeframe(self):
        has = self.market.timeframes
        return self._frame_of or (
            Timeframe.MIN1 if Timeframe.MIN1 in has else min(has, key=MINUTES.get)
        )

    @cached_property
    def assets(self):
        rows = self.market.assets().to_dict("records")
        return {
            r["symbol"]: {
                "id": uid("asset", r["symbol"]), "class": "us_equity", "symbol": r["symbol"],
                "exchange": "ARCA" if r["asset_type"] == "etf" else "NASDAQ", "status": "active",
                "name": r["name"] if isinstance(r["name"], str) and r["name"] else r["symbol"], "cusip": None,
                "tradable": bool(r["tradable"]), "marginable": True, "shortable": True, "easy_to_borrow": True,
                "borrow_status": "easy_to_borrow", "fractionable": True, "maintenance_margin_requirement": 30,
                "margin_requirement_long": "30", "margin_requirement_short": "30", "attributes": [],
            }
            for r in sorted(rows, key=lambda r: r["symbol"])
        }  # fmt: skip

    # -- time and prices

    @property
    def open(self):
        return market_phase(self.now) == MarketPhase.REGULAR

    def tick(self):
        "A moment that no other order has"
        self.ticks += 1
        return self.now + timedelta(microseconds=self.ticks)

    def price(self, symbol):
        "The last price known, or None"
        if symbol not in self._prices:
            names = {symbol} | {o.symbol for o in self.orders.values()} - self._prices.keys()
            found = {}
            for back in (timedelta(hours=1), timedelta(1), timedelta(7)):
                missing = sorted(names - found.keys())
                b = self.market.bars(missing, self.timeframe, self.now - back, self.now, self.now)
                last = b.sort_values("ts").groupby("symbol")["close"].last()
                found |= {s: Decimal(str(round(float(p), 4))) for s, p in last.items()}
                if symbol in found:
                    break
            self._prices |= dict.fromkeys([symbol]) | found
        return self._prices[symbol]

    # -- what is held

    def held(self):
        "Symbol to shares, signed, and average price"
        if self._held[0] != len(self.fills):
            told = ((o.symbol, o.side, f["qty"], f["price"]) for o, f in self.fills)
            self._held = (len(self.fills), net_positions(told))
        return dict(self._held[1])

    def average(self, symbol):
        "As positions tell it: weighted over a day, first in first out over the nights before"
        shares, plain = self.held()[symbol]
        told = [(o, f) for o, f in self.fills if o.symbol == symbol]
        if all(
            f["at"].astimezone(NEW_YORK).date() == self.now.astimezone(NEW_YORK).date()
            for _, f in told
        ):
            return plain
        lots = []  # Signed shares and price, the oldest first
        for o, f in told:
            left = DIRECTION[o.side] * f["qty"]
            while left and lots and lots[0][0] * left < 0:
                gone = min(abs(left), abs(lots[0][0])) * (1 if left > 0 else -1)
                left, lots[0] = left - gone, (lots[0][0] + gone, lots[0][1])
                lots = lots[lots[0][0] == 0 :]
            lots += [(left, f["price"])] if left else []
        return (sum(q * p for q, p in lots) / shares).quantize(Decimal("0.0001"))

    def charge(self, kind, amount, text):
        "Take or give money that no execution explains; an activity of its own"
        self.cash += amount
        n = len(self.charges)
        row = {
            "activity_type": kind,
            "net_amount": str(amount),
            "description": text,
            "status": "executed",
        }
        row |= {"date": str(self.now.astimezone(NEW_YORK).date()), "created_at": stamp(self.now)}
        at = self.now.astimezone(NEW_YORK)
        row["id"] = f"{at:%Y%m%d%H%M%S}000::{uid('charge', n)}"
        self.charges.append((self.now, row))

    def take_fees(self, day):
        "What the regulators take of the sales of a day, after it"
        sold = [
            f for o, f in self.fills if o.side == Side.SELL and day.opens <= f["at"] <= day.closes
        ]
        cents = lambda fee: -fee.quantize(Decimal("0.01"), rounding="ROUND_UP")
        if sold:
            worth = sum(f["qty"] * f["price"] for f in sold)
            self.charge("FEE", cents(worth * SEC_FEE), f"REG fee for proceed of ${worth:.2f}")
            shares = sum(f["qty"] for f in sold)
            self.charge("FEE", cents(shares * TAF), f"TAF fee for {shares} shares")

    def claimed(self, symbol, side):
        "Shares that resting orders have claimed; a pair claims them once"
        total = Decimal(0)
        for o in self.orders.values():
            if o.parent or o.symbol != symbol:
                continue
            if o.order_class == "oco":
                members = o.group
            else:
                members = o.legs if o.status == "filled" else [o]
            total += max(
                (m.left for m in members if not m.ended and m.side == side), default=Decimal(0)
            )
        return total

    def money(self):
        held = self.held()
        long = sum((q * (self.price(s) or a) for s, (q, a) in held.items() if q > 0), Decimal(0))
        short = sum((q * (self.price(s) or a) for s, (q, a) in held.items() if q < 0), Decimal(0))
        reserved = Decimal(0)
        for o in self.orders.values():
            opens = held.get(o.symbol, (Decimal(0),))[0] * DIRECTION[o.side] >= 0
            if not (o.ended or o.parent) and o.order_class != "oco" and opens:
                reserved += cost(o.side, o.left, o.limit or o.stop, self.price(o.symbol)) or 0
        equity = self.cash + long + short
        power = max(equity - long + short - reserved, Decimal(0)).quantize(Decimal("0.01"))
        return {"cash": self.cash, "long": long, "short": short, "equity": equity, "power": power}

    # -- orders in

    def settle(self):
        "What happens behind a reply"
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()

    def submit(self, told):
        "An order as it came; its first answer, or `No`"
        o = self.read(told)
        self.refuse(o)
        fault = self.faults.roll(PLACES["accept"], "accept", o.client_order_id)
        if fault == "legs_missing":
            o.legs, o.order_class = [], ""
        if fault == "exits_day":
            for leg in o.legs:
                leg.tif = "day"
        o.hidden = self.faults.invisible
        for m in o.group:
            self.orders[m.id] = m
            self.by_name[m.client_order_id] = m
        if not self.open:
            o.status = "accepted"
        first = o.raw(nested=True)
        self.waiting.append(lambda: self.arrive(o, fault))
        return first

    def arrive(self, o, fault):
        if o.ended:
            return
        if fault == "reject_late":
            o.reason = "rejected by the exchange"
            for leg in o.legs:
                self.end(leg, "canceled", silent=True)
            return self.end(o, "rejected")
        self.event(o, "new" if self.open else "accepted", status="new" if self.open else "accepted")

    def read(self, told):
        "The request as an order with its legs; what no client may send is refused here"
        want = lambda ok, message, code=40010001: ok or self.no(422, message, code)
        want(isinstance(told, dict), "request body format is invalid", 40010000)
        symbol, words = str(told.get("symbol", "")), {}
        for key, kind in (("side", Side), ("type", OrderType)):
            want(told.get(key) in list(kind), f"invalid {key}")
            words[key] = kind(told[key])
        kind, tif, cls = words["type"], told.get("time_in_force"), told.get("order_class") or ""
        cls = "" if cls == "simple" else cls
        want(tif in ("day", "gtc"), "invalid time_in_force")
        want(cls in ("", "bracket", "oco", "oto"), "invalid order_class")
        name = told.get("client_order_id") or uid("unnamed", len(self.orders))
        want(len(name) <= 128, "client_order_id must be no more than 128 characters")
        want(name not in self.by_name, "client_order_id must be unique")
        want(told.get("qty") is not None, "qty or notional is required")
        qty = self.number(told, "qty")
        want(qty > 0, "qty must be > 0")
        whole = qty == int(qty)
        want(whole or tif == "day", "fractional orders must be DAY orders", 42210000)
        want(whole or not cls, "fractional orders must be simple orders", 42210000)
        limit, stop, trail, percent = (
            self.number(told, k)
            for k in ("limit_price", "stop_price", "trail_price", "trail_percent")
        )
        for label, p in (("limit_price", limit), ("stop_price", stop), ("trail_price", trail)):
            self.on_tick(label, p)
        now = self.tick()
        o = Order(
            uid("order", name),
            name,
            symbol,
            words["side"],
            kind,
            cls,
            tif,
            qty,
            now,
            self.now,
            limit,
            stop,
        )
        self.exits(o, told)
        needs_limit = kind in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        needs_stop = kind in (OrderType.STOP, OrderType.STOP_LIMIT)
        want(
            not needs_limit or o.limit is not None,
            f"{kind} orders require a limit price".replace("_", " "),
        )
        want(
            not needs_stop or stop is not None,
            f"{kind} orders require a stop price".replace("_", " "),
        )
        if kind == OrderType.MARKET:
            want(limit is None and stop is None, "market orders require no stop or limit price")
        want(kind != OrderType.LIMIT or stop is None, "limit orders require no stop price")
        want(kind != OrderType.STOP or limit is None, "stop orders require no limit price")
        if kind == OrderType.TRAILING_STOP:
            want(
                (trail is None) != (percent is None),
                "trailing stop orders must specify one of trail_price or trail_percent",
            )
            want(not cls, "trailing stop orders must be simple orders", 42210000)
            if percent:
                o.trail_percent, o.trail = (
                    percent,
                    ((self.price(symbol) or 0) * percent / 100).quantize(Decimal("0.01")),
                )
            else:
                o.trail = trail
        return o

    def no(self, *answer, **more):
        raise No(*answer, **more)

    def number(self, told, key):
        if told.get(key) is None:
            return None
        try:
            n = Decimal(str(told[key]))
        except InvalidOperation:
            raise No(422, f"invalid {key}", 40010001) from None
        return n if n.is_finite() else self.no(422, f"invalid {key}", 40010001)

    def on_tick(self, label, p):
        if p is not None and p <= 0:
            raise No(422, f"{label} must be > 0", 42210000)
        if p is not None and p % tick_size(p):
            raise No(
                422,
                f"invalid {label} {text(p)}. sub-penny increment does not fulfill minimum pricing criteria",
                42210000,
            )

    def exits(self, o, told):
        "The legs of a complex order"
        profit, loss = told.get("take_profit") or {}, told.get("stop_loss") or {}
        if not o.order_class:
            return
        target, trigger, floor = (
            self.number(profit, "limit_price"),
            self.number(loss, "stop_price"),
            self.number(loss, "limit_price"),
        )
        for label, p in (
            ("take_profit.limit_price", target),
            ("stop_loss.stop_price", trigger),
            ("stop_loss.limit_price", floor),
        ):
            self.on_tick(label, p)
        if o.order_class in ("bracket", "oco"):
            for label, p in (
                ("take_profit.limit_price", target),
                ("stop_loss.stop_price", trigger),
            ):
                p is not None or self.no(422, f"{o.order_class} orders require {label}", 40010001)
        elif (target is None) == (trigger is None):
            raise No(422, "oto orders require one of take_profit or stop_loss", 40010001)
        leg = lambda part, side, kind, **prices: Order(
            uid("order", o.client_order_id, part), uid("leg", o.client_order_id, part), o.symbol, side, kind, o.order_class,
            o.tif, o.qty, o.created, o.live_from, status="held", parent=o, **prices,
        )  # fmt: skip
        protecting = OrderType.STOP if floor is None else OrderType.STOP_LIMIT
        if o.order_class == "oco":
            o.kind == OrderType.LIMIT or self.no(422, "oco orders must be limit orders", 40010001)
            o.limit = target
            o.legs = [leg("stop", o.side, protecting, stop=trigger, limit=floor)]
            return
        other = Side.SELL if o.side == Side.BUY else Side.BUY
        if target is not None:
            o.legs.append(leg("target", other, OrderType.LIMIT, limit=target))
        if trigger is not None:
            o.legs.append(leg("stop", other, protecting, stop=trigger, limit=floor))

    def refuse(self, o):
        "What depends on the market and the books"
        asset = self.assets.get(o.symbol)
        if asset is None:
            raise No(422, f'asset "{o.symbol}" not found', 42210000)
        if not asset["tradable"]:
            raise No(422, f'asset "{o.symbol}" is not tradable', 42210000)
        if self.faults.blocked:
            raise No(403, "account is not allowed to trade", 40310000)
        self.sides(o)
        d, shares = DIRECTION[o.side], self.held().get(o.symbol, (Decimal(0),))[0]
        reduces = shares * d < 0
        for m in o.group:
            m.intent = f"{m.side}_to_{'close' if reduces or m.parent else 'open'}"
        if o.order_class in ("bracket", "oto") and reduces:
            raise No(422, f"{o.order_class} orders must be entry orders", 42210000)
        if o.order_class == "oco" and not reduces:
            raise No(422, "oco orders must be exit orders", 42210000)
        self.wash(o)
        if reduces:
            claimed = self.claimed(o.symbol, o.side)
            free = abs(shares) - claimed
            if o.qty > free:
                raise No(
                    403, f"insufficient qty available for order (requested: {text(o.qty)}, available: {text(free)})", 40310000,
                    available=text(free), existing_qty=text(abs(shares)), held_for_orders=text(claimed), symbol=o.symbol,
                )  # fmt: skip
            return
        if o.side == Side.SELL and o.symbol in self.faults.hard_to_borrow:
            raise No(422, f'asset "{o.symbol}" cannot be sold short', 42210000)
        if o.side == Side.SELL and o.qty != int(o.qty):
            raise No(422, "fractional orders cannot be sold short", 42210000)
        needs, power = (
            cost(o.side, o.qty, o.limit or o.stop, self.price(o.symbol)),
            self.money()["power"],
        )
        if needs is None:
            raise No(403, f'no price is known for "{o.symbol}"', 40310000)
        if needs > power:
            raise No(
                403,
                "insufficient buying power",
                40310000,
                buying_power=text(power),
                cost_basis=text(needs),
            )

    def sides(self, o):
        "Exits lie on their sides of the base price, by a cent"
        if not o.legs:
            return
        market, cent = self.price(o.symbol), Decimal("0.01")
        exit_side = o.legs[0].side
        d = -DIRECTION[exit_side]  # 1: exits of a long position
        base = o.limit if o.limit is not None else o.stop if o.stop is not None else market
        if base is None:
            return
        worst = (
            base if market is None else min(base * d, market * d) * d
        )  # The market passes a limit that it is beyond
        for leg in o.legs:
            if leg.kind == OrderType.LIMIT and leg.limit * d < (base + cent * d) * d:
                sign, word = ("+", ">=") if d > 0 else ("-", "<=")
                raise No(
                    422,
                    f"take_profit.limit_price must be {word} base_price {sign} 0.01",
                    42210000,
                    base_price=text(base),
                )
            if leg.stop is not None and leg.stop * d > (worst - cent * d) * d:
                sign, word = ("-", "<=") if d > 0 else ("+", ">=")
                raise No(
                    422,
                    f"stop_loss.stop_price must be {word} base_price {sign} 0.01",
                    42210000,
                    base_price=text(worst),
                )

    def wash(self, o):
        "A resting opposite order, unless one of the two is complex or trails"
        if o.order_class or o.kind == OrderType.TRAILING_STOP:
            return
        fixed = (OrderType.MARKET, OrderType.STOP)
        for r in self.orders.values():
            if (
                r.ended
                or r.order_class
                or r.symbol != o.symbol
                or r.side == o.side
                or r.kind == OrderType.TRAILING_STOP
            ):
                continue
            buy, sell = (o, r) if o.side == Side.BUY else (r, o)
            always = o.kind in fixed or r.kind in fixed
            if always or buy.limit >= sell.limit:
                what = "market/stop" if always else "limit"
                raise No(
                    403, "potential wash trade detected. use complex orders", 40310000, existing_order_id=r.id,
                    reject_reason=f"opposite side {what} order exists",
                )  # fmt: skip

    # -- orders out

    def cancel(self, o):
        "Ask for the end of an order"
        if o.ended:
            raise No(422, f'order is already in "{o.status}" state', 42210000)
        if o.status == "pending_cancel":
            raise No(422, 'order is already in "pending_cancel" state', 42210000)
        fault = self.faults.roll(PLACES["cancel"], "cancel", o.client_order_id)
        if (
            fault == "cancel_fills"
            and o.symbol not in self.faults.halted
            and self.price(o.symbol)
            and o.status != "held"
        ):
            price = o.limit if o.kind == OrderType.LIMIT else self.price(o.symbol)
            self.waiting.append(lambda: o.ended or self.hit(o, price, self.now, self.now))
            return
        self.event(o, "pending_cancel", status="pending_cancel")
        o.lag = self.faults.cancel_lag
        if fault == "stuck_cancel":
            o.stuck, o.lag = self.faults.healed, 0
        elif not o.lag:
            self.waiting.append(lambda: self.canceled(o))

    def canceled(self, o):
        "One canceled order ends its group"
        if o.ended:
            return
        whole = o.group if o.parent or o.order_class == "oco" or o.status != "filled" else [o]
        for m in whole:
            if not m.ended:
                self.end(m, "canceled", silent=m.status == "held" and m is not o)

    def looked(self, *orders):
        "A look-up of orders; it may be the one after which a cancel is seen"
        for m in orders:
            if m.status == "pending_cancel" and m.stuck != self.faults.healed:
                m.lag -= 1
                if m.lag < 0:
                    self.canceled(m)

    def end(self, o, status, silent=False, at=None):
        self.event(
            o,
            None if silent else status,
            status=status,
            at=at,
            time=status if status != "rejected" else "failed",
        )

    def event(self, o, event, status=None, at=None, time=None, **more):
        "Change an order and tell the stream"
        at = max(at or self.now, o.created)
        o.status, o.updated = status or o.status, at
        if time:
            o.times[time] = at
        if event:
            data = {"event": event, "timestamp": stamp(at), "order": o.raw()} | more
            self.publish("trade", {"stream": "trade_updates", "data": data})

    # -- the market passes

    def fill(self, o, price, at, known):
        "One more execution"
        left = o.left
        fault = self.faults.roll(
            PLACES["fill"], "fill", f"{o.client_order_id}/{known:%Y%m%dT%H%M%S}"
        )
        qty = max(Decimal(1), left // 2) if fault and left > 1 else left
        at = max(at, o.created)
        o.average = (((o.average or 0) * o.filled + price * qty) / (o.filled + qty)).quantize(
            Decimal("0.0001")
        )
        o.filled += qty
        whole = o.left == 0
        self.cash -= DIRECTION[o.side] * qty * price
        execution = uid("execution", o.id, stamp(known), text(o.filled))
        f = {
            "execution_id": execution,
            "qty": qty,
            "price": price,
            "at": at,
            "cum": o.filled,
            "leaves": o.left,
        }
        f |= {"status": "filled" if whole else "partially_filled"}
        self.fills.append((o, f))
        if whole:
            o.times["filled"] = at
        position = self.held().get(o.symbol, (Decimal(0),))[0]
        more = {
            "price": text(price),
            "qty": text(qty),
            "position_qty": text(position),
            "execution_id": execution,
        }
        status = (
            "filled" if whole else o.status if o.status == "pending_cancel" else "partially_filled"
        )
        self.event(o, "fill" if whole else "partial_fill", status=status, at=at, **more)
        if whole and not o.parent and o.order_class in ("bracket", "oto"):
            for leg in o.legs:
                leg.live_from = known
                if leg.kind == OrderType.LIMIT or len(o.legs) == 1:
                    self.event(leg, "new", status="new", at=known)

    def others(self, o):
        "The other exits of a pair"
        pair = o.group if o.parent or o.order_class == "oco" else []
        return [m for m in pair if m is not o and not m.ended and m.side == o.side]

    def take_over(self, stop, known):
        "A triggered stop turns its target into `replaced`"
        for m in self.others(stop):
            m.replaced_by, stop.replaces = stop.id, m.id
            self.end(m, "replaced", at=known)

    def hit(self, o, price, at, known):
        "A fill and what it does to the other exit"
        others, before = self.others(o), o.filled
        if o.kind != OrderType.LIMIT:
            self.take_over(o, known)
        self.fill(o, price, at, known)
        for m in others:
            if m.ended:
                continue
            if o.status == "filled":
                self.end(m, "canceled", silent=True, at=known)
            else:
                m.qty -= o.filled - before

    def pass_bar(self, bar):
        "What one bar does to the orders of its symbol"
        if (
            bar.symbol in self.faults.halted
            or bar.volume < 1
            or market_phase(bar.ts) != MarketPhase.REGULAR
        ):
            return
        for o in [o for o in self.orders.values() if o.symbol == bar.symbol and not o.parent]:
            if o.order_class == "oco":
                self.pass_exits(o.group, bar)
            elif o.status == "filled":
                self.pass_exits(o.legs, bar)
            elif not o.ended:
                self.pass_order(o, bar)

    def pass_exits(self, members, bar):
        "The stop is asked first: nobody can tell which price came first"
        for m in sorted(members, key=lambda m: m.kind == OrderType.LIMIT):
            if not m.ended:
                self.pass_order(m, bar)

    def pass_order(self, o, bar):
        if bar.ts < o.live_from or o.status in ("pending_new", "accepted"):
            return
        seen = o.record()
        if got := match(seen, bar, self.config):
            o.triggered = o.triggered or bool(o.fence)
            return self.hit(o, *got, bar.end)
        best, worst = (bar.low, bar.high) if o.side == Side.BUY else (bar.high, bar.low)
        if o.trail:
            o.stop = trailed(trailed(seen, bar.open), best).stop_price
        d = DIRECTION[o.side]
        waits = (o.kind == OrderType.STOP_LIMIT or o.fence) and not o.triggered
        if waits and worst * d >= o.stop * d:
            o.triggered = True
            self.take_over(o, bar.end)
            self.event(o, "new" if o.status == "held" else None, status="new", at=bar.end)

    def wanted(self):
        "Symbols whose bars matter"
        alive = {m.symbol for m in self.orders.values() if not m.ended}
        listening = self.listening()
        return None if None in listening else sorted(alive | listening)

    def between(self, to):
        "Bars that become known in (now, to], in order"
        names, length = self.wanted(), timedelta(minutes=MINUTES[self.timeframe])
        if names == []:
            return []
        b = self.market.bars(names, self.timeframe, self.now - length - timedelta(hours=1), to, to)
        b = b[b.available_at > self.now]
        return list(
            zip(
                bars_of(b, length),
                b.sort_values(["available_at", "ts", "symbol"]).close,
                strict=True,
            )
        )

    def advance(self, to):
        "Let the market pass until `to`; going back does nothing"
        self.settle()
        if to <= self.now:
            return
        bars, news, i = self.between(to), self.news(self.now, to) if self.reading() else [], 0
        days = sessions_between((self.now - timedelta(1)).date(), (to + timedelta(1)).date())
        marks = {t for s in days for t in (s.opens, s.closes, s.ends) if self.now < t <= to}
        marks |= {b.known_at for b, _ in bars} | {n["received_at"] for n in news} | {to}
        for at in sorted(marks):
            self.now, self._prices = at, {}
            while news and news[0]["received_at"] <= at:
                n = news.pop(0)
                del n["received_at"]
                self.publish("news", n | {"T": "n"})
            while i < len(bars) and bars[i][0].known_at <= at:
                bar, close = bars[i]
                self.tell_bar(bar, close)
                self.pass_bar(bar)
                i += 1
            self.calendar_turns(at, days)
        for o in list(self.orders.values()):
            if o.status == "pending_cancel" and o.stuck != self.faults.healed:
                self.canceled(o)

    def calendar_turns(self, at, days):
        "The open wakes what waited for it, the close ends the orders of the day"
        if any(s.opens == at for s in days):
            for o in list(self.orders.values()):
                if o.status == "accepted":
                    o.live_from = at
                    self.event(o, "new", status="new")
        for s in [s for s in days if s.ends == at]:
            self.take_fees(s)
        if any(s.closes == at for s in days):
            for o in list(self.orders.values()):
                if not o.ended and o.tif == "day" and day_end(o.created) <= at:
                    self.end(o, "expired")
                    for leg in o.legs:
                        leg.ended or o.filled == o.qty or self.end(leg, "expired", silent=True)

    def tell_bar(self, bar, close):
        row = {
            "S": bar.symbol,
            "o": float(bar.open),
            "h": float(bar.high),
            "l": float(bar.low),
            "c": float(close),
        }
        row |= {
            "v": int(bar.volume),
            "n": max(1, int(bar.volume) // 100),
            "vw": round(float(bar.high + bar.low) / 2, 4),
            "t": bar.ts,
        }
        self.publish("data", row | {"T": "b"})
        half = float(close) * float(self.config.half_spread_bps) / 10_000
        sides = {
            "bp": round(row["c"] - half, 2),
            "ap": round(row["c"] + half, 2),
            "bs": 200,
            "as": 300,
            "bx": "V",
            "ax": "V",
        }
        self.publish(
            "data", {"T": "q", "S": bar.symbol, "t": bar.known_at, "c": ["R"], "z": "C"} | sides
        )

    def news(self, after, until):
        "Items received in (after, until], in Alpaca's words with instants as they are"
        try:
            frame = self.market.news(after, until)
        except UnavailableError:
            return []
        whole = lambda v: v if isinstance(v, str) and v else None
        out = []
        for r in frame.sort_values(["received_at", "item_id"]).to_dict("records"):
            clocks = ("published_at", "received_at", "revised_at")
            when = {
                k: None if r[k] is None or r[k] != r[k] else r[k].to_pydatetime() for k in clocks
            }
            created = when["published_at"] or when["received_at"]
            digits = hashlib.sha256(str(r["item_id"]).encode()).digest()[:6]
            out.append({
                "id": int.from_bytes(digits) >> 1, "headline": r["headline"], "author": "Bench", "created_at": created,
                "updated_at": when["revised_at"] or created, "received_at": when["received_at"], "summary": whole(r["summary"]) or r["headline"], "content": "",
                "images": [], "symbols": list(r["symbols"]), "source": whole(r["source"]) or "bench", "url": whole(r["url"]),
            })  # fmt: skip
        return out


# ---------------------------------------------------------------- a market


class Tape:
    "A small fixed market: minutes written down by hand. A `ports.Feed`"

    name, simulated = "tape", True
    timeframes = (
        Timeframe.MIN1,
        Timeframe.MIN5,
        Timeframe.MIN15,
        Timeframe.MIN30,
        Timeframe.HOUR1,
        Timeframe.DAY1,
    )

    def __init__(self, start, prices, volume=100_000, news=(), untradable=(), before=1):
        """`prices`: symbol to closes, or to (open, high, low, close), one a minute from `start`. Before `start` the first
        price stood for `before` minutes, and at the same time of the session before. `news`: (received_at, symbols, headline)"""
        import pandas as pd

        rows = []
        for symbol, path in prices.items():
            bars = [(p, p, p, p) if isinstance(p, int | float | Decimal) else p for p in path]
            first = (bars[0][0],) * 4
            for i, b in enumerate([first] * before + bars):
                rows.append(
                    (symbol, start + timedelta(minutes=i - before), *map(float, b), float(volume))
                )
        columns = ["symbol", "ts", "open", "high", "low", "close", "volume"]
        self.frame = pd.DataFrame(rows, columns=columns)
        self.frame["ts"] = pd.DatetimeIndex(self.frame.ts).tz_convert("UTC").as_unit("us")
        self.items, self.symbols, self.untradable = list(news), sorted(prices), set(untradable)

    def bars(self, symbols, timeframe, start, end, asof):
        import pandas as pd

        span = pd.Timedelta(minutes=MINUTES[timeframe])
        f = self.frame if symbols is None else self.frame[self.frame.symbol.isin(symbols)]
        if timeframe != Timeframe.MIN1:
            opens = f.ts.dt.normalize() + pd.Timedelta(hours=13, minutes=30)  # In summer
            span = pd.Timedelta(minutes=390) if timeframe == Timeframe.DAY1 else span
            f = f.assign(ts=opens + (f.ts - opens).floordiv(span) * span)
            parts = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
            f = f.groupby(["symbol", "ts"], as_index=False).agg(parts)
        f = f.assign(available_at=f.ts + span)
        keep = (
            (f.ts >= pd.Timestamp(start))
            & (f.ts < pd.Timestamp(end))
            & (f.available_at <= pd.Timestamp(asof))
        )
        return f[keep].sort_values(["symbol", "ts"]).reset_index(drop=True)

    def news(self, start, asof):
        import pandas as pd

        rows = [
            {"feed": "tape", "item_id": f"tape-{i}", "symbols": list(symbols), "headline": headline, "summary": headline,
             "source": "tape", "url": f"https://example.org/{i}", "event_at": None, "published_at": pd.Timestamp(at),
             "received_at": pd.Timestamp(at), "revised_at": None}
            for i, (at, symbols, headline) in enumerate(self.items) if start < at <= asof
        ]  # fmt: skip
        columns = NEWS_COLUMNS
        return pd.DataFrame(rows, columns=columns)

    def quotes(self, symbols, asof):
        return None

    def assets(self):
        import pandas as pd

        rows = [(s, f"{s} Inc.", None, "stock", s not in self.untradable) for s in self.symbols]
        return pd.DataFrame(rows, columns=["symbol", "name", "sector", "asset_type", "tradable"])
