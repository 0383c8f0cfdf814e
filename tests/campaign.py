"""Proof by breaking: a day of trading at the loopback Alpaca in which everything goes wrong, judged afterwards.

    python tests/campaign.py 1000            # seeds 0 to 999; prints runs, faults of each kind, violations
    python tests/campaign.py --seed 42 -v    # one of them again, with what happened in every pass
    python tests/campaign.py 50 --streams    # the same with the three streams open and a watchman who reconciles on their updates

Every schedule follows from its seed: a market, wishes to trade, faults of the server (`alpaca_bench.Faults`), lost database
connections, and deaths. The client is a process of its own that runs one pass (advance, reconcile, monitor, assess, enter) through
`AlpacaBroker` and is killed with -9 at a labelled step: before and after every commit, every write that commits by itself, and
every question to the broker. The labels are put round `Store` and `AlpacaBroker` from outside; the product knows nothing of them.
What dies is started again, now or at a later slot. At the end the server is healed, some passes follow in which nothing fails,
and a judge compares our database with the books of the server, which nobody could spoil:

no duplicate order, no position without exits or alarm, no order without approval, no fill lost, cash and positions equal, limits
kept, nothing alive that we believe to be dead. The same seed gives the same SHA-256 over all orders and fills (not with streams: two
threads then race for the right to act, which is what is tried).
"""

import argparse
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import wraps
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent))

from catalyst.clock import ReplayClock, get_session, session_offset
from catalyst.config import Config
from catalyst.core import (
    OrderType,
    PositionSide,
    Secret,
    Settings,
    Timeframe,
    UnavailableError,
    World,
)
from catalyst.ports import ASSET_COLUMNS, BAR_COLUMNS, NEWS_COLUMNS, to_tick

SLOT = timedelta(minutes=15)
SYMBOLS = ("ALFA", "BETA", "GAMA", "DELT", "EPSI", "ZETA", "ETAA", "THET")
CYCLE = "20250813-alpaca"
FIRST = date(2025, 8, 13)
TABLES = "trading_cycles, risk_approvals, risk_events, orders, order_events, fills, positions, daily_risk_metrics"
D = Decimal


# ---------------------------------------------------------------- the market


class Walk:
    "A `ports.Feed`: quarter hours of a random walk, some sessions long"

    name, simulated, timeframes = "walk", True, (Timeframe.MIN15,)

    def __init__(self, seed, sessions):
        import pandas as pd

        rows = []
        for n, symbol in enumerate(SYMBOLS):
            rng = random.Random(f"{seed}/{symbol}")
            price, calm = rng.uniform(15, 180), rng.uniform(0.002, 0.008)
            for day in sessions:
                price *= 1 + rng.gauss(0, 0.012)
                for i in range(26):
                    o = price * (1 + rng.gauss(0, calm / 4))
                    price = c = o * (1 + rng.gauss(0, calm))
                    high, low = (
                        max(o, c) * (1 + rng.uniform(0, calm)),
                        min(o, c) * (1 - rng.uniform(0, calm)),
                    )
                    ts = pd.Timestamp(day.opens) + SLOT * i
                    row = (
                        symbol,
                        ts,
                        *(round(x, 2) for x in (o, high, low, c)),
                        rng.choice([4e3, 5e4, 1e6]),
                        ts + SLOT,
                    )
                    rows.append(row)
        self.frame = (
            pd.DataFrame(rows, columns=BAR_COLUMNS)
            .sort_values(["ts", "symbol"])
            .reset_index(drop=True)
        )

    def bars(self, symbols, timeframe, start, end, asof):
        f = self.frame
        keep = (f.ts >= start) & (f.ts < end) & (f.available_at <= asof)
        return f[keep if symbols is None else keep & f.symbol.isin(symbols)].reset_index(drop=True)

    def last(self, symbol, asof):
        f = self.frame
        return float(f[(f.symbol == symbol) & (f.available_at <= asof)].close.iloc[-1])

    def news(self, start, asof):
        import pandas as pd

        return pd.DataFrame(columns=NEWS_COLUMNS)

    def quotes(self, symbols, asof):
        return None

    def assets(self):
        import pandas as pd

        return pd.DataFrame([(s, s, None, "stock", True) for s in SYMBOLS], columns=ASSET_COLUMNS)


# ---------------------------------------------------------------- what a seed means


HTTP_FAULTS = {
    "429": 0.04, "429_bare": 0.03, "500": 0.04, "502": 0.03, "503": 0.03, "504": 0.04, "reset_before": 0.04, "500_after": 0.05,
    "504_after": 0.06, "reset_after": 0.06, "lost_reply": 0.08, "slow": 0.04, "truncated": 0.05, "cut_json": 0.05, "foreign": 0.04,
    "html": 0.04, "empty": 0.05, "unknown_enum": 0.05, "missing_field": 0.03,
}  # fmt: skip
BOOK_FAULTS = {
    "reject_late": 0.20, "legs_missing": 0.15, "exits_day": 0.15, "stuck_cancel": 0.15, "cancel_fills": 0.25, "partial": 0.30,
}  # fmt: skip
STREAM_FAULTS = {
    "duplicate": 0.3,
    "reorder": 0.3,
    "drop": 0.2,
    "drop_socket": 0.1,
    "406": 0.1,
    "429_stream": 0.1,
    "auth_refused": 0.05,
}
HANGS = ("hang", "hang_after")
PLACES = (
    "*",
    "*",
    "*",
    "orders.post",
    "orders.*",
    "orders.by_client",
    "orders.one",
    "orders.cancel",
    "positions.list",
    "activities",
)
KILL_FIRST, KILL_AGAIN, DROP_DATABASE = (
    0.035,
    0.006,
    0.0015,
)  # Chance at a step: its first visit in a pass, a later one; either
MOST_DEATHS = 3  # Of one pass
PERSON, LATER, HAND = (
    "the campaign",
    timedelta(seconds=40),
    "hand-",
)  # Who halts, how late; names of orders of others


@dataclass
class Schedule:
    "Everything that a seed decides before the day begins"

    seed: int
    sessions: list
    slots: list  # Instants of the passes
    config: dict
    rates: dict
    switches: dict
    halts: dict  # Number of the pass to symbols that do not trade until the next one
    wishes: dict  # Number of the pass to what somebody wants to buy or sell
    emergency: set  # Passes that stop everything
    meddled: set  # Passes before which a person cancels exits at the broker's own page
    plugs: set = field(
        default_factory=set
    )  # Passes in which a person halts after the slot, before the entries
    sold: set = field(default_factory=set)  # Passes before which a person sells what we hold
    trails: set = field(default_factory=set)  # Passes in which exits become trailing stops

    def __str__(self):
        told = " ".join(f"{k}={v}" for k, v in (self.rates | self.switches).items())
        told += f" emergency={sorted(self.emergency)} meddled={sorted(self.meddled)}"
        told += f" plugs={sorted(self.plugs)} sold={sorted(self.sold)} trails={sorted(self.trails)}"
        return f"seed {self.seed}: {len(self.slots)} passes, {sum(map(len, self.wishes.values()))} wishes, {told} {self.config}"


def schedule(seed):
    "The schedule of a seed"
    rng = random.Random(f"campaign/{seed}")
    overnight = rng.random() < 0.35
    days = [get_session(FIRST), session_offset(FIRST, 1)][: 1 + overnight]
    slots = []
    for day in days:
        inside = sorted(rng.sample(range(2, 24), rng.randint(3, 5)))
        slots += [day.opens + SLOT * i for i in inside] + [
            day.closes - SLOT,
            day.closes + timedelta(minutes=5),
        ]
    config = {
        "max_positions": rng.choice([2, 3, 5]),
        "close_at_end_of_day": not overnight,
        "scale_out_r": rng.choice([0.0, 1.0]),
    }
    config |= {
        "max_daily_loss_usd": rng.choice([300.0, 2000.0]),
        "max_consecutive_losses": rng.choice([3, 10]),
    }
    rates = {}
    for kind in rng.sample(sorted(HTTP_FAULTS), rng.randint(2, 5)):
        place = rng.choice(PLACES)
        rates[kind if place == "*" else f"{kind}@{place}"] = HTTP_FAULTS[kind] * (
            1.5 if place == "*" else 5
        )
    for kind in rng.sample(sorted(BOOK_FAULTS), rng.randint(0, 4)):
        rates[kind] = BOOK_FAULTS[kind]
    if rng.random() < 0.05:
        rates[f"{rng.choice(HANGS)}@orders.*"] = 0.03
    switches = {"invisible": rng.choice([0, 0, 0, 1, 2]), "cancel_lag": rng.choice([0, 0, 1, 2])}
    halts = {i: [rng.choice(SYMBOLS)] for i in range(len(slots)) if rng.random() < 0.1}
    wishes = {i: [_wish(rng) for _ in range(rng.randint(0, 3))] for i in range(len(slots))}
    rare = lambda share: {i for i in range(len(slots)) if rng.random() < share}
    emergency, meddled = rare(0.01), rare(0.04)
    plugs, sold, trails = rare(0.05), rare(0.20), rare(0.10)
    return Schedule(
        seed, [session_offset(FIRST, -1), *days], slots, config, rates, switches, halts, wishes, emergency, meddled, plugs, sold, trails
    )  # fmt: skip


def _wish(rng):
    "Something to trade, in shares of the last price"
    stop = rng.uniform(0.006, 0.03)
    return {
        "symbol": rng.choice(SYMBOLS), "side": rng.choice(["long", "long", "short"]), "offset": rng.uniform(-0.002, 0.003),
        "stop": stop, "target": stop * rng.uniform(1.4, 2.6), "type": rng.choice(["limit"] * 6 + ["market", "stop"]),
        "size": rng.choice([1.0, 1.0, 1.0, 0.3, 5.0]), "life": rng.choice([20, 60, 180]),
    }  # fmt: skip


def chance(*parts):
    "A number from 0 to 1 that follows from its parts"
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8]) / 2**64


# ---------------------------------------------------------------- the client: one pass in a process that may die


class Steps:
    "Labelled steps: at each one the process may die, or lose its database"

    def __init__(self, job, out):
        self.job, self.out, self.visits = job, out, Counter()

    def say(self, **told):
        os.write(self.out, (json.dumps(told) + "\n").encode())

    def at(self, label):
        self.visits[label] += 1
        job, n = self.job, self.visits[label]
        if not job["kills"]:
            return
        u = chance(job["seed"], job["number"], job["attempt"], label, n)
        p = (KILL_FIRST if n == 1 else KILL_AGAIN) if job["attempt"] < MOST_DEATHS else 0
        if u < p:
            self.say(killed=label)
            os.kill(os.getpid(), signal.SIGKILL)
        elif u > 1 - DROP_DATABASE:
            self.say(dropped=label)
            self.drop()

    def drop(self):
        "The server ends every connection of this database"
        from catalyst.store import connect

        with connect(self.job["database"]) as c:
            c.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            )


def _caller():
    "The function of the product that is at work, as module.function"
    frame = sys._getframe(2)
    while frame:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("catalyst.") and name not in (
            "catalyst.store",
            "catalyst.alpaca_broker",
            "catalyst.alpaca_api",
        ):
            return f"{name[9:]}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "campaign"


def labelled(steps):
    "Put steps round everything that a database or a broker remembers"
    from catalyst.alpaca_broker import AlpacaBroker
    from catalyst.store import Store, Tx

    begin, run, upsert = Store.transaction, Tx._run, Tx.upsert

    @contextmanager
    def transaction(self):
        who = _caller()
        with begin(self) as tx:
            tx.wrote = False
            yield tx
            if tx.wrote:
                steps.at(f"{who}: before commit")
        if tx.wrote:
            steps.at(f"{who}: after commit")

    def statement(self, sql, params):
        self.wrote = getattr(self, "wrote", False) or bool(
            re.match(r"\s*(insert|update|delete)", sql)
        )
        return run(self, sql, params)

    def bulk(self, *args, **kwargs):
        self.wrote = True
        return upsert(self, *args, **kwargs)

    Store.transaction, Tx._run, Tx.upsert = transaction, statement, bulk
    for name in ("submit", "cancel", "order_by_client_id", "orders", "positions", "account"):
        setattr(AlpacaBroker, name, _asked(getattr(AlpacaBroker, name), name, steps))


def _asked(call, name, steps):
    @wraps(call)
    def asked(self, *args, **kwargs):
        if sys._getframe(1).f_globals.get("__name__") == "catalyst.alpaca_broker":
            return call(self, *args, **kwargs)
        label = f"{_caller()}: {name}"
        steps.at(f"before {label}")
        try:
            return call(self, *args, **kwargs)
        finally:
            steps.at(f"after {label}")

    return asked


def one_pass(job, steps):
    "What the desk does at an instant"
    from catalyst.alpaca_api import connect
    from catalyst.alpaca_broker import AlpacaBroker
    from catalyst.emergency import emergency_stop
    from catalyst.exits import trail
    from catalyst.held import open_positions
    from catalyst.reconcile import reconcile
    from catalyst.states import halt, resume
    from catalyst.store import Store
    from catalyst.watch import monitor

    store, asof = Store(job["database"]), datetime.fromisoformat(job["asof"])
    clock, config = ReplayClock(asof), Config(job["config"])
    key, secret = job["keys"]
    settings = Settings(
        home=Path(job["home"]), world=World.ALPACA, alpaca_key=Secret(key), alpaca_secret=Secret(secret),
        alpaca_trading_url=job["url"], alpaca_data_url=job["url"], alpaca_stream_url=job["streams"],
    )  # fmt: skip
    line = lambda: connect(settings, store, clock, timeout=(2, job["patience"]), wait=0.0)
    broker = AlpacaBroker(line(), clock)
    with listening(job, settings, store, lambda: AlpacaBroker(line(), clock), config, clock):
        broker.advance(asof)
        report = reconcile(store, broker, asof)
        if job["emergency"]:
            emergency_stop(store, broker, asof, "the campaign says so", World.ALPACA)
        elif job["resume"]:
            resume(store, World.ALPACA, "it is over", PERSON, asof, settings.home)
        monitor(store, broker, CYCLE, asof, config)
        for p in open_positions(store) if job["trail"] else ():
            if p["last_price"]:
                trail(store, broker, p, to_tick(p["last_price"] * D("0.02")), asof)
        if job["plug"]:
            halt(store, World.ALPACA, "the plug is pulled", PERSON, asof + LATER)
        if job["wishes"]:
            trade(job, settings, store, broker, config, asof, report)
    store.close()


@contextmanager
def listening(job, settings, store, make_broker, config, clock):
    "A watchman beside the pass, where streams are wanted"
    if not job["streams"]:
        yield
        return
    from catalyst.alpaca_streams import Streams
    from catalyst.watchman import Watchman

    line = make_broker().alpaca
    streams = lambda inbox: Streams(
        line, list(SYMBOLS), inbox, clock, silence=2.0, backoff=(0.05, 0.2)
    )
    with Watchman(settings, store, make_broker, config, clock, streams) as watchman:
        watchman.ready.wait(5)
        yield
        watchman.ready.clear()
        watchman.ready.wait(1)


def trade(job, settings, store, broker, config, asof, report):
    "Assess, then judge and enter what was wished for"
    from catalyst.account import read_book
    from catalyst.risk import approve
    from catalyst.sizing import suggest
    from catalyst.states import assess, rejection_streak
    from catalyst.trade import enter

    for n, wish in enumerate(job["wishes"]):
        sid = store.value("select security_id from securities where symbol = :s", s=wish["symbol"])
        book = read_book(store, broker.account(), broker.positions(), [sid], asof)
        close = {h.security_id: 0.0 for h in book.holdings}
        known = replace(
            book.of(sid),
            tradable=True,
            bar_at=asof,
            correlations=close,
            mean_volume=D(10**7),
            atr_pct=D("0.01"),
        )
        book = replace(book, facts={sid: known})
        streak = rejection_streak(store, World.ALPACA, asof)
        assess(
            store,
            World.ALPACA,
            book,
            config,
            asof,
            settings.home,
            streak,
            timedelta(0),
            getattr(report, "trouble", ()),
        )
        proposal = propose(wish, sid, n, asof)
        size, _ = suggest(proposal, book, config)
        quantity = max(1, int(size * wish["size"]))
        decision = approve(
            store, CYCLE, None, replace(proposal, quantity=D(quantity)), book, config
        )
        if decision.approved:
            enter(store, broker, decision, asof)


def propose(wish, sid, n, asof):
    from catalyst.proposals import Proposal

    sign = 1 if wish["side"] == "long" else -1
    entry = wish["last"] * (1 + wish["offset"])
    price = lambda share, way: to_tick(round(entry * (1 + sign * share), 4), way)
    way = "up" if sign > 0 else "down"
    return Proposal(
        sid, wish["symbol"], PositionSide(wish["side"]), D(1), to_tick(round(entry, 4)), price(-wish["stop"], way),
        price(wish["target"], way), f"wish{n}", asof, asof + timedelta(minutes=wish["life"]), order_type=OrderType(wish["type"]),
    )  # fmt: skip


def child(job, out):
    "Run one pass and say how it ended; never returns"
    code, steps = 0, Steps(job, out)
    try:
        import urllib3.util.retry as retry

        retry.time = type(
            "NoSleep", (), {"sleep": staticmethod(lambda seconds: None), "time": retry.time.time}
        )
        labelled(steps)
        one_pass(job, steps)
    except UnavailableError as e:
        steps.say(failed=f"{type(e).__name__}: {e}")
    except BaseException as e:
        frames = [
            f"{Path(f.filename).name}:{f.lineno}"
            for f in traceback.extract_tb(e.__traceback__)
            if "/catalyst/" in f.filename
        ]
        steps.say(
            crashed=f"{type(e).__name__}: {e}".splitlines()[0][:300],
            where=" < ".join(frames[:-4:-1]),
        )
        steps.say(trace=traceback.format_exc()[-3000:])
        code = 1
    steps.say(labels=sorted(steps.visits))
    os._exit(code)


def nursery():
    "Fork a client for every line of work: a process without threads, with everything imported"
    import catalyst.account  # noqa: F401
    import catalyst.alpaca_broker  # noqa: F401
    import catalyst.emergency  # noqa: F401
    import catalyst.reconcile  # noqa: F401
    import catalyst.risk  # noqa: F401
    import catalyst.watch  # noqa: F401
    import alpaca.trading.client  # noqa: F401
    import pandas  # noqa: F401
    import psycopg  # noqa: F401
    import sqlalchemy.dialects.postgresql.psycopg  # noqa: F401

    get_session(FIRST)  # The calendar takes seconds, once
    for line in sys.stdin:
        read, write = os.pipe()
        if (pid := os.fork()) == 0:
            os.close(read)
            child(json.loads(line), write)
        os.close(write)
        with os.fdopen(read) as f:
            told = [json.loads(x) for x in f]
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"exit": os.waitstatus_to_exitcode(status), "told": told}), flush=True)


# ---------------------------------------------------------------- the judge


@dataclass
class Outcome:
    "What became of a schedule"

    seed: int
    passes: int = 0
    deaths: Counter = field(default_factory=Counter)  # By label
    dropped: int = 0  # Database connections
    failed: int = 0  # Passes that gave up
    faults: Counter = field(default_factory=Counter)  # By kind
    labels: set = field(default_factory=set)
    orders: int = 0
    fills: int = 0
    alarmed: int = 0  # Positions whose exits are missing and told
    violations: list = field(default_factory=list)
    fingerprint: str = ""
    log: list = field(default_factory=list)


class Judge:
    "Our database against the books of the server"

    def __init__(self, store, state, config, outcome):
        self.store, self.state, self.config, self.outcome = store, state, config, outcome
        self.parents = [o for o in state["orders"] if not o["parent_id"]]
        self.theirs = {o["id"]: o for o in state["orders"]}
        rows = store.rows(
            """select o.*, s.symbol, a.verdict, a.quantity as approved, a.decided_at from orders o
               join securities s using (security_id) left join risk_approvals a using (approval_id) order by order_id"""
        )
        self.ours = {r["client_order_id"]: r for r in rows}
        self.hands = {o["id"] for o in self.parents if o["client_order_id"].startswith(HAND)}
        self.parents = [o for o in self.parents if o["id"] not in self.hands]

    def _excused(self, symbol):
        "Whether a person has traded in a symbol, and a difference in it was told as critical"
        hands = {self.theirs[i]["symbol"] for i in self.hands}
        sql = """select 1 from risk_events where event_type = 'books_differ' and severity = 'critical'
                 and strpos(message, :s) > 0 limit 1"""
        return symbol in hands and bool(self.store.value(sql, s=f" {symbol}: "))

    def wrong(self, kind, text):
        self.outcome.violations.append(f"{kind}: {text}")

    def all(self):
        for check in (
            self.approvals,
            self.fills,
            self.sides,
            self.books,
            self.lives,
            self.exits,
            self.limits,
            self.profit,
            self.flat,
        ):
            check()

    def approvals(self):
        "Every order at the server is ours, approved, no larger than approved, and there is one for each approval"
        for o in self.parents:
            row = self.ours.get(o["client_order_id"])
            if row is None:
                self.wrong("no intent", f"{o['symbol']} {o['client_order_id']}")
            elif row["verdict"] != "approved":
                self.wrong("no approval", o["client_order_id"])
            elif D(o["qty"]) > row["approved"] or (o["side"], o["symbol"]) != (
                row["side"],
                row["symbol"],
            ):
                self.wrong("not as approved", o["client_order_id"])
        used = Counter(r["approval_id"] for r in self.ours.values())
        for approval, n in used.items():
            if n > 1:
                self.wrong("duplicate", f"approval {approval} has {n} orders")

    def fills(self):
        "Execution by execution"
        theirs = {
            f["execution_id"]: (D(f["qty"]), D(f["price"]), f["client_order_id"])
            for f in self.state["fills"]
        }
        ours = {
            f["execution_id"]: f
            for f in self.store.rows(
                "select execution_id, quantity, price from fills union all select execution_id, quantity, price from foreign_fills"
            )
        }
        for e in sorted(theirs.keys() - ours.keys()):
            self.wrong("fill lost", f"{e} {theirs[e]}")
        for e in sorted(ours.keys() - theirs.keys()):
            self.wrong("fill invented", f"{e} {ours[e]['quantity']} at {ours[e]['price']}")
        for e in sorted(ours.keys() & theirs.keys()):
            if (ours[e]["quantity"], ours[e]["price"]) != theirs[e][:2]:
                self.wrong("fill differs", e)

    def sides(self):
        "No exit ever turns a position, and no second entry meets a position or an entry that lives"
        held, entries = (
            defaultdict(Decimal),
            {o["id"]: o for o in self.parents if o["order_class"] in ("bracket", "")},
        )
        for f in self.state["fills"]:
            q = D(f["qty"]) * (1 if f["side"] == "buy" else -1)
            before = held[f["symbol"]]
            held[f["symbol"]] += q
            if f["order_id"] in self.hands:
                continue
            row = self.ours.get(self._top(f["order_id"])["client_order_id"])
            entry = row and row["purpose"] == "entry" and f["order_id"] in entries
            if before * held[f["symbol"]] < 0:
                self.wrong("turned over", f"{f['symbol']} {before} to {held[f['symbol']]}")
            if not entry and abs(held[f["symbol"]]) > abs(before):
                self.wrong("exit opened", f"{f['symbol']} {f['client_order_id']}")

    def _top(self, order_id):
        o = self.theirs[order_id]
        return self.theirs[o["parent_id"]] if o["parent_id"] else o

    def books(self):
        "Positions and cash"
        sign = {"long": 1, "short": -1}
        rows = self.store.rows(
            "select s.symbol, p.side, p.open_quantity from positions p join securities s using (security_id) where p.status = 'open'"
        )
        ours = {r["symbol"]: r["open_quantity"] * sign[r["side"]] for r in rows}
        theirs = {p["symbol"]: D(p["qty"]) for p in self.state["positions"]}
        differ = [s for s in sorted(ours | theirs) if ours.get(s) != theirs.get(s)]
        if any(not self._excused(s) for s in differ):
            self.wrong("positions differ", f"ours {_plain(ours)}, theirs {_plain(theirs)}")
        flow = self.store.value(
            """select coalesce(sum(case side when 'buy' then -1 else 1 end * quantity * price - fees), 0) from
               (select side, quantity, price, fees from fills union all select side, quantity, price, fees from foreign_fills) f"""
        )
        flow += D(self.state["charges"])  # Taken after the close, by no execution
        if D(self.state["start_cash"]) + flow != D(self.state["cash"]):
            self.wrong(
                "cash differs",
                f"ours {D(self.state['start_cash']) + flow}, theirs {self.state['cash']}",
            )

    def lives(self):
        "What lives there lives here, what has ended there has ended here"
        by_id = {r["broker_order_id"]: r for r in self.ours.values() if r["broker_order_id"]}
        ended = {"filled", "canceled", "expired", "rejected", "replaced"}
        for o in self.theirs.values():
            row = by_id.get(o["id"])
            if o["id"] in self.hands:
                continue
            if row is None:
                self.wrong("not adopted", f"{o['symbol']} {o['client_order_id']} {o['status']}")
            elif (row["ended_at"] is not None) != (o["status"] in ended):
                self.wrong(
                    "lives differ",
                    f"{row['client_order_id']} ours {row['status']}, theirs {o['status']}",
                )
        for row in self.ours.values():
            if row["ended_at"] is None and row["broker_order_id"] not in self.theirs:
                self.wrong("waits for ever", f"{row['client_order_id']} {row['status']}")
        for row in self.store.rows(
            """select o.client_order_id, string_agg(e.status, ' ' order by e.event_id) as path from order_events e
               join orders o using (order_id) group by 1"""
        ):
            if any(s in ended for s in row["path"].split()[:-1]):
                self.wrong("came back", f"{row['client_order_id']}: {row['path']}")

    def exits(self):
        "Every share that is held has a stop or is being sold, or somebody was called"
        sql = "select symbol, quantity from foreign_positions where gone_at is null"
        foreign = {r["symbol"]: r["quantity"] for r in self.store.rows(sql)}
        for p in self.state["positions"]:
            held, covered = D(p["qty"]) - foreign.get(p["symbol"], 0), D(0)
            for o in self.theirs.values():
                against = o["symbol"] == p["symbol"] and (o["side"] == "sell") == (held > 0)
                asleep = (
                    o["parent_id"]
                    and o["order_class"] == "bracket"
                    and self.theirs[o["parent_id"]]["status"] != "filled"
                )
                ended = o["status"] in ("filled", "canceled", "expired", "rejected", "replaced")
                if (
                    against
                    and not ended
                    and not asleep
                    and o["type"] in ("stop", "stop_limit", "trailing_stop", "market")
                ):
                    covered += D(o["qty"]) - D(o["filled_qty"])
            if covered >= abs(held):
                continue
            told = self.store.rows(
                """select event_type from risk_events left join securities using (security_id)
                   where severity = 'critical' and occurred_at >= cast(:d as date)
                   and (symbol = :s or event_type = 'unanswered' and security_id is null
                        or event_type = 'books_differ' and strpos(message, :gap) > 0)""",
                s=p["symbol"],
                gap=f" {p['symbol']}: ",
                d=self.state["now"][:10],
            )
            self.outcome.alarmed += bool(told)
            if not told:
                self.wrong("bare", f"{p['symbol']} {held}, protected {covered}, nobody was told")

    def flat(self):
        "After the close nothing is held, or somebody was called"
        told = {
            r["symbol"]
            for r in self.store.rows(
                "select symbol from risk_events join securities using (security_id) where event_type = 'not_flat'"
            )
        }
        for p in self.state["positions"] if self.config.close_at_end_of_day else ():
            if p["symbol"] not in told and not self._excused(p["symbol"]):
                self.wrong("not flat", f"{p['symbol']} {p['qty']}, and nobody was told")

    def limits(self):
        "Positions and entries at one time, the size of each, the risk of all"
        self._most_positions()
        for o in self.parents:
            row = self.ours.get(o["client_order_id"])
            price = o["limit_price"] or o["stop_price"]
            if (
                row
                and row["purpose"] == "entry"
                and price
                and D(o["qty"]) * D(price) > self.config.max_position_usd
            ):
                self.wrong("limit", f"{o['client_order_id']} is worth {D(o['qty']) * D(price)}")
        rows = self.store.rows(
            """select a.decided_at, a.approval_id, cast(a.snapshot->'book'->>'equity' as numeric) as equity,
                      (select sum(b.risk_amount) from risk_approvals b where b.purpose = 'entry' and b.verdict = 'approved'
                       and b.approval_id <= a.approval_id and (b.released_at is null or b.released_at > a.decided_at)
                       and exists (select from orders o where o.approval_id = b.approval_id)) as risk
               from risk_approvals a where a.purpose = 'entry' and a.verdict = 'approved'"""
        )
        for r in rows:
            if (r["risk"] or 0) > r["equity"] * D(str(self.config.max_portfolio_risk_pct)) + 1:
                self.wrong(
                    "limit",
                    f"approval {r['approval_id']}: open risk {r['risk']} of equity {r['equity']}",
                )
        states = self.store.rows(
            "select state_id, cast(state as text) as state, set_at, set_by from risk_states order by state_id"
        )
        for n, h in enumerate(states):
            if h["state"] == "active":
                continue
            until = next((s["set_at"] for s in states[n:] if s["state"] == "active"), None)
            for name in self.store.rows(
                """select approval_key from risk_approvals where purpose = 'entry' and verdict = 'approved' and decided_at > :t
                   and (cast(:u as timestamptz) is null or decided_at < :u)""",
                t=h["set_at"] - (LATER + timedelta(seconds=1) if h["set_by"] == PERSON else timedelta(0)), u=until,
            ):  # fmt: skip
                self.wrong(
                    "limit", f"{name['approval_key']} was approved while entries were stopped"
                )

    def _most_positions(self):
        "Symbols with a position or a living entry, whenever an entry was taken"
        instant = lambda t: datetime.fromisoformat(t)
        end = lambda o: min(
            (
                instant(o[k])
                for k in ("canceled_at", "expired_at", "failed_at", "filled_at")
                if o[k]
            ),
            default=None,
        )
        spans = []
        for o in self.parents:
            row = self.ours.get(o["client_order_id"])
            if row is None or row["purpose"] != "entry":
                continue
            until, shares = end(o), D(0)
            if D(o["filled_qty"]) > 0:
                until = None
                for f in self.state["fills"]:
                    if (
                        f["symbol"] != o["symbol"]
                        or instant(f["at"]) < instant(o["created_at"]) - SLOT
                    ):
                        continue
                    shares += D(f["qty"]) * (1 if f["side"] == o["side"] else -1)
                    if shares == 0:
                        until = instant(f["at"])
                        break
            spans.append((instant(o["created_at"]), until, o["symbol"], o["client_order_id"]))
        for start, _, symbol, name in spans:
            alive = [s for s in spans if s[0] <= start and (s[1] is None or s[1] > start)]
            if len({s[2] for s in alive}) > self.config.max_positions:
                self.wrong(
                    "limit",
                    f"{name}: {sorted({s[2] for s in alive})} at once, {self.config.max_positions} allowed",
                )
            if len([s for s in alive if s[2] == symbol]) > 1:
                self.wrong(
                    "duplicate", f"{name}: {[s[3] for s in alive if s[2] == symbol]} live together"
                )

    def profit(self):
        "What positions say they made is what the cash says"
        made = self.store.value("select coalesce(sum(realized_pnl), 0) from positions")
        cost = self.store.value(
            "select coalesce(sum(open_quantity * entry_price * case side when 'long' then 1 else -1 end), 0) from positions where status = 'open'"
        )
        n = self.store.value("select count(*) from positions")
        if any(self._excused(s) for s in SYMBOLS):
            return
        moved = D(self.state["cash"]) - D(self.state["start_cash"]) - D(self.state["charges"])
        moved -= self.store.value(  # What strangers bought and sold for themselves
            """select coalesce(sum(case side when 'buy' then -1 else 1 end * quantity * price - fees), 0)
               from foreign_fills where position_id is null"""
        )
        gap = moved - (made - cost)
        if abs(gap) > D("0.05") * (n + 1):
            self.wrong("profit differs", f"{gap} dollars over {n} positions")

    def fingerprint(self):
        "SHA-256 over orders and fills"
        orders = self.store.rows(
            """select client_order_id, purpose, side, order_type, quantity, limit_price, stop_price, status, filled_quantity, filled_avg_price,
                      intended_at, ended_at from orders order by client_order_id"""
        )
        fills = self.store.rows(
            "select execution_id, side, quantity, price, filled_at from fills order by execution_id"
        )
        text = json.dumps([orders, fills], default=str, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _plain(shares):
    return {s: f"{q.normalize():f}" for s, q in sorted(shares.items())}


# ---------------------------------------------------------------- the campaign


class Campaign:
    "A database, a nursery, and any number of schedules"

    def __init__(self, say=lambda line: None, patience=1.5, calm=15.0):
        "`patience`: seconds to wait for a server that hangs; `calm`: for one that does not, on a machine that may be busy"
        self.say, self.hasty, self.calm = say, patience, calm

    def __enter__(self):
        from catalyst.schema import scratch_store

        self._home = tempfile.TemporaryDirectory(prefix="catalyst-campaign-")
        self._scratch = scratch_store()
        self.store = self._scratch.__enter__()
        name = self.store.value("select current_database()")
        self.store.run(f'alter database "{name}" set synchronous_commit = off')
        env = os.environ | {"PYTHONHASHSEED": "0"}
        self.nursery = subprocess.Popen(
            [sys.executable, __file__, "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        with self.store.transaction() as tx:
            for s in SYMBOLS:
                tx.value("select get_or_create_security(:s)", s=s)
        return self

    def __exit__(self, *failed):
        self.nursery.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.nursery.wait(10)
        self.nursery.kill()
        self.nursery.stdout.close()
        self._scratch.__exit__(None, None, None)
        self._home.cleanup()

    def clean(self, plan):
        names = self.store.rows(
            """select table_name as name from information_schema.columns where table_schema = 'public' and table_name in
               ('foreign_positions', 'foreign_fills', 'cash_marks', 'risk_states', 'service_health') group by 1"""
        )
        self.store.run(
            f"truncate {', '.join([TABLES, *(r['name'] for r in names)])} restart identity cascade"
        )
        self.store.run(
            """insert into trading_cycles (cycle_id, session, world, started_at) values (:c, :d, 'alpaca', :t)""",
            c=CYCLE, d=FIRST, t=plan.sessions[1].opens,
        )  # fmt: skip

    def run(self, seed, kills=True, faults=True, streams=False):
        "One schedule, judged"
        from alpaca_bench import Bench, Faults

        plan, outcome = schedule(seed), Outcome(seed)
        self.say(str(plan))
        self.clean(plan)
        market, config = Walk(seed, plan.sessions), Config(plan.config)
        switches, rates = (
            (plan.switches, plan.rates | (STREAM_FAULTS if streams else {})) if faults else ({}, {})
        )
        hangs = any(kind.partition("@")[0] in HANGS for kind in rates)
        self.patience = self.hasty if hangs else self.calm
        trouble = Faults(
            seed=seed, rates=rates, hang_seconds=self.patience * 2, slow_seconds=0.05, **switches
        )
        with Bench(market, plan.sessions[1].opens, trouble, config=config) as bench:
            self.market, self.bench, self.streams = (
                market,
                bench,
                bench.stream_url if streams else "",
            )
            for number, asof in enumerate(plan.slots):
                mute = (
                    ["trade"] if streams and faults and chance(seed, "mute", number) < 0.2 else []
                )
                bench.set_faults(
                    {"halted": plan.halts.get(number, []) if faults else [], "mute": mute}
                )
                if faults and number in plan.meddled:
                    self._meddle(outcome)
                if faults and number in plan.sold:
                    self._sell(number, outcome)
                if self._slot(plan, number, asof, kills, outcome):
                    Judge(self.store, bench.state(), config, outcome).exits()
            bench.set_faults({"heal": True})
            self._recover(plan, outcome)
            state = bench.state()
            outcome.faults.update(state["faults"])
            outcome.faults["halts"] += sum(map(len, plan.halts.values())) if faults else 0
            outcome.faults["emergency stops"] += len(plan.emergency)
            outcome.faults["plugs pulled"] += len(plan.plugs)
        self.state, self.config = state, config
        judge = Judge(self.store, state, config, outcome)
        judge.all()
        outcome.orders, outcome.fills = len(state["orders"]), len(state["fills"])
        outcome.fingerprint = judge.fingerprint()
        return outcome

    def _meddle(self, outcome):
        "A person cancels an exit at the broker"
        from alpaca_bench import No

        books = self.bench.books
        with books.lock, suppress(No):
            for o in list(books.orders.values()):
                if (
                    not o.ended
                    and o.status != "pending_cancel"
                    and (o.parent and o.parent.status == "filled" or o.order_class == "oco")
                ):
                    outcome.faults["meddled"] += 1
                    books.cancel(o)
                    books.settle()
                    return

    def _sell(self, number, outcome):
        "A person ends the exits of what we hold, and sells it"
        from alpaca_bench import No

        books = self.bench.books
        with books.lock, suppress(No):
            for symbol, (shares, _) in sorted(books.held().items()):
                for o in list(books.orders.values()):
                    if o.symbol == symbol and not o.ended and o.status != "pending_cancel":
                        books.cancel(o)
                books.settle()
                asked = {
                    "symbol": symbol,
                    "side": "sell" if shares > 0 else "buy",
                    "type": "market",
                }
                asked |= {"qty": str(abs(shares)), "time_in_force": "day"}
                books.submit(asked | {"client_order_id": f"{HAND}{number}"})
                books.settle()
                outcome.faults["sold by hand"] += 1
                return

    def _slot(self, plan, number, asof, kills, outcome):
        "One pass, begun again after a death, or left out; true: it came to its end"
        for attempt in range(MOST_DEATHS + 1):
            told = self._pass(plan, number, asof, attempt, kills, outcome, plan.wishes[number])
            if told["exit"] == 0:
                return not any("failed" in t for t in told["told"])
            if chance(plan.seed, "goes on", number, attempt) < 0.3:
                return False
        return False

    def _recover(self, plan, outcome):
        "Nothing fails any more; the exits that wait for a bar get one"
        asof = plan.slots[-1]
        for n in range(3):
            asof += timedelta(minutes=1)
            told = self._pass(plan, 1000 + n, asof, 0, False, outcome, [])
            if told["exit"] or any("failed" in t for t in told["told"]):
                outcome.violations.append(
                    f"no recovery: {[t for t in told['told'] if 'labels' not in t]}"
                )

    def _pass(self, plan, number, asof, attempt, kills, outcome, wishes):
        wishes = [w | {"last": self.market.last(w["symbol"], asof)} for w in wishes]
        job = {
            "seed": plan.seed, "number": number, "attempt": attempt, "asof": asof.isoformat(), "kills": kills, "wishes": wishes,
            "database": self.store.url, "url": self.bench.trading_url, "keys": self.bench.keys, "home": self._home.name,
            "config": plan.config, "patience": self.patience, "streams": self.streams,
            "emergency": number in plan.emergency and attempt == 0,
            "plug": number in plan.plugs, "trail": number in plan.trails,
            "resume": number - 1 in plan.plugs and not any(n <= number for n in plan.emergency),
        }  # fmt: skip
        self.nursery.stdin.write(json.dumps(job) + "\n")
        self.nursery.stdin.flush()
        told = json.loads(self.nursery.stdout.readline())
        outcome.passes += 1
        for t in told["told"]:
            outcome.labels |= set(t.get("labels", ()))
            outcome.failed += "failed" in t
            outcome.dropped += "dropped" in t
            if "killed" in t:
                outcome.deaths[t["killed"]] += 1
            if "crashed" in t:
                outcome.violations.append(f"crash: {t['crashed']} ({t['where']})")
            if "labels" not in t:
                outcome.log.append(f"{asof:%d %H:%M}.{attempt} {t}")
                self.say(t["trace"] if "trace" in t else outcome.log[-1])
        return told


def run(seed, kills=True):
    "One schedule in a campaign of its own"
    with Campaign() as campaign:
        return campaign.run(seed, kills)


def report(outcomes, seconds):
    "The campaign in a few lines"
    total = lambda name: sum(getattr(o, name) for o in outcomes)
    faults, deaths, labels = Counter(), Counter(), set()
    for o in outcomes:
        faults.update(o.faults)
        deaths.update(o.deaths)
        labels |= o.labels
    bad = [o for o in outcomes if o.violations]
    lines = [
        f"{len(outcomes)} schedules, {total('passes')} passes, {total('orders')} orders and {total('fills')} fills in {seconds:.0f} s",
        f"deaths {sum(deaths.values())} at {len(deaths)} of {len(labels | set(deaths))} labelled steps; "
        f"database lost {total('dropped')} times; passes given up {total('failed')}",
        "faults " + ", ".join(f"{k} {n}" for k, n in sorted(faults.items())),
        f"positions without exits that were alarmed: {total('alarmed')}",
        f"violations {sum(len(o.violations) for o in outcomes)} in {len(bad)} schedules",
    ]
    kinds = Counter(v.partition(":")[0] for o in bad for v in o.violations)
    lines += [f"  {kind}: {n}" for kind, n in kinds.most_common()]
    lines += [f"  seed {o.seed}: {v}" for o in bad[:40] for v in o.violations[:4]]
    prints = hashlib.sha256("".join(o.fingerprint for o in outcomes).encode()).hexdigest()
    return "\n".join([*lines, f"fingerprint {prints}"])


def main(arguments=None):
    cli = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    cli.add_argument("schedules", nargs="?", type=int, default=20)
    cli.add_argument("--seed", type=int, help="only this one")
    cli.add_argument("--first", type=int, default=0)
    cli.add_argument("--no-kills", action="store_true")
    cli.add_argument("--no-faults", action="store_true")
    cli.add_argument("--streams", action="store_true")
    cli.add_argument("-v", action="store_true")
    cli.add_argument("--nursery", action="store_true", help=argparse.SUPPRESS)
    a = cli.parse_args(arguments)
    if a.nursery:
        return nursery()
    seeds = [a.seed] if a.seed is not None else range(a.first, a.first + a.schedules)
    began, outcomes = perf_counter(), []
    with Campaign(say=print if a.v else lambda line: None) as campaign, suppress(KeyboardInterrupt):
        for seed in seeds:
            outcomes.append(o := campaign.run(seed, not a.no_kills, not a.no_faults, a.streams))
            if len(outcomes) % 10 == 0:
                print(report(outcomes, perf_counter() - began), flush=True)
            if o.violations:
                print(f"seed {seed}:", *o.violations[:6], sep="\n  ", flush=True)
    print(report(outcomes, perf_counter() - began))
    return bool(any(o.violations for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
