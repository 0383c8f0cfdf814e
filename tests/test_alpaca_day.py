"The same day, unchanged, against an Alpaca on this machine, with its streams on."

from decimal import Decimal

import pytest
from alpaca_bench import Bench

from catalyst.clock import get_session
from catalyst.day import replay_day
from catalyst.dims import security_ids
from catalyst.run import Job
from catalyst.schema import open_store
from catalyst.server import Server, stop_server
from catalyst.simulate import SimulatedFeed

SESSION = get_session("2025-08-13")
AT = ("open+30", "open+45", "open+60")
JOBS = [
    Job("10_news", at=("open-15", *AT)),
    Job("20_scan", at=AT),
    Job("30_collect", at=AT),
    Job("40_analyse", at=AT),
    Job("50_trade", at=AT),
    Job("60_monitor", at=(*AT, "close-15", "close")),
]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    "A short day, what it told, what the server saw"
    home, market = tmp_path_factory.mktemp("alpaca"), SimulatedFeed(seed=7, session=SESSION.day)
    with Bench(market, at=SESSION.starts) as bench:
        settings = bench.settings(home)
        store = open_store(settings)
        store.run("update securities set is_tradeable = false")
        security_ids(store, market.assets().symbol)
        told = replay_day(settings, SESSION, "none", jobs=JOBS)
        state = bench.state()
    yield told, state, store
    stop_server(Server(home))


def test_nothing_failed_and_something_was_traded(day):
    told, state, _ = day
    assert told["failed_runs"] == []
    assert told["tracked"] == 100 and told["approvals"] >= 1 and told["fills"] >= 2
    assert len(state["fills"]) == told["fills"]


def test_td03_and_td04_every_entry_stood_there_with_both_exits_good_till_cancelled(day):
    _, state, _ = day
    entries = [o for o in state["orders"] if o["order_class"] == "bracket" and not o["parent_id"]]
    legs = {o["id"]: [x for x in state["orders"] if x["parent_id"] == o["id"]] for o in entries}
    assert entries
    for o in entries:
        assert sorted(x["type"] for x in legs[o["id"]]) == ["limit", "stop"]
        assert {x["time_in_force"] for x in [o, *legs[o["id"]]]} == {"gtc"}


def test_guard_06_books_agree_with_the_server_to_the_share_and_the_cent(day):
    _, state, store = day
    ours = {
        r["execution_id"]: (r["quantity"], r["price"])
        for r in store.rows("select execution_id, quantity, price from fills")
    }
    theirs = {f["execution_id"]: (Decimal(f["qty"]), Decimal(f["price"])) for f in state["fills"]}
    assert ours == theirs
    assert (
        store.value("select count(*) from positions where status = 'open'")
        == len(state["positions"])
        == 0
    )
    paid = sum(
        Decimal(f["qty"]) * Decimal(f["price"]) * (1 if f["side"] == "sell" else -1)
        for f in state["fills"]
    )
    realized = store.value("select sum(realized_pnl) from positions")
    assert abs(realized - paid) <= Decimal("0.01") * len(state["fills"])


def test_streams_were_open_and_the_watchman_compared(day):
    _, _, store = day
    rows = store.rows("select service_name, status, metrics from service_health")
    health = {r["service_name"]: r for r in rows}
    told = lambda name: health[name]["metrics"]
    assert health["watchman"]["status"] == "healthy" and told("watchman")["passes"] >= 3
    for name in ("stream:trade", "stream:bars", "stream:news"):
        assert told(name)["connections"] >= 1, name
    assert told("stream:trade")["messages"] >= 4
    assert health["stream:bars"]["status"] == "healthy"


def test_no_order_without_an_approval_and_none_twice(day):
    _, state, store = day
    parents = [o["client_order_id"] for o in state["orders"] if not o["parent_id"]]
    assert len(parents) == len(set(parents))
    known = store.rows(
        "select o.client_order_id from orders o join risk_approvals a using (approval_id) where a.verdict = 'approved'"
    )
    assert set(parents) <= {r["client_order_id"] for r in known}
