"The backtest against a slow reference, against the paper broker, against vectorbt's own simulator, and against the future."

import math
import os
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from catalyst.clock import get_session, sessions_between, slots
from catalyst.costs import Costs, paper_costs

FREE = Costs(half_spread_bps=0, impact_coefficient=0, borrow_rate_annual=0)
LONG = bool(os.environ.get("CATALYST_LONG"))
DAYS = sessions_between(
    get_session("2025-07-01").day, get_session("2025-07-07").day
)  # a half day inside


def random_bars(rng, securities=3, days=DAYS, holes=0.08, thin=0.3):
    "15-minute walks on the cent, with gaps, missing bars (closing ones too) and bars without volume"
    frames = []
    for sec in range(1, securities + 1):
        ts = pd.DatetimeIndex([t for s in days for t in slots(s)[:-1]]).as_unit("us")
        n = len(ts)
        close = rng.choice([0.7, 20, 60]) * np.exp(np.cumsum(rng.normal(0, 0.006, n)))
        jump = np.where(rng.random(n) < 0.1, rng.normal(0, 0.01, n), 0)
        open_ = np.r_[close[0], close[:-1]] * np.exp(jump)
        high = np.maximum(open_, close) * np.exp(np.abs(rng.normal(0, 0.003, n)))
        low = np.minimum(open_, close) * np.exp(-np.abs(rng.normal(0, 0.003, n)))
        volume = np.where(
            rng.random(n) < thin, rng.integers(0, 300, n), rng.integers(5_000, 90_000, n)
        )
        prices = dict(open=open_, high=high, low=low, close=close)
        frame = pd.DataFrame({k: np.round(v, 2 if close[0] > 2 else 4) for k, v in prices.items()})
        frame = frame.assign(
            volume=volume.astype(float),
            available_at=ts + pd.Timedelta("15min"),
            security_id=sec,
            ts=ts,
        )
        frames.append(frame[rng.random(n) >= holes])
    return pd.concat(frames).set_index(["security_id", "ts"])


def random_plans(rng, bars, n=40, overlap=True):
    rows = []
    for _ in range(n):
        sec, ts = bars.index[rng.integers(len(bars))]
        price, d = bars.loc[(sec, ts), "close"], rng.choice([-1, 1])
        kind = rng.choice(["limit", "limit", "market", "stop"])
        entry = price * (1 + rng.normal(0, 0.004))
        away = price * rng.uniform(0.003, 0.02)
        rows.append(
            dict(security_id=int(sec) if rng.random() > 0.03 else 99, setup="x", side="long" if d > 0 else "short",
                 entry_type=kind, entry_price=entry, stop_price=entry - d * away, target_price=entry + d * away * rng.uniform(0.8, 3),
                 decided_at=ts + timedelta(minutes=int(rng.integers(0, 20))),
                 expires_at=ts + timedelta(minutes=int(rng.integers(20, 300))) if rng.random() > 0.2 else pd.NaT)
        )  # fmt: skip
    return pd.DataFrame(rows)


# --- the reference: objects, dictionaries, one plan and one bar at a time; it shares no line with the loop ---


def up_tick(x, buy):
    "Rounded against the order"
    unit = Decimal("0.01") if x >= 1 else Decimal("0.0001")
    steps = Decimal(repr(round(float(x), 12))) / unit
    return float(
        (steps.to_integral_value(rounding="ROUND_CEILING" if buy else "ROUND_FLOOR")) * unit
    )


def cents(n, each):
    "A commission as the paper broker rounds it"
    return float((Decimal(int(n)) * Decimal(str(each))).quantize(Decimal("0.01")))


class Slow:
    "An account in a dictionary"

    def __init__(self, bars, costs, cash, risk, most, flat, own_bar):
        self.costs, self.cash, self.risk, self.most, self.flat, self.own = (
            costs,
            cash,
            risk,
            most,
            flat,
            own_bar,
        )
        self.bars = {s: g.droplevel(0) for s, g in bars.groupby(level=0)}
        self.shares = dict.fromkeys(self.bars, 0.0)
        self.last, self.plans, self.sigma = {}, [], {}
        for s, b in self.bars.items():
            wide = ((b.high - b.low) / b.close).tolist()
            for i, ts in enumerate(b.index):
                before = wide[max(i - 20, 0) : i] or wide[:1]
                self.sigma[s, ts] = sum(before) / len(before) / math.sqrt(8 / math.pi)

    def volatility(self, sec, ts):
        return self.sigma[sec, ts]

    def worse(self, p, buy, shares, bar):
        move = (
            self.costs.impact_coefficient
            * self.volatility(p["sec"], bar.Index)
            * math.sqrt(shares / bar.volume)
        )
        return move

    def crossing(self, price, buy, move):
        half = self.costs.half_spread_bps / 1e4
        return up_tick(price * (1 + half + move) if buy else price * (1 - half - move), buy)

    def at_open(self, price, level, buy, move, hole):
        "A limit that the open has passed pays like a market order, never beyond its level; after a hole its level"
        if hole:
            return level
        all_in = self.costs.half_spread_bps / 1e4 * self.costs.spread_at_open + move
        got = up_tick(price * (1 + all_in if buy else 1 - all_in), buy)
        return min(got, level) if buy else max(got, level)

    def missed(self, p, until):
        "Bars that the calendar promised since the plan last saw one"
        n = sum(p["known"] <= s < until for s in GRID)
        p["holes"] += n
        p["hole"] = p["hole"] or n > 0
        p["known"] = max(p["known"], until)

    def close_late(self, p, next_day):
        "The closing bar did not come: the last bar of the session that traded has to do"
        end = max(c for c in CLOSES if c < next_day)
        self.missed(p, end)
        of = self.bars[p["sec"]]
        ts = max(t for t in of.index if t < end and of.volume[t] >= 1)
        bar = next(of.loc[[ts]].itertuples())
        p["why"], p["state"] = "close", "closing"
        self.exit_some(p, bar, bar.close, end, "market")
        if p["left"] == 0:
            p["state"] = "done"

    def cap(self, bar):
        return max(1, math.floor(bar.volume * self.costs.max_volume_share + 1e-9))

    def exit_some(self, p, bar, reference, at, kind, level=None):
        buy, n = p["d"] < 0, min(p["left"], self.cap(bar))
        move = self.worse(p, buy, n, bar)
        if kind == "limit":
            got = level
            if at == bar.Index:
                got = self.at_open(reference, level, buy, move, p["hole"])
        else:
            got = self.crossing(reference, buy, move)
        fee = cents(n, self.costs.commission_per_share)
        if buy:
            held = (at - p["entry_at"]).total_seconds() / (365 * 86_400)
            fee += n * p["paid"] / p["bought"] * self.costs.borrow_rate_annual * held
        self.cash += (-n if buy else n) * got - fee
        self.shares[p["sec"]] += n if buy else -n
        p["left"] -= n
        p["got"] += n * got
        p["fees"] += fee
        p["exit_at"] = at

    def meets_stop(self, p, bar):
        if p["d"] > 0:
            if bar.open <= p["stop"]:
                return bar.open, bar.Index
            return (p["stop"], bar.end) if bar.low <= p["stop"] else None
        if bar.open >= p["stop"]:
            return bar.open, bar.Index
        return (p["stop"], bar.end) if bar.high >= p["stop"] else None

    def meets_limit(self, buy, level, bar):
        if buy:
            if bar.open <= level:
                return bar.open, bar.Index
            return (level, bar.end) if bar.low < level else None
        if bar.open >= level:
            return bar.open, bar.Index
        return (level, bar.end) if bar.high > level else None

    def entry(self, p, bar):
        buy = p["d"] > 0
        if p["kind"] == "market":
            hit = bar.open, bar.Index
        elif p["kind"] == "limit":
            hit = self.meets_limit(buy, p["entry"], bar)
        else:
            hit = self.meets_stop({"d": -p["d"], "stop": p["entry"]}, bar)
        if hit is None:
            return
        reference, at = hit
        n = min(p["quantity"], self.cap(bar))
        move = self.worse(p, buy, n, bar)
        if p["kind"] != "limit":
            price = self.crossing(reference, buy, move)
        elif at == bar.end:
            price = p["entry"]
        else:
            price = self.at_open(reference, p["entry"], buy, move, p["hole"])
        p["reserved"] = 0
        fee = cents(n, self.costs.commission_per_share)
        if buy and n * price + fee > self.cash + 1e-9:
            p["state"], p["why"] = "done", "no cash"
            return
        self.cash += (-n if buy else n) * price - fee
        self.shares[p["sec"]] += n if buy else -n
        p |= dict(
            state="held",
            bought=n,
            left=n,
            paid=n * price,
            fees=fee,
            entry_at=at,
            got=0.0,
            exit_at=None,
            day=bar.Index.date(),
        )
        worst = bar.low if buy else bar.high
        if self.own and (worst <= p["stop"] if buy else worst >= p["stop"]):
            through = at == bar.Index and (bar.open <= p["stop"] if buy else bar.open >= p["stop"])
            p["why"], p["state"] = "stop", "closing"
            self.exit_some(p, bar, bar.open if through else p["stop"], bar.end, "stop")

    def leave(self, p, bar):
        if p["state"] == "closing":
            return self.exit_some(p, bar, bar.open, bar.Index, "market")
        stop, goal = self.meets_stop(p, bar), self.meets_limit(p["d"] < 0, p["target"], bar)
        if stop:
            p["why"], p["state"] = "stop", "closing"
            self.exit_some(p, bar, *stop, "stop")
        elif goal:
            p["why"] = "target"
            self.exit_some(p, bar, *goal, "limit", p["target"])

    def bar(self, p, bar):
        self.missed(p, bar.Index)
        p["known"] = bar.end
        if bar.volume < 1:
            p["thin"] += 1
            return
        p["seen"] += 1
        if p["state"] == "waiting":
            self.entry(p, bar)
        else:
            self.leave(p, bar)
        p["hole"] = False
        if self.flat and p["state"] == "held" and p["left"] and bar.end in CLOSES:
            p["why"], p["state"] = "close", "closing"
            self.exit_some(p, bar, bar.close, bar.end, "market")
        if p["state"] in ("held", "closing") and p["left"] == 0:
            p["state"] = "done"

    def send(self, p, instant):
        value = sum(q * self.last[s] for s, q in self.shares.items() if q)
        gross = sum(abs(q) * self.last[s] for s, q in self.shares.items() if q)
        power = self.cash + value - gross - sum(o["reserved"] for o in self.plans)
        last = self.last.get(p["sec"])
        base = last if p["kind"] == "market" and last is not None else p["entry"]
        if self.shares[p["sec"]] * p["d"] < 0:
            return "refused"
        each = (
            max(base, 1.03 * last) if p["d"] < 0 and last is not None else base
        ) + self.costs.commission_per_share
        sizes = (
            self.equity * self.risk / abs(p["entry"] - p["stop"]),
            self.equity * self.most / base,
            power / each,
        )
        p["quantity"] = math.floor(min(sizes) + 1e-9)
        if p["quantity"] < 1:
            return "no cash"
        p["reserved"] = p["quantity"] * each

    def run(self, frame):
        instants = sorted({t for b in self.bars.values() for t in b.index})
        for i, r in enumerate(frame.itertuples()):
            d = 1 if r.side == "long" else -1
            close = (
                next(c for c in CLOSES if c > r.decided_at)
                if self.flat
                else pd.Timestamp.max.tz_localize("UTC")
            )
            until = close if pd.isna(r.expires_at) else min(close, r.expires_at)
            unit = lambda x: Decimal("0.01") if x >= 1 else Decimal("0.0001")
            entry = float(
                Decimal(repr(r.entry_price)).quantize(unit(r.entry_price), rounding="ROUND_HALF_UP")
            )
            levels = dict(
                entry=entry,
                stop=up_tick(r.stop_price, d > 0),
                target=up_tick(r.target_price, d > 0),
            )
            self.plans.append(dict(i=i, sec=r.security_id, d=d, kind=r.entry_type, sent=r.decided_at, until=until, state="new",
                                   why="no fill", reserved=0.0, seen=0, thin=0, bought=0, known=r.decided_at, hole=False, holes=0, **levels))  # fmt: skip
        turn = sorted(
            (p for p in self.plans if p["sec"] in self.bars),
            key=lambda p: (
                next((t for t in instants if t >= p["sent"]), pd.Timestamp.max.tz_localize("UTC")),
                p["sent"],
                p["i"],
            ),
        )
        rows = {
            s: {r.Index: r for r in b.assign(end=b.index + pd.Timedelta("15min")).itertuples()}
            for s, b in self.bars.items()
        }
        for before, t in zip([instants[0], *instants], instants, strict=False):
            for p in turn:
                if self.flat and before.date() < t.date() and p["state"] == "held":
                    self.close_late(p, t)
            held = sum(q * self.last[s] for s, q in self.shares.items() if q)
            self.equity = self.cash + held
            for p in turn:
                if p["state"] == "new" and p["sent"] <= t and p["until"] <= t:
                    p["state"] = "done"
                elif p["state"] == "new" and p["sent"] <= t:
                    why = self.send(p, t)
                    p["state"] = "done" if why else "waiting"
                    p["why"] = why or p["why"]
            for p in turn:
                if p["state"] == "waiting" and t + pd.Timedelta("15min") > p["until"]:
                    p["state"], p["reserved"] = "done", 0.0
                    self.missed(p, min(t, p["until"] - pd.Timedelta("15min") + pd.Timedelta("1us")))
                    p["why"] = "expired" if p["seen"] else "no volume" if p["thin"] else "no fill"
                elif p["state"] in ("waiting", "held", "closing") and t in rows[p["sec"]]:
                    self.bar(p, rows[p["sec"]][t])
            self.last |= {s: rows[s][t].close for s in rows if t in rows[s]}
        for p in self.plans:
            if p["state"] in ("held", "closing"):
                p["why"] = "open"
            elif p["state"] == "waiting":
                p["why"] = "no volume" if p["thin"] and not p["seen"] else "no fill"
        return self.plans


CLOSES = [
    pd.Timestamp(s.closes) for s in sessions_between(DAYS[0].day, get_session("2025-07-31").day)
]


GRID = [
    pd.Timestamp(t)
    for s in sessions_between(DAYS[0].day, get_session("2025-07-11").day)
    for t in slots(s)[:-1]
]


def same(trades, slow):
    "Every fill equal"
    for t, p in zip(trades.itertuples(), slow, strict=True):
        got = (t.exit_reason, t.quantity)
        assert got == (p["why"], p["bought"]), (t, p)
        if p["state"] != "waiting":
            assert t.holes == p["holes"], (t, p)
        if p["bought"]:
            assert t.entry_price == pytest.approx(p["paid"] / p["bought"], abs=1e-9), (t, p)
            assert t.entry_at == p["entry_at"], (t, p)
            assert t.fees == pytest.approx(p["fees"], abs=1e-9), (t, p)
        if p["bought"] and not p["left"]:
            assert t.exit_price == pytest.approx(p["got"] / p["bought"], abs=1e-9), (t, p)
            assert t.exit_at == p["exit_at"], (t, p)


@pytest.mark.parametrize("seed", range(200 if LONG else 6))
def test_every_fill_equals_the_slow_reference(seed):
    from catalyst.backtest import backtest

    rng = np.random.default_rng(seed)
    bars = random_bars(rng)
    plans = random_plans(rng, bars)
    costs = [
        Costs(),
        FREE,
        Costs(
            commission_per_share=0.005,
            half_spread_bps=9,
            impact_coefficient=2,
            max_volume_share=0.02,
        ),
    ][seed % 3]
    cash, flat, own = [100_000.0, 6_000.0][seed % 2], seed % 4 != 3, seed % 5 != 4
    kw = dict(cash=cash, risk_per_trade=0.02, position_share=0.4)
    got = backtest(plans, bars, costs, **kw, flat_by_close=flat, own_bar_stop=own)
    slow = Slow(bars, costs, cash, 0.02, 0.4, flat, own)
    same(got.trades, slow.run(plans))
    assert got.equity.iloc[-1] == pytest.approx(
        slow.cash + sum(q * slow.last[s] for s, q in slow.shares.items() if q)
    )
    assert got.trades.pnl.sum() == pytest.approx(got.equity.iloc[-1] - cash)


def bracket(plan, shares, sent):
    "The plan as the desk sends it and the paper broker files it"
    from catalyst.core import OrderClass, OrderType, Side, TimeInForce
    from catalyst.paper import _nested
    from catalyst.ports import OrderRequest, to_tick

    long = plan.side == "long"
    way, kind = "up" if long else "down", OrderType(plan.entry_type)
    entry = to_tick(plan.entry_price)
    level = {
        OrderType.LIMIT: {"limit_price": entry},
        OrderType.STOP: {"stop_price": entry},
        OrderType.MARKET: {},
    }[kind]
    exits = dict(
        stop_loss_price=to_tick(plan.stop_price, way), target_price=to_tick(plan.target_price, way)
    )
    request = OrderRequest(
        str(plan.Index),
        "X",
        Side.BUY if long else Side.SELL,
        Decimal(int(shares)),
        kind,
        TimeInForce.GTC,
        OrderClass.BRACKET,
        **level,
        **exits,
    )
    return _nested(request, "a", sent)


@pytest.mark.parametrize("seed", range(40 if LONG else 4))
def test_every_fill_equals_the_paper_brokers(seed):
    "guard: one set of rules; the paper broker in exact decimals and the compiled loop give the same fills"
    from catalyst.backtest import backtest
    from catalyst.config import Config
    from catalyst.core import OrderPurpose, OrderStatus
    from catalyst.matching import bars_of, fill_bar, finish

    rng = np.random.default_rng(1000 + seed)
    bars = random_bars(rng, securities=1, thin=0, holes=0)  # It knows of no holes
    plans = random_plans(rng, bars, n=30)
    plans = plans[plans.security_id == 1].reset_index(drop=True)
    config = Config({"half_spread_bps": 7.0, "commission_per_share": 0.005})
    shares = rng.integers(50, 500, len(plans)).tolist()
    feed = bars.reset_index().assign(symbol="X")
    flow = [b for b in bars_of(feed, timedelta(minutes=15))]
    for i, plan in enumerate(
        plans.itertuples()
    ):  # One by one: the account of the paper broker is not part of the matching
        one = backtest(
            plans.iloc[[i]],
            bars,
            paper_costs(config),
            cash=1e9,
            quantities=[shares[i]],
            flat_by_close=False,
            own_bar_stop=False,
        )
        t, order = one.trades.iloc[0], bracket(plan, shares[i], plan.decided_at.to_pydatetime())
        for bar in flow:
            if (
                order.filled_quantity == 0
                and not pd.isna(plan.expires_at)
                and bar.end > plan.expires_at
            ):
                order = finish(order, OrderStatus.EXPIRED, bar.end)
            order = next(iter(fill_bar([order], bar, config)), order)
        exits = [f for leg in order.legs for f in leg.fills]
        assert t.quantity == float(order.filled_quantity), (i, t, order)
        if order.fills:
            assert t.entry_price == pytest.approx(float(order.fills[0].price), abs=1e-9), (
                i,
                t,
                order,
            )
            assert t.entry_at == order.fills[0].filled_at, (i, t, order)
        if sum(f.quantity for f in exits) == shares[i]:
            done = next(leg.purpose for leg in order.legs if leg.fills)
            assert t.exit_reason == {OrderPurpose.STOP: "stop", OrderPurpose.TARGET: "target"}[done]
            assert t.exit_price == pytest.approx(
                float(sum(f.price * f.quantity for f in exits) / shares[i]), abs=1e-9
            )
            assert t.exit_at == exits[-1].filled_at
            assert t.fees == pytest.approx(
                float(sum(f.fees for f in [*order.fills, *exits])), abs=1e-9
            )
        elif order.fills:
            assert t.exit_reason == "open"


@pytest.mark.skipif(
    not LONG, reason="CATALYST_LONG=1: numba compiles from_orders for half a minute"
)
def test_the_account_is_vectorbts():
    "The records, given again to vectorbt's own from_orders one column per plan, leave the same cash and the same value"
    import vectorbt as vbt

    from catalyst.backtest import backtest

    rng = np.random.default_rng(3)
    bars = random_bars(rng)
    got = backtest(random_plans(rng, bars), bars, flat_by_close=True)
    r, n = got.records, len(got.records)
    size, price, fees = (np.zeros((n, 3)) for _ in range(3))
    at = np.arange(n), r["col"]
    size[at], price[at], fees[at] = (
        r["size"] * np.where(r["side"] == 0, 1, -1),
        r["price"],
        r["fees"],
    )
    price[price == 0] = 1.0
    close = pd.DataFrame(price)
    again = vbt.Portfolio.from_orders(
        close,
        size,
        price=price,
        fixed_fees=fees,
        init_cash=100_000.0,
        cash_sharing=True,
        group_by=True,
    )
    assert len(again.orders.records) == n
    assert again.cash().iloc[-1] == pytest.approx(got.portfolio.cash().iloc[-1])
    assert got.equity.iloc[-1] == pytest.approx(100_000 + got.trades.pnl.sum())


def test_bars_after_an_instant_change_nothing_before_it():
    from catalyst.backtest import backtest

    rng = np.random.default_rng(11)
    bars, length = random_bars(rng), timedelta(minutes=15)
    plans = random_plans(rng, bars, 60)
    whole = backtest(plans, bars, length=length)
    ts = bars.index.get_level_values("ts")
    for cut in sorted(set(ts))[10::13]:
        other = bars.copy()
        later = ts >= cut
        other.loc[later, ["open", "high", "low", "close"]] *= 1.5
        for seen in (bars[~later], other):
            part = backtest(plans, seen, length=length)
            before = (whole.trades.exit_at < cut) & whole.trades.exit_at.notna()
            pd.testing.assert_frame_equal(part.trades[before], whole.trades[before])
            entered = whole.trades.entry_at < cut
            pd.testing.assert_series_equal(
                part.trades.entry_price[entered], whole.trades.entry_price[entered]
            )
    assert before.sum() > 20


def test_every_plan_has_one_row_and_a_reason():
    from catalyst.backtest import backtest

    rng = np.random.default_rng(5)
    bars = random_bars(rng)
    plans = random_plans(rng, bars, 300).assign(plan_id=lambda f: np.arange(len(f))[::-1])
    t = backtest(plans, bars, cash=20_000.0).trades
    assert t.plan_id.tolist() == plans.plan_id.tolist() and t.exit_reason.notna().all()
    assert set(t.exit_reason) >= {
        "target",
        "stop",
        "close",
        "expired",
        "no fill",
        "no cash",
        "refused",
    }
    filled = t.quantity > 0
    assert (
        filled.equals(t.pnl.notna()) and (t.mae[filled] <= 0).all() and (t.mfe[filled] >= 0).all()
    )
    assert set(t.exit_reason[filled]) <= {"target", "stop", "close", "open"}


def test_flat_by_the_close_on_half_days_and_when_the_last_bar_is_missing():
    from catalyst.backtest import backtest

    day, after = get_session("2025-07-03"), get_session("2025-07-07")
    ts = pd.DatetimeIndex(
        [*slots(day)[:-1], *slots(after)[:-1]]
    )  # Nanoseconds: a frame need not be in microseconds
    flat = pd.DataFrame(
        dict(open=50.0, high=50.2, low=49.8, close=50.1, volume=1e5, security_id=1, ts=ts)
    ).set_index(["security_id", "ts"])
    plan = dict(
        security_id=1,
        setup="x",
        side="long",
        entry_type="market",
        entry_price=50.0,
        stop_price=45.0,
        target_price=60.0,
    )
    plans = pd.DataFrame([plan | dict(decided_at=day.opens, expires_at=pd.NaT)])
    t = backtest(plans, flat, FREE).trades.iloc[0]
    assert (t.exit_reason, t.exit_at, t.exit_price) == ("close", day.closes, 50.1)
    holed = flat.drop((1, ts[13]))
    late = backtest(plans, holed, FREE)
    t = late.trades.iloc[0]
    assert (t.exit_reason, t.exit_at, t.exit_price, t.holes) == ("close", day.closes, 50.1, 1)
    assert "1 plans met holes (1 bars missing; 1 of them were filled)" in repr(late)
    assert late.exposure.iloc[-26:].eq(0).all()  # Nothing is held over the night
    kept = backtest(plans, flat, FREE, flat_by_close=False).trades.iloc[0]
    assert kept.exit_reason == "open" and kept.pnl == pytest.approx(kept.quantity * 0.1)


PLAN = dict(security_id=1, setup="x", side="long", entry_type="limit", entry_price=50.0, stop_price=45.0, target_price=52.0, expires_at=pd.NaT)  # fmt: skip
WIDE = timedelta(minutes=15)


def quiet(prices, keep=slice(None)):
    "One security, a full session at each price"
    ts = pd.DatetimeIndex([t for s in DAYS[: len(prices)] for t in slots(s)[:-1]]).as_unit("us")
    p = np.concatenate([np.full(len(slots(s)) - 1, x) for s, x in zip(DAYS, prices, strict=False)])
    flat = pd.DataFrame(
        dict(open=p, high=p + 0.1, low=p - 0.1, close=p, volume=1e5, security_id=1, ts=ts)
    )
    return flat.iloc[keep].set_index(["security_id", "ts"])


def test_a_fill_after_a_hole_is_never_better_than_what_was_asked():
    "guard: a target of 2R paid 4.58R, because the bars on the way to it were missing"
    from catalyst.backtest import backtest

    bars = quiet([50.5, 50.5])
    bars.iloc[8:, :4] += 5  # Beyond the target by much
    plans = pd.DataFrame([PLAN | dict(entry_type="market", decided_at=DAYS[0].opens)])
    whole, holed = (
        backtest(plans, b, FREE, length=WIDE) for b in (bars, bars.drop(bars.index[6:8]))
    )
    assert whole.trades.exit_price[0] == 55.5 and whole.trades.holes[0] == 0
    assert holed.trades.exit_price[0] == 52.0 and holed.trades.holes[0] == 2
    bars = quiet([51.0, 51.0])
    bars.iloc[8:, :4] -= 4  # A limit of 50 finds 47 after the hole
    plans = pd.DataFrame([PLAN | dict(decided_at=DAYS[0].opens)])
    whole, holed = (
        backtest(plans, b, FREE, length=WIDE) for b in (bars, bars.drop(bars.index[6:8]))
    )
    assert (whole.trades.entry_price[0], holed.trades.entry_price[0]) == (47.0, 50.0)
    assert (
        not whole.notes
        and "1 plans met holes" in repr(holed)
        and holed.summary()["missing_bars"] == 2
    )


def test_the_close_of_a_session_without_its_last_bar_needs_no_future():
    from catalyst.backtest import backtest

    bars = quiet([50.5, 60.0])
    plans = pd.DataFrame(
        [PLAN | dict(entry_type="market", target_price=90.0, decided_at=DAYS[0].opens)]
    )
    n = len(slots(DAYS[0])) - 1
    holed = backtest(plans, bars.drop(bars.index[n - 3 : n]), FREE, length=WIDE)
    t = holed.trades.iloc[0]
    assert (t.exit_reason, t.exit_price, t.exit_at, t.holes) == ("close", 50.5, DAYS[0].closes, 3)
    assert holed.equity.iloc[-1] == pytest.approx(100_000 + t.pnl)
    running = backtest(plans, bars.iloc[: n - 3], FREE, length=WIDE)  # A session that goes on
    assert running.trades.exit_reason[0] == "open"
    no_trades = bars.assign(volume=np.where(np.arange(len(bars)) == n - 1, 0.0, 1e5))
    t = backtest(plans, no_trades, FREE, length=WIDE).trades.iloc[0]
    assert (t.exit_reason, t.exit_price, t.exit_at, t.holes) == ("close", 50.5, DAYS[0].closes, 0)


def test_a_limit_that_the_open_fills_pays_the_spread_within_its_limit():
    "guard: 37 of 57 entries were filled at the open and paid nothing"
    from catalyst.backtest import backtest

    bars = quiet([49.5, 49.5])
    plans = pd.DataFrame([PLAN | dict(decided_at=DAYS[0].opens, target_price=60.0)])
    entry = lambda **k: backtest(plans, bars, Costs(impact_coefficient=0, **k)).trades.entry_price[
        0
    ]
    assert entry(half_spread_bps=0) == 49.5
    assert entry(half_spread_bps=10) == 49.55
    assert entry(half_spread_bps=500) == 50.0  # Never beyond the limit
    assert entry(half_spread_bps=10, spread_at_open=0) == 49.5  # As the paper broker has it
    assert paper_costs({"half_spread_bps": 10}).spread_at_open == 0
    up = quiet([50.5, 50.5])
    up.iloc[4:, :4] += 3
    plans = pd.DataFrame([PLAN | dict(entry_type="market", decided_at=DAYS[0].opens)])
    out = backtest(plans, up, Costs(impact_coefficient=0, half_spread_bps=10)).trades.exit_price[0]
    assert out == 53.44  # 53.50 less the half-spread, above the 52 that were asked


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(cash=0.0), "cash: received 0.0"),
        (dict(cash=float("nan")), "cash: received nan"),
        (dict(risk_per_trade=-1.0), "risk_per_trade: received -1.0"),
        (dict(risk_per_trade=5.0), "a share of equity above 0, at most 1"),
        (dict(position_share=0.0), "position_share"),
        (dict(quantities=[-5]), "quantities: received -5.0"),
        (dict(length=timedelta(hours=1)), "length: received '1:00:00'"),
    ],
)
def test_impossible_accounts_are_refused_by_name(change, told):
    from catalyst.backtest import backtest
    from catalyst.core import InputError

    plans = pd.DataFrame([PLAN | dict(decided_at=DAYS[0].opens)])
    with pytest.raises(InputError) as e:
        backtest(plans, quiet([50.5]), **change)
    assert told in str(e.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(decided_at=DAYS[0].opens.replace(tzinfo=None)), "plans.decided_at: received"),
        (dict(expires_at=DAYS[0].closes.replace(tzinfo=None)), "plans.expires_at: received"),
        (dict(security_id=99), "plans: received 'security 99'"),
        (dict(expires_at=DAYS[0].opens), "plan 0: expires_at"),
        (dict(decided_at=DAYS[0].opens - timedelta(days=365)), "plans that live within the bars"),
        (dict(decided_at=DAYS[0].opens + timedelta(days=365)), "plans that live within the bars"),
        (dict(side="buy"), "plan 0: side: received 'buy'; allowed: long, short"),
        (dict(entry_type="x"), "plan 0: entry_type: received 'x'; allowed: market, limit, stop"),
        (dict(stop_price=51.0), "'long: stop 51, entry 50, target 52'; allowed: 0 < stop < entry < target for a long"),
    ],
)  # fmt: skip
def test_impossible_plans_are_refused_by_name(change, told):
    from catalyst.backtest import backtest
    from catalyst.core import InputError

    plans = pd.DataFrame([PLAN | dict(decided_at=DAYS[0].opens) | change])
    with pytest.raises(InputError) as e:
        backtest(plans, quiet([50.5]))
    assert told in str(e.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda b: b.rename(columns={"high": "low", "low": "high"}), "0 < low"),
        (lambda b: b.assign(low=-1.0), "such bars"),
        (lambda b: b.assign(close=np.nan), "at least one bar with all four prices"),
        (lambda b: b.assign(volume=-1.0), "volume -1"),
        (lambda b: b.drop(columns="volume"), "bars: received 'volume'"),
        (lambda b: b.tz_localize(None, level=1), "bars.ts: received"),
    ],
)
def test_impossible_bars_are_refused_by_name(change, told):
    "guard: swapped highs and lows earned 472 dollars, a low of -1 lost 12,486"
    from catalyst.backtest import backtest
    from catalyst.core import InputError

    plans = pd.DataFrame([PLAN | dict(decided_at=DAYS[0].opens)])
    with pytest.raises(InputError) as e:
        backtest(plans, change(quiet([50.5])))
    assert told in str(e.value)


def test_a_result_knows_its_span_and_its_account():
    from catalyst.backtest import backtest
    from catalyst.core import InputError
    from catalyst.performance import performance

    bars = quiet([50.5, 50.5, 50.5, 50.5])
    plans = pd.DataFrame([PLAN | dict(entry_type="market", decided_at=DAYS[1].opens)])
    days = [s.day for s in DAYS]
    alone = backtest(plans, bars)
    assert alone.span == (days[1], days[3]) and performance(alone)["sessions"] == 3
    asked = backtest(plans, bars, start=days[0], end=days[2])
    assert asked.span == (days[0], days[2]) and performance(asked)["sessions"] == 3
    plans.attrs["span"] = (days[0], days[3])  # As its maker leaves it
    assert performance(backtest(plans, bars))["sessions"] == 4
    assert "cash $100,000, a stop loses 1 % of equity, a position is at most 10 % of it" in repr(
        alone
    )
    with pytest.raises(InputError, match="a span with all plans"):
        backtest(plans, bars, start=days[2], end=days[3])


def test_r_by_the_plan_and_r_by_the_fill():
    from catalyst.backtest import backtest

    bars = quiet([49.0, 49.0])
    bars.iloc[3:, :4] = [44.0, 44.1, 43.9, 44.0]
    bars.iloc[3, :4] = [46.0, 46.1, 44.9, 45.5]  # Through the stop, not beyond it at the open
    plans = pd.DataFrame([PLAN | dict(decided_at=DAYS[0].opens)])
    t = backtest(plans, bars, FREE).trades.iloc[0]
    assert (t.entry_price, t.exit_price, t.exit_reason) == (49.0, 45.0, "stop")
    assert t.r_multiple == pytest.approx(-0.8) and t.r_of_fill == pytest.approx(-1.0)


def test_costs_are_on_and_printed():
    from catalyst.backtest import backtest

    rng = np.random.default_rng(9)
    bars = random_bars(rng, thin=0)
    plans = random_plans(rng, bars)
    dear, free = backtest(plans, bars), backtest(plans, bars, FREE)
    assert (
        "half-spread 2 bp" in repr(dear)
        and "impact 1" in repr(dear)
        and "borrow 3.00%" in repr(dear)
    )
    assert dear.trades.slippage.sum() > free.trades.slippage.sum() >= 0
    assert (dear.trades.fees[dear.trades.side == "short"] > 0).any()


def test_importing_the_backtest_does_not_import_vectorbt():
    code = "import sys, catalyst.backtest, catalyst.sweep, catalyst.tearsheet; print([m for m in ('vectorbt', 'numba', 'plotly', 'joblib') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
