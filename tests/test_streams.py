"The streams against a small Alpaca: mute, dropped, refused, poisoned, owned by another"

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace

import msgpack
import pytest
from alpaca_bench import Bench, Faults, Tape
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from catalyst.alpaca_api import connect
from catalyst.alpaca_desk import backfill, check
from catalyst.alpaca_feed import AlpacaFeed
from catalyst.alpaca_lines import BAR_SILENCE, Event, Line, Outlet, bar_of, missed, verdict
from catalyst.alpaca_streams import NAMES, Owner, Streams, Wire, look
from catalyst.clock import ReplayClock, Stopwatch, WallClock
from catalyst.core import InputError, Secret, Timeframe, UnavailableError
from catalyst.schema import scratch_store
from catalyst.simulate import SimulatedFeed


@pytest.fixture(scope="module")
def base():
    "A database for the tests that need its locks only"
    with scratch_store() as store:
        yield store


AT = datetime(2025, 8, 13, 14, tzinfo=UTC)
KEY, SECRET = "PKTESTSTREAM0001", "stream-secret-000000000001"
PATHS = {"/stream": "trade", "/v2/iex": "bars", "/v1beta1/news": "news"}
BAR = {"T": "b", "S": "ACM", "o": 10.0, "h": 10.2, "l": 9.9, "c": 10.1, "v": 300}


class SmallAlpaca:
    "Three endpoints, one connection each, and a switch for everything that can go wrong"

    def __init__(self):
        self.mute, self.shy, self.refuse = set(), set(), {}  # Names; names; name to 406, 401 or 429
        self.padding = ""  # Before the text of a refusal
        self.elsewhere, self.halts, self.no_halts = None, [], False  # Where a redirect leads to
        self.open, self.lists, self.attempts = {}, {n: [] for n in NAMES}, dict.fromkeys(NAMES, 0)
        self.server = serve(
            self.talk, "127.0.0.1", 0, process_request=self.hello, close_timeout=0.2
        )
        self.url = f"ws://127.0.0.1:{self.server.socket.getsockname()[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def hello(self, socket, request):
        name = PATHS[request.path]
        self.attempts[name] += 1
        if self.elsewhere:
            sent = socket.respond(HTTPStatus.FOUND, "over there\n")
            sent.headers["Location"] = self.elsewhere + request.path
            return sent
        if self.refuse.get(name) == 429:
            return socket.respond(HTTPStatus.TOO_MANY_REQUESTS, "too many connections\n")

    def talk(self, socket):
        name = PATHS[socket.request.path]
        with suppress(ConnectionClosed):
            if name == "trade":
                self.talk_trade(socket)
            else:
                self.talk_data(socket, name)

    def talk_trade(self, socket):
        for text in socket:
            asked = json.loads(text)
            if asked["action"] == "authenticate":
                right = asked["data"] == {"key_id": KEY, "secret_key": SECRET}
                status = "authorized" if right else "unauthorized"
                told = {"stream": "authorization", "data": {"status": status}}
            else:
                self.open["trade"] = socket
                told = {"stream": "listening", "data": {"streams": ["trade_updates"]}}
            if "trade" not in self.mute and "trade" not in self.shy:
                socket.send(json.dumps(told).encode())

    def talk_data(self, socket, name):
        say = lambda *msgs: socket.send(msgpack.packb(list(msgs)))
        if name not in self.shy:
            say({"T": "success", "msg": "connected"})
        for frame in socket:
            asked = msgpack.unpackb(frame)
            if asked["action"] == "auth":
                if self.refuse.get(name) == 406:
                    say({"T": "error", "code": 406, "msg": "connection limit exceeded"})
                elif (asked["key"], asked["secret"]) != (KEY, SECRET):
                    say(
                        {
                            "T": "error",
                            "code": 402,
                            "msg": self.padding + f"auth failed for {asked['secret']}",
                        }
                    )
                else:
                    say({"T": "success", "msg": "authenticated"})
                continue
            had, now = set(self.lists[name]), set(asked.get(name, ()))
            if asked.get("statuses") and self.no_halts:
                say({"T": "error", "code": 410, "msg": "invalid subscribe action for this feed"})
                continue
            if asked.get("statuses"):
                gone, new = set(self.halts), set(asked["statuses"])
                self.halts = sorted(gone | new if asked["action"] == "subscribe" else gone - new)
            self.lists[name] = sorted(had | now if asked["action"] == "subscribe" else had - now)
            self.open[name] = socket
            if name not in self.mute:
                say({"T": "subscription", name: self.lists[name]})

    def tell(self, name, *msgs):
        if name == "trade":
            for data in msgs:
                self.open[name].send(json.dumps({"stream": "trade_updates", "data": data}).encode())
        else:
            self.open[name].send(msgpack.packb(list(msgs), datetime=True))

    def drop(self, name):
        self.lists[name] = []
        self.open[name].close()

    def cut(self, name):
        "As a router that forgets: no closing handshake"
        self.lists[name] = []
        self.open[name].socket.shutdown(2)

    def close(self):
        self.server.shutdown()
        self.thread.join(5)


@pytest.fixture
def alpaca():
    small = SmallAlpaca()
    yield small
    small.close()


def connection(small, secret=SECRET):
    streams = {name: small.url + path for path, name in PATHS.items()}
    hosts, keys = SimpleNamespace(streams=streams), (Secret(KEY), Secret(secret))
    return SimpleNamespace(key=keys[0], secret=keys[1], hosts=hosts, prove=lambda: "PA1")


@contextmanager
def listening(small, names=("trade",), symbols=("ACM",), silence=30.0, secret=SECRET, clock=None):
    inbox, told = queue.Queue(), {"names": names, "silence": silence, "backoff": (0.02, 0.1)}
    with Streams(connection(small, secret), list(symbols), inbox, clock, **told) as streams:
        streams.inbox = inbox
        yield streams


def heard(streams, kind, seconds=6):
    "The next event of a kind"
    watch = Stopwatch()
    while watch.seconds < seconds:
        with suppress(queue.Empty):
            event = streams.inbox.get(timeout=0.2)
            if event.kind == kind:
                return event
    raise AssertionError(f"no {kind}; {streams.status()}")


def until(true, seconds=6):
    watch = Stopwatch()
    while not (found := true()) and watch.seconds < seconds:
        threading.Event().wait(0.01)
    assert found


# Trap 15: nothing is replayed


@pytest.mark.parametrize("how", ["drop", "cut"])
def test_trap_15_every_connection_begins_with_a_gap(alpaca, how):
    with listening(alpaca) as streams:
        first = heard(streams, "gap")
        assert first.payload["stream"] == "trade" and first.at <= first.payload["until"]
        alpaca.tell("trade", {"event": "new"})
        known = heard(streams, "trade").at
        getattr(alpaca, how)("trade")
        gap = heard(streams, "gap")
        assert gap.at == known < gap.payload["until"]  # Since the last update, not since the end
        alpaca.tell("trade", {"event": "fill"})
        assert heard(streams, "trade").payload["event"] == "fill"
        assert streams.status()["trade"]["connections"] == 2


def test_trap_15_the_gap_is_told_when_updates_come_again_and_not_before(alpaca):
    alpaca.mute = {"trade"}
    alpaca.shy = set()
    line = Line("trade", lambda *e: events.append(Event(*e)), WallClock(), data_at=AT)
    events = []
    line.connecting()
    assert not events and not line.live
    line.confirmed()
    line.confirmed()
    assert [e.kind for e in events] == ["gap"]


# Trap 16: an exception in a handler


def test_trap_16_poison_ends_no_stream(alpaca):
    with listening(alpaca, NAMES) as streams:
        for _ in NAMES:
            heard(streams, "gap")
        alpaca.open["trade"].send(b"\xff\xfe not json")
        alpaca.open["trade"].send(b"[]")
        alpaca.open["trade"].send(json.dumps({"stream": "trade_updates"}).encode())
        alpaca.tell("trade", 7, None, {"event": "a word of 2031", "order": None})
        alpaca.open["bars"].send(b"\xc1")
        alpaca.tell("bars", 7)
        alpaca.tell(
            "bars",
            {"T": "b"},
            BAR,
            {**BAR, "t": "noon"},
            {**BAR, "t": AT, "o": None},
            {**BAR, "t": AT},
        )
        alpaca.tell(
            "news", {"T": "n"}, {"T": "n", "id": 7, "headline": "Acme opens", "created_at": AT}
        )
        assert heard(streams, "trade").payload["event"] == "a word of 2031"
        until(lambda: streams.status()["bars"]["messages"] == 1)  # The last of its frame
        until(lambda: streams.status()["news"]["messages"] >= 1)
        assert all(s["live"] and s["alive"] for s in streams.status().values())


def test_trap_16_a_queue_that_raises_costs_no_other_message_of_the_frame(alpaca):
    with listening(alpaca, ("bars",)) as streams:
        heard(streams, "gap")
        line = streams.wires["bars"].line
        put = line.put

        def raises(kind, at, payload):
            return 1 / 0 if payload["close"] == 10.1 else put(kind, at, payload)

        line.put = raises
        alpaca.tell("bars", {**BAR, "t": AT}, {**BAR, "t": AT, "c": 10.15})
        assert heard(streams, "bar").payload["close"] == 10.15
        assert streams.status()["bars"]["connections"] == 1


# Trap 17: subscribing inside a handler


def test_trap_17_following_from_the_streams_own_thread_waits_for_nothing(alpaca):
    with listening(alpaca, ("bars",)) as streams:
        heard(streams, "gap")
        line = streams.wires["bars"].line
        put = line.put

        def follows(*event):
            streams.follow(["ACM", "WDG"])
            put(*event)

        line.put, watch = follows, Stopwatch()
        alpaca.tell("bars", {**BAR, "t": AT})
        heard(streams, "bar")
        assert watch.seconds < 3
        line.put = put
        alpaca.tell("bars", {**BAR, "t": AT, "c": 10.2})
        assert heard(streams, "bar").payload["close"] == 10.2


def test_one_connection_however_often_it_is_followed_and_opened_again(alpaca, monkeypatch):
    "Following and opening again at the same time never run two streams"
    now, most, run = Counter(), Counter(), Wire._run

    def counted(wire):  # Here, not at the server, which hears of a closed socket later
        now["bars"] += 1
        most["bars"] = max(most["bars"], now["bars"])
        try:
            run(wire)
        finally:
            now["bars"] -= 1

    monkeypatch.setattr(Wire, "_run", counted)
    with listening(alpaca, ("bars",), silence=0.5) as streams:
        heard(streams, "gap")
        over = threading.Event()

        def follows():
            n = 0
            while not over.is_set():
                streams.follow(["ACM", f"Z{(n := n + 1) % 9}"])
                over.wait(0.001)

        threads = [threading.Thread(target=follows) for _ in range(3)]
        for t in threads:
            t.start()
        for _ in range(5):
            streams.reopen("bars", "a test")
        over.set()
        for t in threads:
            t.join()
        running = [t for t in threading.enumerate() if t.name == "stream-bars" and t.is_alive()]
        assert len(running) == 1 and most["bars"] == 1


def test_symbols_change_while_the_stream_runs(alpaca):
    with listening(alpaca, ("bars",), ["ACM", "WDG"]) as streams:
        heard(streams, "gap")
        assert streams.follow(["WDG", "ZED"]) and not streams.follow(["ZED", "WDG"])
        until(lambda: alpaca.lists["bars"] == ["WDG", "ZED"])
        alpaca.drop("bars")
        heard(streams, "gap")
        until(lambda: alpaca.lists["bars"] == ["WDG", "ZED"])
        assert streams.follow([])  # No symbols: no stream, and no thread that spins
        assert not streams.wires["bars"].alive and not streams.status()["bars"]["wanted"]
        streams.follow(["ACM"])
        assert heard(streams, "gap")
        assert alpaca.lists["bars"] == ["ACM", "WDG", "ZED"] or alpaca.lists["bars"] == ["ACM"]


# Trap 18: a mute socket


@pytest.mark.parametrize("name", NAMES)
def test_trap_18_a_mute_stream_is_opened_again(alpaca, name):
    with listening(alpaca, (name,), silence=0.3) as streams:
        heard(streams, "gap")
        alpaca.mute = {name}
        assert "mute" in heard(streams, "error").payload["text"]
        alpaca.mute = set()
        assert heard(streams, "gap").payload["stream"] == name
        until(lambda: streams.status()[name]["live"] and streams.status()[name]["restarts"] >= 1)


def test_trap_18_a_quiet_stream_that_answers_is_left_alone(alpaca):
    with listening(alpaca, ("trade", "news"), silence=0.3) as streams:
        heard(streams, "gap"), heard(streams, "gap")
        threading.Event().wait(0.9)
        assert [s["restarts"] for s in streams.status().values()] == [0, 0]
        assert alpaca.attempts["trade"] == alpaca.attempts["news"] == 1


@pytest.mark.parametrize("name", ["trade", "bars"])
def test_trap_18_a_service_that_never_says_hello_is_left(alpaca, name):
    alpaca.shy = {name}
    with listening(alpaca, (name,), silence=0.3) as streams:
        assert "mute" in heard(streams, "error").payload["text"]
        alpaca.shy = set()
        assert heard(streams, "gap")


def test_trap_18_a_noon_without_bars_is_a_fault_whatever_the_service_answers():
    line = Line("bars", print, ReplayClock(AT), live=True)
    line.data = SimpleNamespace(seconds=BAR_SILENCE + 1)
    assert verdict(line, 90.0, due=True) and not verdict(line, 90.0, due=False)
    line.failures = 1
    assert verdict(line, 90.0, due=True) is None  # Twice as long


def test_trap_18_bars_are_due_in_regular_hours_only():
    asked = []
    line = Line("bars", lambda *e: asked.append(e), ReplayClock(AT), live=True)
    line.data = SimpleNamespace(seconds=BAR_SILENCE + 1)
    wire = SimpleNamespace(line=line, thread=True, alive=True, asked=Stopwatch())
    wire.stop = wire.start = lambda: asked.append("again")
    night = ReplayClock(datetime(2025, 8, 13, 2, tzinfo=UTC))
    assert look(wire, 90.0, night) is None and not asked
    assert "no bar" in look(wire, 90.0, ReplayClock(AT)) and "again" in asked


# Trap 19: a second owner


def test_trap_19_a_second_owner_is_refused_in_one_line(base):
    with Owner(base, "PA1"), pytest.raises(InputError) as told:
        Owner(base, "PA1").__enter__()
    assert "\n" not in str(told.value) and "PA1" in str(told.value)


def test_trap_19_the_lock_of_a_killed_process_is_free(base):
    code = (
        "import sys; from catalyst.alpaca_streams import Owner; from catalyst.store import Store; "
    )
    code += "o = Owner(Store(sys.argv[1]), 'PA1').__enter__(); print('held', flush=True); input()"
    other = subprocess.Popen(
        [sys.executable, "-c", code, base.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(InputError):
        Owner(base, "PA1").__enter__()
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    mine = Owner(base, "PA1")

    def free():
        with suppress(InputError):
            return mine.__enter__().held

    until(free)
    mine.__exit__()


def test_trap_19_a_lock_that_is_lost_is_noticed(base):
    with Owner(base, "PA1") as owner:
        sql = "select count(pg_terminate_backend(pid)) from pg_locks where locktype = 'advisory' and objid = 6"
        assert owner.held and base.value(sql) == 1
        assert not owner.held


def test_trap_19_a_service_that_refuses_a_second_connection_is_quoted(alpaca):
    alpaca.refuse = {"bars": 406, "trade": 429}
    with listening(alpaca, ("bars", "trade")) as streams:
        texts = {
            e.payload["stream"]: e.payload["text"]
            for e in (heard(streams, "error"), heard(streams, "error"))
        }
        assert "connection limit exceeded" in texts["bars"] and "429" in texts["trade"]
        alpaca.refuse = {}
        assert {heard(streams, "gap").payload["stream"] for _ in range(2)} == {"bars", "trade"}


# Keys


@pytest.mark.parametrize("padding", [0, 130, 190])
def test_a_wrong_key_is_told_and_not_shown(alpaca, padding):
    alpaca.padding = "x" * padding  # Where a text is cut, half a key would be shown
    wrong = "wrong-secret-000000009"
    with listening(alpaca, ("bars", "trade"), secret=wrong) as streams:
        told = [heard(streams, "error").payload["text"] for _ in range(2)]
        state = streams.status()
    assert not any(wrong[:n] in repr([told, state]) for n in (8, len(wrong)))
    assert not any(s["live"] for s in state.values())


def test_attempts_keep_the_librarys_pauses(alpaca):
    alpaca.refuse = {"bars": 406}
    with listening(alpaca, ("bars",)):
        threading.Event().wait(0.6)
    assert 2 <= alpaca.attempts["bars"] <= 18  # 0.02 s, doubling to 0.1 s; 3,222 in 5 s without


# Ending


@pytest.mark.parametrize("state", ["live", "mute", "shy", "refused", "absent"])
def test_streams_end_at_once_in_every_state(alpaca, state):
    alpaca.mute = set(NAMES) if state == "mute" else set()
    alpaca.shy = set(NAMES) if state == "shy" else set()
    alpaca.refuse = {"bars": 406, "news": 406, "trade": 429} if state == "refused" else {}
    if state == "absent":
        alpaca.url = "ws://127.0.0.1:1"
    with listening(alpaca, NAMES) as streams:
        if state == "live":
            for _ in NAMES:
                heard(streams, "gap")
        threading.Event().wait(0.1)
        watch = Stopwatch()
    assert watch.seconds < 4 and not any(s["alive"] for s in streams.status().values())
    assert not [t for t in threading.enumerate() if t.name.startswith("stream-") and t.is_alive()]


# What is told


def test_an_item_of_many_symbols_is_told_once_and_one_without_too(alpaca):
    with listening(alpaca, ("news",)) as streams:
        heard(streams, "gap")
        item = {"T": "n", "headline": "Acme opens", "created_at": AT, "updated_at": AT}
        alpaca.tell(
            "news",
            {**item, "id": 7, "symbols": ["ACM", "WDG", "ZED"]},
            {**item, "id": 8, "symbols": []},
        )
        ids = [heard(streams, "news").payload["item_id"] for _ in range(2)]
        assert ids == ["7", "8"] and streams.inbox.empty()


def test_a_bar_has_its_start_as_an_instant(alpaca):
    with listening(alpaca, ("bars",)) as streams:
        heard(streams, "gap")
        alpaca.tell("bars", {**BAR, "t": AT})
        assert heard(streams, "bar").payload["ts"] == AT


def test_halts_come_with_the_bars_of_the_followed(alpaca):
    with listening(alpaca, ("bars",)) as streams:
        heard(streams, "gap")
        status = {"T": "s", "S": "ACM", "sm": "Trading Halt", "rc": "T1", "t": AT, "z": "C"}
        alpaca.tell("bars", status | {"sc": "H"}, status | {"sc": "I"}, status | {"sc": "T"}, 7)
        told = [heard(streams, "halt").payload for _ in range(2)]
        assert [(t["symbol"], t["halted"], t["since"]) for t in told] == [
            ("ACM", True, AT),
            ("ACM", False, AT),
        ]
        assert streams.status()["bars"]["messages"] == 0  # A halt is no bar
        until(lambda: alpaca.halts == ["ACM"])
        streams.follow(["WDG"])
        until(lambda: (alpaca.halts, alpaca.lists["bars"]) == (["WDG"], ["WDG"]))


def test_statuses_that_are_refused_cost_no_bar(alpaca):
    "They were asked for in one message with the bars, and for all symbols: refused together"
    alpaca.no_halts = True
    with listening(alpaca, ("bars",), ["ACM", "WDG"]) as streams:
        assert "410" in heard(streams, "error").payload["text"]
        until(lambda: alpaca.lists["bars"] == ["ACM", "WDG"])
        alpaca.tell("bars", {**BAR, "t": AT})
        assert heard(streams, "bar").payload["symbol"] == "ACM"
        assert streams.status()["bars"]["live"] and alpaca.halts == []


@pytest.mark.parametrize("name", NAMES)
def test_trap_26_a_redirect_to_another_host_gets_no_keys(alpaca, name):
    other = SmallAlpaca()
    try:
        alpaca.elsewhere = other.url
        with listening(alpaca, (name,)) as streams:
            assert "redirect is no answer" in heard(streams, "error").payload["text"]
            until(lambda: alpaca.attempts[name] >= 2)  # It is tried again where it was checked
            assert other.attempts[name] == 0 and not streams.status()[name]["live"]
    finally:
        other.close()


@pytest.mark.parametrize(
    "change", [{"c": None}, {"S": "a; drop"}, {"t": None}, {"t": 7}, {"o": "10"}]
)
def test_a_bar_that_is_none_is_left_out(change):
    assert bar_of({**BAR, "t": AT}) and bar_of({**BAR, "t": AT, **change}) is None


def test_what_finds_no_room_is_a_gap():
    inbox = queue.Queue(2)
    put = Outlet(inbox, "trade")
    for i in range(5):
        put("trade", AT.replace(second=i), {"n": i})
    inbox.get_nowait(), inbox.get_nowait()
    put("trade", AT.replace(second=9), {"n": 9})
    gap, update = inbox.get_nowait(), inbox.get_nowait()
    assert (gap.kind, gap.at.second, update.payload) == ("gap", 2, {"n": 9})


# Against the bench


OPEN = datetime(2025, 8, 13, 13, 30, tzinfo=UTC)


def small_market():
    path = [100 + i / 10 for i in range(60)]
    return Tape(OPEN, {"SPY": path, "ACM": path, "WDG": path}, news=[(OPEN, ["ACM"], "Acme opens")])


@contextmanager
def at_the_bench(tmp_path, **faults):
    with Bench(small_market(), at=OPEN + timedelta(minutes=20), faults=Faults(**faults)) as bench:
        yield bench, bench.settings(tmp_path)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_trap_15_dropped_sockets_and_gaps_filled_lose_no_bar(tmp_path, seed):
    "Bars told by the stream and bars looked up for its gaps are together all bars"
    rates = {
        "drop_socket@stream.data": 0.1,
        "duplicate@stream.data": 0.2,
        "reorder@stream.data": 0.2,
    }
    with at_the_bench(tmp_path, seed=seed, rates=rates) as (bench, settings):
        alpaca, clock, inbox = connect(settings), ReplayClock(bench.now), queue.Queue()
        names, heard_bars = ["ACM", "SPY", "WDG"], Counter()
        feed = AlpacaFeed(alpaca, names, clock)
        told = {"names": ("bars",), "backoff": (0.02, 0.05), "clock": clock}

        def drain():
            while not inbox.empty():
                e = inbox.get()
                more = missed(feed, e, names, bench.now) if e.kind == "gap" else [e]
                heard_bars.update(
                    (b.payload["symbol"], b.payload["ts"]) for b in more if b.kind == "bar"
                )

        with Streams(alpaca, names, inbox, **told) as streams:
            live = lambda: streams.status()["bars"]["live"] and bench.state()["streams"].get("data")
            until(live)
            start = bench.now
            for minute in range(1, 31):
                bench.advance(start + timedelta(minutes=minute))
                clock.move(bench.now)
                until(live)
                drain()
            bench.faults.heal()
            bench.advance(start + timedelta(minutes=31))
            wanted = {(s, start + timedelta(minutes=m)) for s in names for m in range(31)}
            until(lambda: drain() or wanted <= set(heard_bars))
        assert wanted <= set(heard_bars)
        assert streams.status()["bars"]["connections"] > 1 and bench.faults.seen["drop_socket"]


def test_check_is_content_with_a_healthy_alpaca(tmp_path, base):
    with at_the_bench(tmp_path) as (bench, settings):
        found = check(settings, base, seconds=5)
        assert [f.check for f in found if not f.ok] == [] and len(found) == 11
        assert not [a for a in bench.asked if a.method != "GET"]  # It sends nothing


@pytest.mark.parametrize(
    "faults, wrong",
    [
        ({"live_account": True}, ["keys and hosts"]),
        ({"blocked": True}, ["account"]),
        (
            {"rates": {"auth_refused@connect.*": 1.0}},
            ["stream trade", "stream bars", "stream news"],
        ),
        ({"rates": {"406@connect.data": 1.0}}, ["stream bars"]),
        ({"rates": {"html@calendar": 1.0, "html@bars": 1.0}}, ["calendar", "bar"]),
    ],
)
def test_check_names_what_does_not_hold(tmp_path, faults, wrong):
    with at_the_bench(tmp_path, **faults) as (bench, settings):
        found = check(settings, seconds=0.6)
        assert [f.check for f in found if not f.ok] == wrong
        text = " ".join(f.found for f in found)
        assert "\n" not in text and not any(k in text for k in bench.keys)


def test_check_leaves_the_streams_of_another_process_alone(tmp_path, base):
    with at_the_bench(tmp_path) as (bench, settings), Owner(base, connect(settings).prove()):
        found = {f.check: f for f in check(settings, base, seconds=1)}
        assert found["streams"].ok and "another process" in found["streams"].found
        assert not bench.state()["streams"]


def test_backfill_twice_is_backfill_once_and_asks_little(tmp_path, scratch):
    with at_the_bench(tmp_path) as (bench, settings):
        feed = AlpacaFeed(connect(settings), ["ACM", "NOPE", "SPY"])
        told = [
            backfill(scratch, feed, feed.symbols, 2, Timeframe.MIN15, bench.now) for _ in range(2)
        ]
        stored = scratch.rows("select feed, count(*) as n from trading_history group by feed")
    assert [t["new"] for t in told] == [told[0]["bars"], 0] and told[0]["bars"] > 0
    assert stored == [{"feed": "alpaca-bench", "n": told[0]["bars"]}]
    assert told[0]["calls"] == 1 and told[0]["without"] == ["NOPE"]


def test_backfill_that_fails_on_the_way_keeps_what_it_has(tmp_path, scratch, monkeypatch):
    monkeypatch.setattr("catalyst.alpaca_desk.PIECE", 1)  # One session at a time
    market = SimulatedFeed(seed=7, securities=44, history_sessions=1)
    names, noon = market.assets().symbol.tolist()[:3], OPEN + timedelta(hours=2)
    with Bench(market, at=noon) as bench:
        feed = AlpacaFeed(connect(bench.settings(tmp_path), wait=0.0), names)
        bench.faults.next("500", "bars", nth=2, times=9)
        with pytest.raises(UnavailableError):
            backfill(scratch, feed, names, 2, Timeframe.MIN15, noon)
        had = scratch.value("select count(*) from trading_history")
        bench.faults.heal()
        told = backfill(scratch, feed, names, 2, Timeframe.MIN15, noon)
    assert had == 3 * 26 and told["new"] == told["bars"] - had == 3 * 8
