"""Proof by breaking, in short: a few schedules of `campaign.py`, and a judge that can see

CATALYST_CAMPAIGN=1000 runs as many schedules (nice, and for an hour); without it, a few seconds' worth.
"""

import os
from copy import deepcopy

import pytest
from campaign import Campaign, Judge, Outcome, chance, report, schedule

MANY = int(os.environ.get("CATALYST_CAMPAIGN", 0))
SHORT = (4, 11, 103)  # Deaths, lost replies, refusals; both sides, a night between


@pytest.fixture(scope="module")
def campaign():
    with Campaign() as c:
        yield c


@pytest.fixture(scope="module")
def outcomes(campaign):
    return [campaign.run(seed) for seed in (range(MANY) if MANY else SHORT)]


def test_campaign_after_everything_went_wrong_the_books_are_right(outcomes):
    "guard: TD and RK rows of the failure register, under faults: nothing doubled, bare, unapproved or lost, limits kept"
    told = report(outcomes, 0)
    print(told)
    assert not any(o.violations for o in outcomes), told
    assert sum(o.fills for o in outcomes) > 0
    assert sum(sum(o.deaths.values()) for o in outcomes) >= len(outcomes), (
        "nobody died: nothing was shown"
    )
    assert sum(sum(o.faults.values()) for o in outcomes) >= len(outcomes), (
        "nothing failed: nothing was shown"
    )


def test_campaign_the_same_seed_gives_the_same_orders_and_fills(campaign, outcomes):
    first = outcomes[0]
    again = campaign.run(first.seed)
    assert again.fingerprint == first.fingerprint and again.deaths == first.deaths
    assert str(schedule(7)) == str(schedule(7)) != str(schedule(8)) and 0 <= chance(1, "a") < 1


TAMPERED = {
    "no intent": lambda s: s["orders"].append(dict(s["orders"][0], id="x", client_order_id="stranger", parent_id=None)),
    "not as approved": lambda s: s["orders"][0].update(qty="999999"),
    "fill lost": lambda s: s["fills"].append(dict(s["fills"][0], execution_id="x")),
    "fill invented": lambda s: s["fills"].pop(),
    "fill differs": lambda s: s["fills"][0].update(price="1.23"),
    "turned over": lambda s: s["fills"][-1].update(qty="99999"),
    "positions differ": lambda s: s.update(positions=[{"symbol": "ALFA", "qty": "7"}]),
    "bare": lambda s: s.update(positions=[{"symbol": "ALFA", "qty": "7"}]),
    "not flat": lambda s: s.update(positions=[{"symbol": "ALFA", "qty": "7"}]),
    "cash differs": lambda s: s.update(cash="1"),
    "profit differs": lambda s: s.update(cash="1"),
    "limit": lambda s: [o.update(limit_price="99999") for o in s["orders"]],
    "not adopted": lambda s: s["orders"][0].update(id="x"),
    "lives differ": lambda s: [o.update(status="new") for o in s["orders"]],
    "duplicate": lambda s: [o.update(symbol="ALFA", canceled_at=None, expired_at=None, failed_at=None, filled_at=None) for o in s["orders"]],
}  # fmt: skip


@pytest.fixture(scope="module")
def peace(campaign):
    "A day without a fault: two positions at least, all of them closed"
    outcome = campaign.run(1, kills=False, faults=False)
    assert outcome.violations == [] and outcome.fills >= 4
    return campaign


@pytest.mark.parametrize("kind", TAMPERED)
def test_campaign_the_judge_sees_what_is_wrong(peace, kind):
    "A judge that finds nothing proves nothing: each of its findings is provoked once"
    state = deepcopy(peace.state)
    TAMPERED[kind](state)
    outcome = Outcome(1)
    judge = Judge(peace.store, state, peace.config, outcome)
    for check in (
        judge.approvals,
        judge.fills,
        judge.sides,
        judge.books,
        judge.lives,
        judge.exits,
        judge.limits,
        judge.profit,
        judge.flat,
    ):
        try:
            check()
        except KeyError:  # A tampered name is found by one check and unknown to another
            continue
    assert kind in {v.partition(":")[0] for v in outcome.violations}, outcome.violations


def test_campaign_the_judge_sees_an_order_that_came_back(peace):
    sql = """insert into order_events (order_id, status, occurred_at) select order_id, 'accepted', occurred_at + interval '1 hour'
             from order_events where status = 'filled' limit 1"""
    with pytest.raises(ZeroDivisionError), peace.store.transaction() as tx:
        tx.run(sql)
        outcome = Outcome(1)
        Judge(tx, peace.state, peace.config, outcome).lives()
        assert {v.partition(":")[0] for v in outcome.violations} == {"came back"}
        raise ZeroDivisionError  # Undone
