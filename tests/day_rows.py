"A plausible trading day as plain rows: three scans, five candidates, one bracket closed at its target, one position open, one refusal"

import json
import math
import random
from datetime import UTC, datetime, timedelta

from catalyst.clock import get_session
from catalyst.config import Config
from catalyst.dims import ensure_times, time_id

SESSION = get_session("2025-08-13")
CYCLE = "20250813-simulated"
CHOSEN = ["NVDA", "MRNA", "BA", "AAPL", "TSLA"]
CHECKS = [
    "position_value",
    "trade_risk",
    "reward_risk",
    "positions",
    "sector_exposure",
    "daily_loss",
    "data_age",
    "spread",
]
NEWS = {
    "NVDA": (
        "Nvidia beats estimates, raises full-year guidance on data centre demand",
        "guidance",
        0.62,
        0.81,
    ),
    "MRNA": ("Moderna wins FDA approval for its combined flu and Covid shot", "fda", 0.71, 0.86),
    "BA": ("Boeing cut to sell at a broker; deliveries miss", "analyst_down", -0.55, 0.58),
    "AAPL": ("Apple announces $100 billion buyback", "buyback", 0.48, 0.55),
    "TSLA": ("Is Tesla a buy before its deliveries?", "general", 0.12, 0.34),
}


def at(hour, minute=0):
    "An instant of the session, New York"
    return datetime(2025, 8, 13, hour + 4, minute, tzinfo=UTC)


class Day:
    "Writes one day into a store"

    def __init__(self, store, world="simulated", headlines=None):
        self.s, self.world, self.cycle = store, world, f"20250813-{world}"
        self.headlines = headlines or {}
        rows = store.rows(
            "select security_id, symbol from securities where valid_to is null order by (symbol = any(:c)) desc, symbol limit 101",
            c=CHOSEN,
        )
        self.ids = {r["symbol"]: r["security_id"] for r in rows}
        self.random = random.Random(7)

    def fill(self):
        self.cycle_row()
        self.bars()
        self.news()
        self.scans()
        self.trades()
        self.running()
        return self.cycle

    def insert(self, table, returning=None, **row):
        cast = lambda k, v: f"cast(:{k} as jsonb)" if isinstance(v, (dict, list)) else f":{k}"
        sql = f"insert into {table} ({', '.join(row)}) values ({', '.join(cast(k, v) for k, v in row.items())})"
        row = {
            k: json.dumps(v, default=str) if isinstance(v, (dict, list)) else v
            for k, v in row.items()
        }
        return (
            self.s.value(f"{sql} returning {returning}", **row)
            if returning
            else self.s.run(sql, **row)
        )

    def cycle_row(self):
        self.insert(
            "trading_cycles", cycle_id=self.cycle, session=SESSION.day, world=self.world, state="monitoring",
            configuration=dict(Config()), started_at=at(8), news_collected=214,
        )  # fmt: skip

    def bars(self):
        rows, r = [], self.random
        yesterday = get_session("2025-08-12")
        for i, (symbol, sid) in enumerate(sorted(self.ids.items())):
            price = 20 + 3.1 * (i % 80)
            drift = {"NVDA": 0.0016, "MRNA": 0.0006, "BA": -0.0008}.get(symbol, 0.0)
            for session, count in ((yesterday, 4), (SESSION, 26)):
                first = session.closes - timedelta(minutes=15 * count)
                if session is SESSION:
                    price *= 1 + {"NVDA": 0.024, "MRNA": 0.031, "BA": -0.022}.get(
                        symbol, r.gauss(0, 0.004)
                    )
                for n in range(count):
                    ts = first + timedelta(minutes=15 * n)
                    close = price * (1 + drift + r.gauss(0, 0.0022))
                    high, low = (
                        max(price, close) * (1 + abs(r.gauss(0, 0.0011))),
                        min(price, close) * (1 - abs(r.gauss(0, 0.0011))),
                    )
                    volume = int(1e5 * (1.6 + math.cos(2 * math.pi * n / 26)) * r.uniform(0.7, 1.4))
                    rows.append(dict(security_id=sid, time_id=time_id(ts), timeframe="15min", open=round(price, 2), high=round(high, 2) + 0.01,
                                     low=round(low, 2) - 0.01, close=round(close, 2), volume=volume, available_at=ts + timedelta(minutes=15), feed="simulated"))  # fmt: skip
                    price = close
        ensure_times(self.s, {b["time_id"] for b in rows})
        self.s.value("select ensure_partition(:t)", t=rows[0]["time_id"])
        self.s.upsert("trading_history", rows, keys=["security_id", "timeframe", "time_id"])
        self.close = {(b["security_id"], b["time_id"]): b["close"] for b in rows}

    def price(self, symbol, instant):
        "Close of the bar that ended at `instant`"
        return self.close[self.ids[symbol], time_id(instant - timedelta(minutes=15))]

    def news(self):
        source = self.insert(
            "news_sources", "source_id", feed="simulated", source_name="Wire One", source_tier=2
        )
        self.news_ids = {}
        for n, (symbol, (headline, kind, tone, strength)) in enumerate(NEWS.items()):
            headline, when = (
                self.headlines.get(symbol, headline),
                at(7, 40 + n) if n < 4 else at(11, 20),
            )
            ensure_times(self.s, [time_id(when)])
            story = self.insert(
                "news_stories", "story_id", story_key=f"s{n}", headline=headline, first_source_id=source,
                first_published_at=when, known_at=when + timedelta(minutes=2), cluster_type=kind,
            )  # fmt: skip
            revision = self.insert(
                "news_revisions", "revision_id", feed="simulated", item_id=f"i{n}", content_hash=f"h{n}", source_id=source,
                headline=headline, published_at=when, received_at=when + timedelta(minutes=2),
            )  # fmt: skip
            seen = when + timedelta(minutes=2)
            self.s.upsert(
                "news_membership",
                [{"revision_id": revision, "known_at": seen, "story_id": story}],
                keys=["revision_id", "known_at"],
            )
            label = (
                "very_positive"
                if tone > 0.6
                else "positive"
                if tone > 0.2
                else "neutral"
                if tone > -0.2
                else "negative"
            )
            self.news_ids[symbol] = self.insert(
                "news_sentiment", "news_id", revision_id=revision, story_id=story, security_id=self.ids[symbol], time_id=time_id(when),
                headline=headline, source_id=source, published_at=when, received_at=when + timedelta(minutes=2), tone=tone,
                tone_label=label, catalyst_type=kind, catalyst_strength=strength,
                decided_by={"tone": {"beats": 1.9, "raises": 1.2}, "type": "raises full-year guidance", "strength": {"base": 0.55, "tone": 0.19, "tier": 0.95}},
            )  # fmt: skip

    def scans(self):
        rows = []
        for when, chosen in (
            (at(9, 15), CHOSEN[:3]),
            (at(10), CHOSEN[:3]),
            (at(12), [*CHOSEN[2:4], "TSLA"]),
        ):
            ensure_times(self.s, [time_id(when)])
            others = [s for s in sorted(self.ids) if s not in chosen]
            for rank, symbol in enumerate([*chosen, *others], 1):
                picked = symbol in chosen
                stage, reason = ("selected", f"rank {rank} of 101") if picked else self.drop(rank)
                unknown = stage == "universe"
                rows.append(dict(
                    cycle_id=self.cycle, security_id=self.ids[symbol], time_id=time_id(when),
                    scan_timestamp=when, stage=stage, reason=reason, rank=None if unknown else rank,
                    composite_score=None if unknown else round(0.9 - rank / 140, 5), catalyst_score=0.8 if picked else 0.0,
                    volume_score=None if when < SESSION.opens or unknown else round(self.random.random(), 5),
                    momentum_score=None if when < SESSION.opens or unknown else round(self.random.random(), 5),
                    technical_score=None if unknown else round(self.random.random(), 5),
                    price=None if unknown else self.price(symbol, max(when, at(9, 45))), volume=None if unknown else 250_000 + rank,
                    relative_volume=None if unknown else round(self.random.uniform(0.5, 3), 3), change_pct=None if unknown else round(self.random.gauss(0, 0.01), 5),
                    news_id=self.news_ids.get(symbol), tracked=stage in ("tracked", "liquid", "catalyst", "ranked", "selected"), selected_for_trading=picked,
                    scan_metadata={} if picked else {"drop": reason.split(":")[0].split(" below")[0]},
                ))  # fmt: skip
        self.s.upsert("scan_results", rows, keys=["cycle_id", "security_id", "scan_timestamp"])
        names = {sid: symbol for symbol, sid in self.ids.items()}
        found = self.s.rows(
            "select scan_result_id, security_id, scan_timestamp from scan_results where selected_for_trading"
        )
        self.scan_ids = {
            (names[r["security_id"]], r["scan_timestamp"]): r["scan_result_id"] for r in found
        }

    def drop(self, rank):
        if rank == 101:
            return "universe", "no price: no bar was received"
        if rank > 100:
            return "priced", "rank 101 beyond 100 tracked"
        if rank % 9 == 0:
            return "tracked", "mean volume 312,000 below 500,000"
        if rank % 4 == 0:
            return "catalyst", "rank below the best 5"
        return "liquid", "no catalyst" if rank % 3 else "catalyst score 0.121 below 0.300"

    def signal(self, symbol, when, side, entry, stop, target):
        return self.insert(
            "signals", "signal_id", cycle_id=self.cycle, security_id=self.ids[symbol], time_id=time_id(when), decided_at=when,
            setup="news_breakout", side=side, entry_type="limit", entry_price=entry, stop_price=stop, target_price=target, confidence=0.71,
            expires_at=when + timedelta(hours=1), terms={"catalyst": 0.8, "setup": 0.7, "volume": None, "stop_rule": "two ATR"},
            scan_result_id=self.scan_ids.get((symbol, when)), news_id=self.news_ids[symbol],
        )  # fmt: skip

    def approval(self, symbol, when, signal, side, entry, stop, target, quantity, refused=()):
        key = f"{self.cycle}/{symbol}/news_breakout/{when:%Y-%m-%dT%H:%M:%SZ}"
        checks = [{"name": n, "value": 6.0 if n in refused else 2.0, "limit": 5.0, "unit": "positions" if n == "positions" else "dollars",
                   "verdict": "refused" if n in refused else "approved", "note": ""} for n in CHECKS]  # fmt: skip
        same = dict(cycle_id=self.cycle, signal_id=signal, security_id=self.ids[symbol], verdict="refused" if refused else "approved",
                    quantity=quantity, decided_at=when, snapshot={}, order_hash="x")  # fmt: skip
        long, other = side == "buy", {"buy": "sell", "sell": "buy"}[side]
        parent = self.insert("risk_approvals", "approval_id", **same, approval_key=f"{key}/entry", purpose="entry", side=side, order_type="limit",
                             limit_price=entry, risk_amount=round(abs(entry - stop) * quantity, 2), position_value=round(entry * quantity, 2),
                             expires_at=when + timedelta(minutes=15), checks=checks)  # fmt: skip
        legs = {}
        if not refused:
            for purpose, kind, price in (("target", "limit", target), ("stop", "stop", stop)):
                legs[purpose] = self.insert("risk_approvals", "approval_id", **same, approval_key=f"{key}/{purpose}", purpose=purpose, side=other, order_type=kind,
                                            **{"limit_price" if kind == "limit" else "stop_price": price}, parent_approval_id=parent,
                                            expires_at=when + timedelta(days=90), checks=[])  # fmt: skip
        assert long or side == "sell"
        return parent, legs, key

    def order(
        self,
        symbol,
        approval,
        key,
        purpose,
        side,
        kind,
        quantity,
        price,
        when,
        status,
        parent=None,
        position=None,
        filled=None,
        ended=None,
    ):
        order = self.insert(
            "orders", "order_id", client_order_id=f"{key}/{purpose}".replace("/", "-").replace(":", "-"), approval_id=approval, parent_order_id=parent,
            position_id=position, cycle_id=self.cycle, security_id=self.ids[symbol], purpose=purpose, side=side, order_type=kind,
            order_class="bracket", time_in_force="gtc", quantity=quantity, **{"stop_price" if kind == "stop" else "limit_price": price},
            status=status, filled_quantity=quantity if filled else 0, filled_avg_price=filled[1] if filled else None, intended_at=when,
            ended_at=filled[0] if filled else ended, status_reason="the other side filled" if status == "canceled" else None,
        )  # fmt: skip
        for n, word in enumerate(("accepted", status)):
            moment = (filled[0] if filled else ended or when + timedelta(seconds=1)) if n else when
            self.s.run(
                "insert into order_events (order_id, status, occurred_at) values (:o, :s, :t) on conflict do nothing",
                o=order,
                s=word,
                t=moment,
            )
        if filled:
            ensure_times(self.s, [time_id(filled[0])])
            self.insert("fills", execution_id=f"x{order}", order_id=order, security_id=self.ids[symbol], time_id=time_id(filled[0]), side=side,
                        quantity=quantity, price=filled[1], fees=0.35, filled_at=filled[0])  # fmt: skip
        return order

    def bracket(self, symbol, when, side, quantity, away, filled_at=None, closed_at=None):
        entry = round(self.price(symbol, when), 2)
        sign = 1 if side == "long" else -1
        stop, target = round(entry - sign * away, 2), round(entry + sign * away * 1.8, 2)
        buy, sell = ("buy", "sell") if sign > 0 else ("sell", "buy")
        signal = self.signal(symbol, when, side, entry, stop, target)
        parent, legs, key = self.approval(symbol, when, signal, buy, entry, stop, target, quantity)
        lapsed = None if filled_at else when + timedelta(hours=1)
        first = self.order(symbol, parent, key, "entry", buy, "limit", quantity, entry, when, "filled" if filled_at else "expired",
                           filled=(filled_at, entry) if filled_at else None, ended=lapsed)  # fmt: skip
        position = (
            self.position(
                symbol,
                signal,
                f"{key}/entry".replace("/", "-").replace(":", "-"),
                side,
                quantity,
                entry,
                stop,
                target,
                filled_at,
                closed_at,
                sign,
            )
            if filled_at
            else None
        )
        for purpose, kind, price in (("target", "limit", target), ("stop", "stop", stop)):
            hit = purpose == "target" and closed_at
            status = "filled" if hit else "canceled" if closed_at or not filled_at else "held"
            self.order(symbol, legs[purpose], key, purpose, sell, kind, quantity, price, when, status, first, position,
                       (closed_at, target) if hit else None, closed_at or lapsed)  # fmt: skip
        if position:
            self.s.run(
                "update orders set position_id = :p where order_id = :o", p=position, o=first
            )

    def position(
        self, symbol, signal, key, side, quantity, entry, stop, target, filled_at, closed_at, sign
    ):
        gain = round(sign * (target - entry) * quantity - 0.70, 2)
        risk = round(abs(entry - stop) * quantity, 2)
        over = (
            dict(
                exit_price=target,
                realized_pnl=gain,
                r_multiple=round(gain / risk, 4),
                pnl_pct=round(gain / entry / quantity, 5),
                close_reason="target",
            )
            if closed_at
            else {}
        )
        return self.insert(
            "positions", "position_id", position_key=key, cycle_id=self.cycle, security_id=self.ids[symbol], signal_id=signal, side=side,
            quantity=quantity, open_quantity=0 if closed_at else quantity, entry_price=entry, stop_price=stop, target_price=target,
            risk_amount=risk, status="closed" if closed_at else "open", opened_at=filled_at, closed_at=closed_at, fees=0.70 if closed_at else 0.35, **over,
        )  # fmt: skip

    def trades(self):
        self.bracket("NVDA", at(10), "long", 40, 2.1, at(10, 7), at(12, 38))
        self.bracket("MRNA", at(10), "long", 60, 1.4, at(10, 11))
        self.bracket("BA", at(12), "short", 25, 1.9)
        entry = round(self.price("AAPL", at(12)), 2)
        signal = self.signal("AAPL", at(12), "long", entry, entry - 1, entry + 2)
        self.approval(
            "AAPL",
            at(12),
            signal,
            "buy",
            entry,
            entry - 1,
            entry + 2,
            50,
            refused=("positions", "sector_exposure"),
        )
        self.insert(
            "pattern_analysis", security_id=self.ids["NVDA"], time_id=time_id(at(9, 45)), timeframe="15min", pattern_type="opening_range_breakout",
            bias="bullish", pivot_at=at(9, 30), confirmed_at=at(10), confidence_score=0.66, price_at_detection=self.price("NVDA", at(10)),
        )  # fmt: skip

    def running(self):
        for when, name, status, error in ((at(8), "10_news", "completed", None), (at(9, 15), "20_scan", "completed", None), (at(10), "50_trade", "completed", None),
                                          (at(10, 15), "30_collect", "failed", "UnavailableError: bars: the feed does not answer")):  # fmt: skip
            local = f"{when - timedelta(hours=4):%Y%m%d-%H%M%S}"
            self.insert("runs", run_id=f"{local}-{self.world}-{name}", notebook=name, session=SESSION.day, slot_at=when, parameters={}, status=status,
                        started_at=when, ended_at=when + timedelta(seconds=3), error=error)  # fmt: skip
            self.insert(
                "workflow_log",
                cycle_id=self.cycle,
                step=name,
                slot_at=when,
                status="started",
                details={},
            )
            self.insert(
                "workflow_log",
                cycle_id=self.cycle,
                step=name,
                slot_at=when,
                status=status,
                details={"due": 101, "done": 101},
                error_message=error,
            )
        self.insert("workflow_log", cycle_id=self.cycle, step="50_trade", slot_at=at(12), status="completed",
                    details={"due": 3, "done": 3, "no_plan": {"TSLA": "tone 0.12 is weak: no direction"}})  # fmt: skip
        self.insert(
            "service_health",
            service_name="bars",
            status="healthy",
            last_check=at(12),
            last_output_at=at(12),
        )
        self.insert(
            "service_health",
            service_name="news",
            status="degraded",
            last_check=at(12),
            error_message="timeout after 10 s",
        )
        for n, (kind, reason) in enumerate(
            (
                ("bars", "zero volume: nothing traded"),
                ("bars", "zero volume: nothing traded"),
                ("news", "no headline"),
            )
        ):
            self.insert(
                "quarantine",
                kind=kind,
                feed="simulated",
                reason=reason,
                row_hash=str(n),
                row_text=f"('ZZZ', {n}, 0.0)",
                seen_at=at(8),
            )
        self.insert("risk_events", event_key="e1", cycle_id=self.cycle, security_id=self.ids["MRNA"], event_type="protected", severity="warning",
                    message="MRNA had no exit", action_taken="a stop was placed", occurred_at=at(10, 30))  # fmt: skip
