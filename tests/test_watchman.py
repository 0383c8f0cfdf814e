"The thread that keeps the books in step: it looks when it should, and nothing ends it"

import random
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from test_streams import SmallAlpaca, connection

import catalyst.watchman as room
from catalyst.account import halts
from catalyst.alpaca_lines import Event
from catalyst.alpaca_streams import Owner, Streams
from catalyst.clock import ReplayClock, Stopwatch
from catalyst.core import InputError, Settings, UnavailableError, World
from catalyst.schema import scratch_store
from catalyst.states import current
from catalyst.watchman import Standing, Watchman, absorb, fill_gaps, followed, watch_alpaca

AT = datetime(2025, 8, 13, 14, tzinfo=UTC)
TABLES = "service_health, risk_events, risk_states, security_halts"


@pytest.fixture(scope="module")
def scratch():
    "One database for all of these; its tables are emptied"
    with scratch_store() as store:
        yield store


def until(true, seconds=8):
    watch = Stopwatch()
    while not (found := true()) and watch.seconds < seconds:
        threading.Event().wait(0.01)
    assert found


class Still:
    "Streams without a service; what is put into the inbox was told"

    def __init__(self, inbox):
        self.open, self.reopened = False, []

    def reopen(self, name, why):
        self.reopened.append((name, why))

    def follow(self, symbols):
        return False

    def status(self):
        return {}

    def owner(self, store):
        return Owner(store, "PA1")

    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, *failed):
        self.open = False


@pytest.fixture
def books(monkeypatch):
    "Comparisons that are counted and can be told to fail"
    told = SimpleNamespace(asked=[], fails=[], problems=[], fills=0)

    def reconcile(store, broker, asof):
        told.asked.append((broker, asof))
        if told.fails:
            raise told.fails.pop(0)
        fills, told.fills = told.fills, 0
        return SimpleNamespace(fills=fills, problems=list(told.problems), unprotected=[])

    monkeypatch.setattr(room, "reconcile", reconcile)
    monkeypatch.setattr(room, "PAUSE", 0.02)
    monkeypatch.setattr(room, "SPACING", 0.02)
    return told


@pytest.fixture
def desk(scratch, tmp_path):
    scratch.run(f"truncate {TABLES}")
    return SimpleNamespace(store=scratch, settings=Settings(home=tmp_path, world=World.ALPACA))


def watchman(desk, seconds=600.0, streams=Still, broker=object, feed=None):
    config = SimpleNamespace(reconcile_seconds=seconds)
    told = (desk.settings, desk.store, broker, config, ReplayClock(AT), streams, feed)
    return Watchman(*told)


def trade(n=0):
    return Event("trade", AT, {"event": "fill", "execution_id": f"e-{n}"})


# When it looks


def test_guard_06_it_compares_at_its_start(books, desk):
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
    assert books.asked[0][1] == AT


@pytest.mark.parametrize("event", [trade(), Event("gap", AT, {"stream": "trade", "until": AT})])
def test_guard_06_an_update_or_a_gap_is_a_reason_to_compare(books, desk, event):
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        w.inbox.put(event)
        until(lambda: w.status()["passes"] == 2)


def test_guard_06_it_compares_again_and_again(books, desk):
    with watchman(desk, seconds=0.1) as w:
        until(lambda: w.status()["passes"] >= 3)


def test_a_burst_of_updates_is_one_reason(books, desk):
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        for n in range(500):
            w.inbox.put(trade(n))
        until(lambda: w.status()["events"].get("trade") == 500)
        until(lambda: w.status()["passes"] >= 2)
        threading.Event().wait(0.2)
    assert len(books.asked) <= 4


def test_updates_without_end_leave_calls_for_the_exits(books, desk, monkeypatch):
    monkeypatch.setattr(room, "SPACING", 0.3)
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        for n in range(50):
            w.inbox.put(trade(n))
            threading.Event().wait(0.02)
        had = len(books.asked)
        until(lambda: len(books.asked) > had or w._since.seconds > 0.5)
    assert 2 <= had <= 6  # In a second and more: not one each


@pytest.mark.parametrize("error", [UnavailableError("no answer in time"), KeyError("k")])
def test_a_gap_or_a_halt_that_fails_does_not_stop_the_comparisons(books, desk, monkeypatch, error):
    def fails(*given):
        raise error

    monkeypatch.setattr(room, "write_halts", fails)
    with watchman(desk, seconds=0.1) as w:
        until(lambda: w.status()["passes"] >= 3)
        assert w.status()["lag"] and w.status()["error"] is None and not w.status()["failures"]
    row = desk.store.rows("select * from service_health where service_name = 'watchman'")[0]
    assert row["status"] == "degraded" and row["error_message"] == w.status()["lag"]


def test_bars_and_news_are_no_reason_to_compare(books, desk):
    bar = {"symbol": "ACM", "ts": AT, "close": 10.0}
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        w.inbox.put(Event("bar", AT, bar))
        w.inbox.put(Event("news", AT, {"item_id": "7"}))
        until(lambda: w.status()["prices"] == 1 and w.status()["headlines"] == 1)
        threading.Event().wait(0.1)
    assert len(books.asked) == 1


# Nothing ends it


@pytest.mark.parametrize(
    "error", [UnavailableError("no answer in time"), KeyError("k"), MemoryError()]
)
def test_an_exception_is_told_and_the_next_turn_goes_on(books, desk, error):
    books.fails = [error]
    made = []
    with watchman(desk, broker=lambda: made.append(1) or object()) as w:
        until(lambda: w.status()["passes"] == 1)
        until(lambda: w.status()["error"] is None)
        assert w.status()["alive"] and len(made) == 2  # A connection that failed is made anew
    row = desk.store.rows("select * from service_health where service_name = 'watchman'")[0]
    assert (row["status"], row["errors_count"]) == ("healthy", 1)


def test_an_error_is_one_masked_line_while_it_lasts(books, desk, monkeypatch):
    monkeypatch.setenv("APCA_API_SECRET_KEY", "a-secret-of-eleven")
    books.fails = [UnavailableError("HTTP 500: a-secret-of-eleven\nand more")] * 1000
    with watchman(desk) as w:
        until(lambda: w.status()["failures"] >= 2)
        row = desk.store.rows("select * from service_health where service_name = 'watchman'")[0]
        shown = w.status()["error"], row["error_message"]
    assert row["status"] == "degraded" and shown[0] == shown[1]
    assert "\n" not in shown[0] and "a-secret" not in shown[0]


def test_a_lost_database_ends_nothing(books, desk, monkeypatch):
    lost = UnavailableError("database: the server went away")
    told = {"on": True}

    def gone(*given):
        if told["on"]:
            raise lost

    monkeypatch.setattr(room, "report_health", gone)
    monkeypatch.setattr(room, "obey_file", gone)
    with watchman(desk) as w:
        until(lambda: w.status()["failures"] >= 2)
        told["on"] = False
        until(lambda: w.status()["passes"] >= 1 and w.status()["failures"] == 0)


def test_guard_11_three_failures_in_a_row_call_a_person_once(books, desk):
    books.fails = [UnavailableError("no answer in time")] * 5
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
    rows = desk.store.rows("select * from risk_events where event_type = 'not_reconciled'")
    assert len(rows) == 1 and "3 times in a row: no answer in time" in rows[0]["message"]


def test_problems_of_the_books_are_not_healthy(books, desk):
    books.problems = ["ACM: ours 200, broker 0"]
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        until(lambda: desk.store.value("select count(*) from service_health"))
    row = desk.store.rows("select * from service_health")[0]
    assert (row["status"], row["error_message"]) == ("degraded", "ACM: ours 200, broker 0")


# The kill switch


def test_the_file_halts_within_two_seconds_and_the_halt_outlives_it(books, desk):
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        (desk.settings.home / "HALT").write_text("enough")
        until(lambda: current(desk.store, World.ALPACA, AT).state == "halted", 3)
        (desk.settings.home / "HALT").unlink()
        w.inbox.put(trade())
        until(lambda: w.status()["passes"] == 2)
    state = current(desk.store, World.ALPACA, AT)
    assert (state.state, state.rule) == ("halted", "kill_switch") and "enough" in state.reason
    assert desk.store.value("select count(*) from risk_states") == 1


def test_the_file_is_obeyed_while_the_broker_is_silent(books, desk):
    books.fails = [UnavailableError("no answer in time")] * 50
    (desk.settings.home / "HALT").write_text("")
    with watchman(desk) as w:
        assert w.ready.wait(5)
    assert current(desk.store, World.ALPACA, AT).state == "halted"


# The lock


def test_trap_19_a_second_watchman_is_refused(books, desk):
    with watchman(desk):
        with pytest.raises(InputError) as told:
            watchman(desk).__enter__()
        assert "\n" not in str(told.value)
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)


def test_trap_19_a_lost_lock_closes_the_streams_until_it_is_held_again(books, desk, monkeypatch):
    monkeypatch.setattr(room, "AGAIN", 0.5)
    made = []
    with watchman(desk, streams=lambda inbox: made.append(Still(inbox)) or made[-1]) as w:
        until(lambda: w.status()["passes"] == 1)
        sql = "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and objid = 6"
        with suppress(UnavailableError):
            desk.store.value(sql)
        until(lambda: not made[0].open)
        until(lambda: len(made) == 2 and made[1].open)
        assert w.status()["deaf"] is None
    assert not made[1].open


def test_streams_that_cannot_be_opened_hold_nothing_up(books, desk):
    def never(inbox):
        raise UnavailableError("alpaca: the connection was refused")

    with watchman(desk, seconds=0.1, streams=never) as w:
        until(lambda: w.status()["passes"] >= 2)
        assert "refused" in w.status()["deaf"] and w.status()["error"] is None


def test_it_ends_when_it_is_told(books, desk):
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        watch = Stopwatch()
    assert watch.seconds < 2 and not w.status()["alive"]


# With real streams


def test_trap_15_an_update_and_a_reconnection_are_heard(books, desk):
    small = SmallAlpaca()
    make = lambda inbox: Streams(
        connection(small), [], inbox, ReplayClock(AT), names=("trade",), backoff=(0.02, 0.1)
    )
    with watchman(desk, streams=make) as w:
        until(lambda: w.status()["streams"].get("trade", {}).get("live"))
        until(lambda: w.status()["events"].get("gap") == 1)
        until(lambda: w.status()["passes"] >= 1)
        had = w.status()["passes"]
        small.tell("trade", {"event": "fill"})
        until(lambda: w.status()["passes"] > had)
        had = w.status()["passes"]
        small.drop("trade")
        until(lambda: w.status()["events"].get("gap") == 2 and w.status()["passes"] > had)
        until(
            lambda: desk.store.value(
                "select count(*) from service_health where service_name = 'stream:trade'"
            )
        )
    small.close()


def test_trap_18_a_fill_that_no_update_told_opens_the_stream_again(books, desk, monkeypatch):
    monkeypatch.setattr(room, "GRACE", 0.1)
    made = []
    with watchman(
        desk, seconds=0.2, streams=lambda inbox: made.append(Still(inbox)) or made[-1]
    ) as w:
        until(lambda: w.status()["passes"] >= 2)
        books.fills = 1
        until(lambda: made[0].reopened)
    assert made[0].reopened[0][0] == "trade" and "not told" in made[0].reopened[0][1]


def test_a_fill_that_an_update_told_is_no_reason_to_doubt(books, desk, monkeypatch):
    monkeypatch.setattr(room, "GRACE", 0.1)
    made = []
    with watchman(
        desk, seconds=0.2, streams=lambda inbox: made.append(Still(inbox)) or made[-1]
    ) as w:
        until(lambda: w.status()["passes"] >= 1)
        for n in range(3):
            books.fills = 1
            w.inbox.put(trade(n))
            had = w.status()["passes"]
            until(lambda had=had: w.status()["passes"] > had and not books.fills)
        threading.Event().wait(0.6)  # And then nothing happens
        books.fills = 1  # The books are quicker than the update
        until(lambda: not books.fills)
        w.inbox.put(trade(9))
        threading.Event().wait(0.5)
    assert not made[0].reopened


def test_one_update_and_its_fill_leave_no_doubt_behind(books, desk, monkeypatch):
    "Nothing follows that could clear a doubt: there must be none"
    monkeypatch.setattr(room, "GRACE", 0.05)
    made = []
    with watchman(desk, streams=lambda inbox: made.append(Still(inbox)) or made[-1]) as w:
        until(lambda: w.status()["passes"] >= 1)
        books.fills = 1
        w.inbox.put(trade())
        until(lambda: not books.fills)
        for _ in range(2):  # Two more turns, in which a doubt would have been acted on
            w.inbox.put(Event("bar", AT, {"symbol": "ACM"}))
            threading.Event().wait(0.2)
    assert not made[0].reopened


def test_a_halt_that_a_stream_tells_is_written_down_at_once(books, desk):
    told = {"symbol": "AAPL", "since": AT, "halted": True, "reason": "T12"}
    with watchman(desk) as w:
        until(lambda: w.status()["passes"] == 1)
        w.inbox.put(Event("halt", AT, told))
        until(lambda: list(halts(desk.store, AT).values()) == ["T12"])
        end = AT + timedelta(minutes=5)
        w.inbox.put(Event("halt", AT, told | {"halted": False, "since": end}))
        until(lambda: halts(desk.store, end) == {})


def test_guard_06_against_the_bench_books_follow_updates_drops_and_silence(desk, tmp_path):
    from alpaca_bench import Bench, Faults, Tape

    from catalyst.alpaca_api import connect
    from catalyst.alpaca_broker import AlpacaBroker
    from catalyst.config import Config
    from catalyst.core import OrderType, Side, TimeInForce
    from catalyst.ports import OrderRequest

    market = Tape(AT, {"AAPL": [100 + i / 10 for i in range(60)]})
    with Bench(market, at=AT + timedelta(minutes=5), faults=Faults(seed=1)) as bench:
        settings, clock = bench.settings(tmp_path), ReplayClock(bench.now)
        broker = AlpacaBroker(connect(settings), clock)
        with watch_alpaca(settings, desk.store, Config(), clock) as w:
            until(lambda: w.status()["passes"] >= 1 and bench.state()["streams"].get("trade"))
            assert w.status()["problems"] == () and w.status()["error"] is None
            order = ("not-ours-1", "AAPL", Side.BUY, Decimal(10), OrderType.MARKET, TimeInForce.DAY)
            broker.submit(OrderRequest(*order))
            bench.advance(bench.now + timedelta(minutes=3))
            clock.move(bench.now)
            until(lambda: w.status()["events"].get("trade", 0) >= 2)
            until(lambda: w.status()["last_at"] == bench.now)
            had = w.status()["passes"]
            bench.drop()
            until(lambda: w.status()["passes"] > had and w.status()["events"]["gap"] >= 3)
            bench.faults.next("500", "*", times=9)  # Alpaca is away for a moment
            w.inbox.put(trade())
            until(lambda: w.status()["events"]["trade"] >= 3)
            bench.faults.heal()
            w.inbox.put(trade())
            until(lambda: w.status()["error"] is None and w.status()["alive"])
    assert not bench.errors


# What is remembered


def test_bars_twice_late_and_out_of_order_give_the_same_prices():
    bars = [
        Event("bar", AT, {"symbol": s, "ts": AT + timedelta(minutes=m), "close": 10.0 + m})
        for s in ("ACM", "WDG")
        for m in range(20)
    ]
    found = []
    for seed in range(20):
        some = bars + random.Random(seed).sample(bars, 15)
        random.Random(seed).shuffle(some)
        known = Standing()
        for event in some:
            absorb(known, event)
        found.append(known.prices)
    assert all(
        prices == {s: (AT + timedelta(minutes=19), 29.0) for s in ("ACM", "WDG")}
        for prices in found
    )


def test_a_gap_that_cannot_be_filled_stays_owed():
    class Feed:
        asked, fails = [], True

        def news(self, start, asof):
            self.asked.append(start)
            if self.fails:
                raise UnavailableError("no answer in time")
            return SimpleNamespace(to_dict=lambda kind: [{"item_id": "7"}])

    known, feed = Standing(), Feed()
    for minute in (5, 2):
        start = AT - timedelta(minutes=minute)
        absorb(known, Event("gap", start, {"stream": "news", "until": AT}))
    with pytest.raises(UnavailableError):
        fill_gaps(known, feed, [], AT)
    assert len(known.owed) == 2
    feed.fails = False
    assert fill_gaps(known, feed, [], AT) == 1
    assert not known.owed and feed.asked[-1] == AT - timedelta(minutes=5)  # From the earliest


def test_the_followed_are_the_tracked(scratch):
    assert followed(scratch) == sorted(followed(scratch))


def test_guard_06_books_of_another_world_are_not_compared_with_alpaca(books):
    "Simulated positions would all be ghosts, and their stops would be sent to a real account"
    from catalyst.config import Config

    opened = """insert into trading_cycles (cycle_id, session, world, started_at) values ('c', '2025-08-13', 'replay', :t);
        insert into positions (position_key, cycle_id, security_id, side, quantity, open_quantity, entry_price, risk_amount, status, opened_at)
        values ('p', 'c', get_or_create_security('AAPL'), 'long', 100, 100, 175.50, 250, 'open', :t)"""
    with scratch_store() as store:
        for sql in opened.split(";"):
            store.run(sql, t=AT)
        eyes = room._Eyes(
            Settings(world=World.ALPACA), store, lambda: None, Config(), ReplayClock(AT)
        )
        with pytest.raises(InputError, match="use another --home"):
            eyes._compare()
    assert books.asked == []


def test_guard_06_a_home_belongs_to_the_first_account_that_it_saw(scratch):
    from catalyst.worlds import own_account

    own_account(scratch, World.REPLAY, "PA1", AT)
    own_account(scratch, World.REPLAY, "PA1", AT)
    with pytest.raises(InputError, match="account: received 'PA2'; allowed: PA1") as told:
        own_account(scratch, World.REPLAY, "PA2", AT)
    assert "\n" not in str(told.value)
