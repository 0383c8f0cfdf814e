"The simulated broker: what a bar may do to an order, and what the client finds after a crash"

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst.clock import ReplayClock
from catalyst.config import Config
from catalyst.core import OrderClass, OrderStatus, OrderType, Side, TimeInForce
from catalyst.matching import Bar, fill_bar, match, net_positions
from catalyst.paper import PaperBroker
from catalyst.ports import Broker, BrokerOrder, OrderRequest, Refused
from catalyst.schema import scratch_store

OPEN = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)
SLOT = timedelta(minutes=15)
D = Decimal
CENT = st.integers(5_000, 15_000).map(lambda n: D(n) / 100)


class TableFeed:
    "Bars from a list: (symbol, slot, open, high, low, close, volume)"

    name, simulated = "table", True

    def __init__(self, rows, symbols=("AAPL", "MSFT"), untradable=(), delay=timedelta(0)):
        self.symbols, self.untradable = symbols, untradable
        before = [
            (s, -71, 100, 100, 100, 100, 1000) for s in symbols
        ]  # The last bar of the day before
        table = [
            (s, pd.Timestamp(OPEN + SLOT * i), o, h, lo, c, v)
            for s, i, o, h, lo, c, v in before + list(rows)
        ]
        self.frame = pd.DataFrame(
            table, columns=["symbol", "ts", "open", "high", "low", "close", "volume"]
        )
        self.frame["available_at"] = self.frame.ts + SLOT + delay

    def bars(self, symbols, timeframe, start, end, asof):
        f = self.frame
        return f[
            f.symbol.isin(symbols) & (f.ts >= start) & (f.ts < end) & (f.available_at <= asof)
        ].reset_index(drop=True)

    def assets(self):
        return pd.DataFrame(
            {"symbol": self.symbols, "tradable": [s not in self.untradable for s in self.symbols]}
        )

    def news(self, start, asof): ...
    def quotes(self, symbols, asof): ...


def flat(symbol="AAPL", price=100, slots=27, volume=100_000, first=0):
    return [
        (symbol, i, price, price + 1, price - 1, price, volume) for i in range(first, first + slots)
    ]


def bracket(
    name="e1",
    symbol="AAPL",
    side=Side.BUY,
    quantity=100,
    limit="100.50",
    target="105.00",
    stop="98.00",
):
    return OrderRequest(name, symbol, side, D(quantity), OrderType.LIMIT, TimeInForce.GTC, OrderClass.BRACKET,
                        D(limit), None, D(target), D(stop))  # fmt: skip


def simple(
    name="s1",
    side=Side.SELL,
    quantity=100,
    kind=OrderType.MARKET,
    tif=TimeInForce.DAY,
    limit=None,
    stop=None,
    symbol="AAPL",
):
    return OrderRequest(
        name,
        symbol,
        side,
        D(quantity),
        kind,
        tif,
        limit_price=limit and D(limit),
        stop_price=stop and D(stop),
    )


def trailing(name="t1", side=Side.SELL, quantity=100, trail="2.00"):
    return OrderRequest(
        name,
        "AAPL",
        side,
        D(quantity),
        OrderType.TRAILING_STOP,
        TimeInForce.GTC,
        trail_price=D(trail),
    )


def pair(name="p1", side=Side.SELL, quantity=100, target="105.00", stop="98.00"):
    return OrderRequest(
        name,
        "AAPL",
        side,
        D(quantity),
        OrderType.LIMIT,
        TimeInForce.GTC,
        OrderClass.OCO,
        limit_price=D(target),
        stop_loss_price=D(stop),
    )


@pytest.fixture
def desk():
    "A function that opens a broker on given bars, at the open, and steps it"
    with scratch_store() as store:

        def make(rows, config=None, **more):
            clock = ReplayClock(OPEN)
            return PaperBroker(store, TableFeed(rows, **more), clock, config or Config()), clock

        yield make


def step(broker, clock, n=1):
    fills = []
    for _ in range(n):
        clock.move(clock.now() + SLOT)
        fills += broker.advance(clock.now())
    return fills


def resting(side, kind, price, quantity=100):
    limit, stop = (
        (price, None)
        if kind == OrderType.LIMIT
        else (None, price)
        if kind == OrderType.STOP
        else (None, None)
    )
    return BrokerOrder("b", "c", "AAPL", side, kind, OrderClass.SIMPLE, TimeInForce.GTC, D(quantity), limit, stop,
                       OrderStatus.ACCEPTED, D(0), None, OPEN, None)  # fmt: skip


def bar(o, h, lo, volume=10**6, slot=0):
    ts = OPEN + SLOT * slot
    return Bar("AAPL", ts, ts + SLOT, ts + SLOT, D(o), D(h), D(lo), D(volume))


@given(
    st.sampled_from(list(Side)),
    st.sampled_from([OrderType.MARKET, OrderType.LIMIT, OrderType.STOP]),
    CENT,
    CENT,
    CENT,
    CENT,
)
def test_a_fill_never_flatters_us(side, kind, price, a, b, c):
    low, mid, high = sorted((a, b, c))
    hit = match(resting(side, kind, price), bar(mid, high, low), Config())
    sign = {Side.BUY: 1, Side.SELL: -1}[side]
    if hit is None:
        assert kind != OrderType.MARKET
        reach = (
            {Side.BUY: low, Side.SELL: high}[side]
            if kind == OrderType.LIMIT
            else {Side.BUY: high, Side.SELL: low}[side]
        )
        assert (
            (reach - price) * sign >= 0 if kind == OrderType.LIMIT else (reach - price) * sign < 0
        )
        return
    paid = hit[0]
    if kind == OrderType.LIMIT:
        assert (paid - price) * sign <= 0 and low <= paid <= high
    if kind == OrderType.MARKET:
        assert (paid - mid) * sign > 0
    if kind == OrderType.STOP:
        assert (paid - price) * sign > 0 and (paid - mid) * sign > 0 or mid * sign < price * sign


def test_a_gap_fills_at_the_open_in_both_directions():
    cfg = Config({"half_spread_bps": 0})
    assert match(resting(Side.BUY, OrderType.LIMIT, D(100)), bar(90, 95, 89), cfg)[0] == 90
    assert match(resting(Side.SELL, OrderType.LIMIT, D(100)), bar(110, 112, 109), cfg)[0] == 110
    assert match(resting(Side.SELL, OrderType.STOP, D(95)), bar(90, 99, 89), cfg)[0] == 90
    assert match(resting(Side.BUY, OrderType.STOP, D(105)), bar(110, 112, 104), cfg)[0] == 110
    assert match(resting(Side.SELL, OrderType.STOP, D(95)), bar(100, 101, 95), cfg)[0] == 95
    assert match(resting(Side.BUY, OrderType.LIMIT, D(100)), bar(101, 102, 100), cfg) is None


def test_partial_fills_respect_the_volume_and_the_rest_waits(desk):
    rows = [("AAPL", i, 100, 101, 99, 100, 600) for i in range(5)]
    broker, clock = desk(rows)
    broker.submit(simple(side=Side.BUY, quantity=100, tif=TimeInForce.GTC))
    fills = step(broker, clock)
    assert [f.quantity for f in fills] == [60]
    assert broker.order_by_client_id("s1").status == "partially_filled"
    assert [f.quantity for f in step(broker, clock, 2)] == [40]
    assert broker.order_by_client_id("s1").status == "filled"


def test_an_order_sees_only_bars_that_start_after_it(desk):
    broker, clock = desk(flat())
    clock.move(OPEN + timedelta(minutes=1))
    broker.submit(simple(side=Side.BUY))
    clock.move(OPEN + SLOT)
    assert broker.advance(clock.now()) == []
    [fill] = step(broker, clock)
    assert fill.filled_at == OPEN + SLOT


def test_the_future_changes_nothing(desk):
    rows = flat(slots=4)
    wild = [(s, i, *(p * 3 if i > 1 else p for p in prices), v) for s, i, *prices, v in rows]
    seen = []
    for name, table in (("a", rows), ("b", wild)):
        broker, clock = desk(table)
        broker = PaperBroker(broker.store, broker.feed, clock, Config(), account=name)
        broker.submit(bracket())
        step(broker, clock, 2)
        order = broker.order_by_client_id("e1")
        seen.append(
            [(f.price, f.quantity, f.filled_at) for f in order.fills]
            + [leg.status for leg in order.legs]
        )
    assert seen[0] == seen[1]


def test_a_bracket_wakes_after_the_entry_and_the_stop_wins_a_tie(desk):
    rows = [
        ("AAPL", 0, 100, 106, 90, 100, 10**6),
        ("AAPL", 1, 100, 106, 97, 100, 10**6),
        *flat(first=2, slots=3),
    ]
    broker, clock = desk(rows)
    broker.submit(bracket())
    assert len(step(broker, clock)) == 1
    assert [leg.status for leg in broker.order_by_client_id("e1").legs] == ["accepted", "held"]
    [fill] = step(broker, clock)
    target, stop = broker.order_by_client_id("e1").legs
    assert (target.status, stop.status, fill.price < 98) == ("canceled", "filled", True)
    assert step(broker, clock, 3) == [] and broker.positions() == []


def test_guard_05_one_exit_ends_the_other_and_nothing_reopens(desk):
    rows = [
        ("AAPL", 0, 100, 101, 99, 100, 10**6),
        ("AAPL", 1, 104, 106, 103, 105, 10**6),
        ("AAPL", 2, 100, 106, 90, 95, 10**6),
        *flat(first=3, slots=2),
    ]
    broker, clock = desk(rows)
    broker.submit(bracket())
    step(broker, clock, 5)
    target, stop = broker.order_by_client_id("e1").legs
    assert (target.status, stop.status) == ("filled", "canceled")
    assert broker.positions() == []


def test_partly_filled_exits_never_sell_more_than_was_bought(desk):
    rows = [
        ("AAPL", 0, 100, 101, 99, 100, 10**6),
        ("AAPL", 1, 104, 106, 103, 105, 400),
        ("AAPL", 2, 97, 98, 96, 97, 300),
        ("AAPL", 3, 97, 98, 96, 97, 10**6),
    ]
    broker, clock = desk(rows)
    broker.submit(bracket())
    sold = sum(f.quantity for f in step(broker, clock, 4)[1:])
    target, stop = broker.order_by_client_id("e1").legs
    assert (sold, target.filled_quantity, stop.filled_quantity) == (100, 40, 60)
    assert target.ended and stop.ended and broker.positions() == []


def test_guard_04_gtc_survives_the_close_and_day_expires(desk):
    broker, clock = desk(flat() + flat(first=96, slots=3))
    broker.submit(bracket())
    broker.submit(simple("far", side=Side.BUY, kind=OrderType.LIMIT, limit="50.00"))
    step(broker, clock, 26)
    assert broker.order_by_client_id("far").status == "expired"
    clock.move(OPEN + SLOT * 96 + SLOT)
    broker.advance(clock.now())
    order = broker.order_by_client_id("e1")
    assert order.status == "filled" and not any(leg.ended for leg in order.legs)


def test_a_day_order_does_not_depend_on_how_often_we_look(desk):
    late = timedelta(minutes=20)
    ends = []
    for name, looks in (("a", (26, 28)), ("b", (28,))):
        broker, clock = desk(flat(), delay=late)
        broker = PaperBroker(broker.store, broker.feed, clock, Config(), account=name)
        clock.move(OPEN + SLOT * 25)
        broker.submit(simple(side=Side.BUY))
        for i in looks:
            clock.move(OPEN + SLOT * i)
            broker.advance(clock.now())
        ends.append(broker.order_by_client_id("s1").status)
    assert ends == ["expired", "expired"]


def test_refusals_are_alpacas(desk):
    broker, clock = desk(flat(), symbols=("AAPL", "HALT"), untradable=("HALT",))
    broker.submit(bracket())
    cases = [
        (bracket(), "must be unique"),
        (bracket("x1", symbol="NOPE"), "not found"),
        (bracket("x2", symbol="HALT"), "not tradable"),
        (bracket("x3", quantity=2_000), "insufficient buying power"),
        (trailing("x4", trail="100.00", quantity=1), "must be less than the price"),
        (pair("x7"), "oco orders must be exit orders"),
    ]
    for order, why in cases:
        with pytest.raises(Refused, match=why):
            broker.submit(order)
    step(broker, clock)
    with pytest.raises(Refused, match="must be entry orders"):
        broker.submit(bracket("x5", side=Side.SELL, target="95.00", stop="105.00"))
    with pytest.raises(Refused, match="insufficient qty"):
        broker.submit(simple("x6"))
    assert [o.client_order_id for o in broker.orders()] == ["e1"]


def test_guard_22_resting_exits_hold_the_shares_until_they_are_cancelled(desk):
    broker, clock = desk(flat())
    broker.submit(bracket())
    step(broker, clock)
    with pytest.raises(Refused, match="insufficient qty"):
        broker.submit(simple("out"))
    broker.cancel(broker.order_by_client_id("e1").legs[0].broker_order_id)
    assert [leg.status for leg in broker.order_by_client_id("e1").legs] == ["canceled", "canceled"]
    broker.submit(simple("out"))
    step(broker, clock)
    assert broker.positions() == []
    with pytest.raises(Refused, match="already in"):
        broker.cancel(broker.order_by_client_id("e1").broker_order_id)


def test_cancelling_half_an_entry_takes_its_exits_with_it(desk):
    broker, clock = desk([("AAPL", i, 100, 101, 99, 100, 500) for i in range(3)])
    broker.submit(bracket())
    step(broker, clock)
    broker.cancel(broker.order_by_client_id("e1").broker_order_id)
    order = broker.order_by_client_id("e1")
    assert (order.status, order.filled_quantity, [leg.status for leg in order.legs]) == (
        "canceled",
        50,
        ["canceled"] * 2,
    )
    assert [p.quantity for p in broker.positions()] == [50]


def test_advance_is_idempotent_and_does_not_depend_on_the_steps(desk):
    rows = [("AAPL", i, 100 + i, 102 + i, 98 + i, 101 + i, 700) for i in range(8)]
    seen = []
    for name, stops in (("a", range(1, 9)), ("b", (8,)), ("c", (3, 3, 5, 8))):
        broker, clock = desk(rows)
        broker = PaperBroker(broker.store, broker.feed, clock, Config(), account=name)
        broker.submit(bracket(limit="100.50", target="105.00", stop="95.00"))
        for i in stops:
            clock.move(OPEN + SLOT * i)
            broker.advance(clock.now())
        order = broker.order_by_client_id("e1")
        every = [f for o in (order, *order.legs) for f in o.fills]
        seen.append(([(f.price, f.quantity, f.filled_at) for f in every], broker.account().cash))
    assert seen[0] == seen[1] == seen[2] and len(seen[0][0]) > 2


def test_money_is_conserved(desk):
    broker, clock = desk(flat(), Config({"commission_per_share": 0.01}))
    broker.submit(bracket())
    step(broker, clock)
    money, [held] = broker.account(), broker.positions()
    assert money.cash == 100_000 - 100 * held.avg_price - 1
    assert money.equity == money.cash + 100 * held.last_price and money.simulated
    assert money.buying_power == money.cash
    assert isinstance(broker, Broker)


def test_a_new_client_finds_the_committed_world(desk):
    broker, clock = desk(flat())
    broker.submit(bracket())
    again = PaperBroker(broker.store, broker.feed, clock, Config())
    assert again.order_by_client_id("e1") == broker.order_by_client_id("e1")
    assert again.order_by_client_id("e2") is None
    step(broker, clock, 2)
    with pytest.raises(Refused, match="its past"):
        PaperBroker(broker.store, broker.feed, ReplayClock(OPEN), Config()).submit(bracket("e2"))


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Side)), st.integers(1, 50), st.integers(10, 200)),
        max_size=12,
    )
)
def test_net_positions_are_the_sum_of_the_fills(trades):
    held = net_positions([("A", side, D(q), D(p)) for side, q, p in trades])
    net = sum(q if side == Side.BUY else -q for side, q, _ in trades)
    assert held.get("A", (0, 0))[0] == net
    if held:
        prices = [p for _, _, p in trades]
        assert min(prices) <= held["A"][1] <= max(prices)


def test_fills_are_pure():
    order = resting(Side.BUY, OrderType.MARKET, None)
    first = fill_bar([order], bar(100, 101, 99), Config())
    assert first == fill_bar([order], bar(100, 101, 99), Config()) and order.filled_quantity == 0
    other = replace(bar(100, 101, 99), symbol="MSFT")
    assert fill_bar([order], other, Config()) == []
    assert fill_bar([order], bar(100, 101, 99, slot=-1), Config()) == []


def test_a_bar_is_not_used_twice_on_a_bracket():
    from catalyst.paper import _nested

    filed = _nested(bracket(), "x", OPEN)
    both = bar(100, 106, 90)
    [entered] = fill_bar([filed], both, Config())
    assert entered.status == "filled" and fill_bar([entered], both, Config()) == []


def test_an_account_never_goes_back(desk):
    broker, clock = desk(flat())
    broker.submit(bracket())
    step(broker, clock, 3)
    before = broker.order_by_client_id("e1")
    assert broker.advance(OPEN + SLOT) == [] and broker.order_by_client_id("e1") == before
    assert broker.store.value("select advanced_to from paper.accounts") == clock.now()


# ------------------------------------------------------------------------------------ trailing stops, stop-limits, pairs of exits


OLD_FILLS = "fd934b78df4c14d983ade72bd4810b45ea2f47183c81b8ca7328f7ff0ba1a481"


def some_orders(rng):
    "Orders of the three kinds that there have always been, alone and as brackets"
    for i in range(60):
        side, kind = rng.choice(list(Side)), rng.choice(["market", "limit", "stop"])
        sign, level = (1 if side == Side.BUY else -1), D(rng.randrange(9_700, 10_300)) / 100
        prices = {"limit": {"limit_price": level}, "stop": {"stop_price": level}}.get(kind, {})
        exits = dict(
            order_class=OrderClass.BRACKET,
            target_price=level + sign * 2,
            stop_loss_price=level - sign,
        )
        more = (exits if rng.random() < 0.6 else {}) | prices
        yield OrderRequest(
            f"o{i}",
            "AAPL",
            side,
            D(rng.randrange(1, 300)),
            OrderType(kind),
            TimeInForce.GTC,
            **more,
        )


def test_orders_of_the_old_kinds_fill_as_they_always_did():
    "The digest was made by the matching of issue 5, before trailing stops, stop-limits and pairs"
    import hashlib
    import random

    from catalyst.paper import _nested

    rng, config, text = random.Random(6), Config({"commission_per_share": 0.005}), []
    for order in some_orders(rng):
        group, price = _nested(order, "x", OPEN), D(100)
        for slot in range(12):
            low, mid, high = sorted(price + D(rng.randrange(-250, 251)) / 100 for _ in range(3))
            price = rng.choice([low, mid, high])
            here = bar(mid, high, low, volume=rng.choice([0, 400, 2_000, 10**6]), slot=slot)
            group = next(iter(fill_bar([group], here, config)), group)
        for o in (group, *group.legs):
            text += [(o.broker_order_id, str(o.status), o.quantity, o.ended_at, o.fills)]
    assert sum(len(row[-1]) for row in text) > 100
    assert hashlib.sha256(repr(text).encode()).hexdigest() == OLD_FILLS


def test_a_trailing_stop_follows_the_best_price_and_never_goes_back(desk):
    rows = [
        ("AAPL", 0, 100, 101, 99.5, 101, 10**6),
        ("AAPL", 1, 101, 104, 100, 103, 10**6),
        ("AAPL", 2, 103, 103.5, 102.5, 103, 10**6),
        ("AAPL", 3, 103, 103, 101, 101, 10**6),
        ("AAPL", 4, 101, 101, 90, 90, 10**6),
    ]
    broker, clock = desk(rows, Config({"half_spread_bps": 0}))
    broker.submit(simple("in", side=Side.BUY))
    step(broker, clock)
    told = broker.submit(trailing())
    assert (told.status, told.stop_price, told.trail_price) == ("accepted", 99, 2)
    stops = []
    for _ in range(2):
        step(broker, clock)
        stops.append(broker.order_by_client_id("t1").stop_price)
    assert stops == [102, 102]
    [fill] = step(broker, clock)
    assert (fill.price, fill.filled_at) == (102, OPEN + SLOT * 4) and broker.positions() == []


@given(st.sampled_from(list(Side)), st.lists(st.tuples(CENT, CENT, CENT), min_size=1, max_size=8))
def test_a_trailing_stop_is_never_drawn_in_afterwards(side, path):
    "A fill is at a level that the bars before it, and its own open, had left; the bar's own extreme does not help"
    sign = {Side.BUY: 1, Side.SELL: -1}[side]
    order = replace(resting(side, OrderType.TRAILING_STOP, None), stop_price=None, trail_price=D(2))
    best, config = None, Config({"half_spread_bps": 0})
    for slot, prices in enumerate(path):
        low, mid, high = sorted(prices)
        best = mid if best is None else max(best * -sign, mid * -sign) * -sign
        here = bar(mid, high, low, slot=slot)
        [after] = fill_bar([order], here, config) or [order]
        if after.fills:
            level, paid = best + sign * 2, after.fills[0].price
            assert paid == (level if mid * sign < level * sign else mid)
            return
        assert ({Side.BUY: high, Side.SELL: low}[side] - best) * sign < 2
        best = max(best * -sign, {Side.BUY: low, Side.SELL: high}[side] * -sign) * -sign
        assert after.stop_price == best + sign * 2
        order = after


def test_a_stop_limit_waits_for_its_touch_and_never_pays_beyond_its_limit(desk):
    rows = [
        ("AAPL", 0, 100, 101, 96, 97, 10**6),
        ("AAPL", 1, 96, 97, 95.5, 96, 10**6),
        ("AAPL", 2, 90, 91, 89, 90, 10**6),
        ("AAPL", 3, 90, 94.75, 90, 94, 10**6),
    ]
    broker, clock = desk(rows)
    broker.submit(simple("in", side=Side.BUY))
    step(broker, clock)
    ask = simple("sl", kind=OrderType.STOP_LIMIT, tif=TimeInForce.GTC, stop="95.00", limit="94.50")
    assert broker.submit(ask).status == "held"
    seen = [(len(step(broker, clock)), broker.order_by_client_id("sl").status) for _ in range(2)]
    assert seen == [(0, "held"), (0, "accepted")]
    [fill] = step(broker, clock)
    assert fill.price == D("94.50") and broker.positions() == []


def test_guard_05_a_pair_of_exits_holds_the_shares_once_and_one_ends_the_other(desk):
    rows = [
        ("AAPL", 0, 100, 101, 99, 100, 10**6),
        ("AAPL", 1, 104, 106, 103, 105, 10**6),
        ("AAPL", 2, 100, 106, 90, 95, 10**6),
    ]
    broker, clock = desk(rows)
    broker.submit(simple("in", side=Side.BUY))
    step(broker, clock)
    told = broker.submit(pair())
    assert [(o.order_type, o.status) for o in (told, *told.legs)] == [
        ("limit", "accepted"),
        ("stop", "held"),
    ]
    with pytest.raises(Refused, match="available: 0"):
        broker.submit(simple("out"))
    step(broker, clock, 2)
    told = broker.order_by_client_id("p1")
    assert [o.status for o in (told, *told.legs)] == ["filled", "canceled"]
    assert told == broker.orders()[-1] and broker.positions() == []


def test_a_pair_that_is_touched_on_both_sides_is_stopped_out(desk):
    rows = [("AAPL", 0, 100, 101, 99, 100, 10**6), ("AAPL", 1, 100, 106, 97, 100, 10**6)]
    broker, clock = desk(rows)
    broker.submit(simple("in", side=Side.BUY))
    step(broker, clock)
    broker.submit(pair())
    [fill] = step(broker, clock)
    told = broker.order_by_client_id("p1")
    assert [o.status for o in (told, *told.legs)] == ["canceled", "filled"] and fill.price < 98


def test_a_partly_filled_pair_never_sells_more_than_it_holds_and_can_be_cancelled(desk):
    rows = [
        ("AAPL", 0, 100, 101, 99, 100, 10**6),
        ("AAPL", 1, 104, 106, 103, 105, 400),
        ("AAPL", 2, 97, 98, 96, 97, 300),
        ("AAPL", 3, 97, 98, 96, 97, 300),
    ]
    broker, clock = desk(rows)
    broker.submit(simple("in", side=Side.BUY))
    step(broker, clock)
    broker.submit(pair())
    step(broker, clock, 2)
    target, [stop] = (o := broker.order_by_client_id("p1")), o.legs
    assert (target.status, target.filled_quantity) == ("canceled", 40)
    assert (stop.status, stop.quantity, stop.filled_quantity) == ("partially_filled", 60, 30)
    with pytest.raises(Refused, match="available: 0"):
        broker.submit(simple("out", quantity=30))
    broker.cancel(stop.broker_order_id)
    broker.submit(simple("out", quantity=30))
    step(broker, clock)
    assert broker.positions() == []


@pytest.mark.parametrize("kind", ["market", "limit", "stop", "stop_limit"])
def test_a_bracket_is_entered_by_any_kind_of_order(desk, kind):
    prices = {
        "limit": dict(limit="100.50"),
        "stop": dict(stop="100.50"),
        "stop_limit": dict(stop="100.50", limit="100.80"),
    }
    entry = simple("e", Side.BUY, kind=OrderType(kind), tif=TimeInForce.GTC, **prices.get(kind, {}))
    entry = replace(
        entry, order_class=OrderClass.BRACKET, target_price=D("105"), stop_loss_price=D("98")
    )
    broker, clock = desk(flat(slots=2) + [("AAPL", 2, 104, 106, 103, 105, 10**6)])
    broker.submit(entry)
    step(broker, clock, 3)
    told = broker.order_by_client_id("e")
    assert [o.status for o in (told, *told.legs)] == ["filled", "filled", "canceled"]
    with pytest.raises(Refused, match="must be simple"):
        broker.submit(
            replace(
                trailing("t"),
                side=Side.BUY,
                order_class=OrderClass.BRACKET,
                target_price=D("105"),
                stop_loss_price=D("98"),
            )
        )


def test_the_new_orders_do_not_depend_on_how_often_we_look(desk):
    rows = [("AAPL", i, 100 + i, 102 + i, 99 + i, 101 + i, 700) for i in range(5)]
    rows += [("AAPL", 5 + i, 103 - i, 104 - i, 100 - i, 102 - i, 700) for i in range(4)]
    seen = []
    for name, stops in (("a", range(2, 10)), ("b", (9,)), ("c", (3, 3, 6, 9))):
        broker, clock = desk(rows)
        broker = PaperBroker(broker.store, broker.feed, clock, Config(), account=name)
        broker.submit(simple("in", side=Side.BUY, quantity=60))
        step(broker, clock)
        broker.submit(trailing(quantity=60, trail="3.00"))
        for i in stops:
            clock.move(OPEN + SLOT * i)
            broker.advance(clock.now())
        order = broker.order_by_client_id("t1")
        seen.append((order.status, order.stop_price, [(f.price, f.filled_at) for f in order.fills]))
    assert seen[0] == seen[1] == seen[2] and seen[0][0] == "filled"
