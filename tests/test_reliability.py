"Source reliability: what counts, how few items are shrunk, and that no night writes into the past."

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from catalyst.clock import get_session, sessions_between
from catalyst.core import InputError
from catalyst.dims import ensure_times, security_ids, time_id
from catalyst.reliability import EXPECTED, MEMORY, WEIGHT, learn, reliability_of, shrunk, trials

DAYS = sessions_between(get_session("2025-07-01").day, get_session("2025-08-13").day)


def outcome(store, session, source, security, tone, move, minute=7, horizon="15min"):
    received = session.opens + timedelta(minutes=minute)
    ensure_times(store, [time_id(received)])
    store.run(
        """with v as (insert into news_revisions (feed, item_id, content_hash, source_id, headline, published_at, received_at)
             values ('wire', :key, :key, :s, 'Acme', :t, :t) returning revision_id),
           n as (insert into news_sentiment (revision_id, security_id, time_id, headline, source_id, published_at, received_at, tone, tone_label)
             select revision_id, :x, :i, 'Acme', :s, :t, :t, :tone, 'neutral' from v returning news_id)
           insert into news_impacts (news_id, horizon, due_at, usable_from, abnormal_return, benchmark)
           select news_id, :h, :u, :u, :move, 'market' from n""",
        key=f"{received}{source}{security}", s=source, x=security, t=received, i=time_id(received),
        tone=tone, move=move, h=horizon, u=received + timedelta(minutes=23),
    )  # fmt: skip


def sources(store, *tiers):
    return [
        store.value("insert into news_sources (feed, source_name, source_tier) values ('wire', :n, :t) returning source_id", n=f"Page {i}", t=t)
        for i, t in enumerate(tiers)
    ]  # fmt: skip


def record(store, asof):
    return reliability_of(store, asof).set_index("source_id")


@pytest.fixture
def world(scratch):
    "Two sources over thirty sessions: one is right nine times of ten, one is a coin"
    good, coin = sources(scratch, 5, 5)
    acme, draw = security_ids(scratch, ["ACM"])["ACM"], np.random.default_rng(2)
    for s in DAYS:
        for source, chance in ((good, 0.9), (coin, 0.5)):
            way = 1 if draw.random() < 0.5 else -1
            right = 1 if draw.random() < chance else -1
            outcome(scratch, s, source, acme, 0.5 * way, 0.02 * way * right)
    return scratch, good, coin


def test_nw07_guard_18_a_night_never_writes_into_the_past(world):
    store, good, _ = world
    seen = {}
    for s in DAYS:
        learn(store, s.ends)
        seen[s.day] = record(store, s.ends)
    rows = store.rows("select * from source_reliability order by 1, 2")
    for s in DAYS:
        pd.testing.assert_frame_equal(record(store, s.ends), seen[s.day])
        assert learn(store, s.ends).accepted == 0
    assert store.rows("select * from source_reliability order by 1, 2") == rows
    counts = [seen[s.day]["items"][good] for s in DAYS]
    assert counts == list(range(1, len(DAYS) + 1))


def test_nw07_guard_18_later_outcomes_change_nothing_before_them(world):
    "Shift test: the outcomes after a night turned round, that night learned anew"
    store, *_ = world
    night = DAYS[12].ends
    learn(store, night)
    before = record(store, night)
    store.run("delete from source_reliability")
    store.run(
        "update news_impacts set abnormal_return = -abnormal_return where usable_from > :t", t=night
    )
    learn(store, DAYS[-1].ends)
    learn(store, night)
    pd.testing.assert_frame_equal(record(store, night), before)
    assert not record(store, DAYS[-1].ends).equals(before)


def test_nw07_what_is_found_out_late_counts_from_the_next_night_on(scratch):
    "A row that decisions may have read is not replaced, even when an impact of that day is filled afterwards"
    (page,) = sources(scratch, 5)
    acme, night = security_ids(scratch, ["ACM"])["ACM"], DAYS[1].ends
    outcome(scratch, DAYS[0], page, acme, 0.5, 0.02)
    learn(scratch, night)
    outcome(scratch, DAYS[1], page, acme, 0.5, 0.02)
    assert learn(scratch, night).accepted == 0 and record(scratch, night)["items"][page] == 1
    assert (
        learn(scratch, DAYS[2].ends).accepted == 1
        and record(scratch, DAYS[2].ends)["items"][page] == 2
    )


def test_guard_18_an_outcome_counts_from_its_own_usable_from_on(scratch):
    (page,) = sources(scratch, 5)
    outcome(scratch, DAYS[0], page, security_ids(scratch, ["ACM"])["ACM"], 0.5, 0.02)
    known = DAYS[0].opens + timedelta(minutes=30)
    assert learn(scratch, known - timedelta(seconds=1)).accepted == 0
    assert learn(scratch, known).accepted == 1
    assert record(scratch, known - timedelta(seconds=1))["items"][page] == 0


def test_what_is_planted_is_found(world):
    store, good, coin = world
    learn(store, DAYS[-1].ends)
    told = record(store, DAYS[-1].ends)
    assert (
        told.reliability[good] > 0.5 + 2 * told.error[good]
        and abs(told.reliability[coin] - 0.5) < 2 * told.error[coin]
    )
    assert 0.5 < told.reliability[good] < told.hits[good] / told["items"][good], (
        "shrunk towards the prior"
    )


@pytest.mark.parametrize("tier", [1, 2, 3, 4, 5])
def test_a_source_without_a_record_is_what_its_tier_lets_expect(scratch, tier):
    (page,) = sources(scratch, tier)
    learn(scratch, DAYS[0].ends)
    told = record(scratch, DAYS[0].ends).loc[page]
    assert (told.reliability, told["items"]) == (EXPECTED[tier], 0) and pd.isna(told.usable_from)


def test_old_outcomes_fade(scratch):
    (page,) = sources(scratch, 5)
    outcome(scratch, DAYS[0], page, security_ids(scratch, ["ACM"])["ACM"], 0.5, 0.02)
    learn(scratch, DAYS[0].ends)
    later = DAYS[0].ends + MEMORY
    assert learn(scratch, later).accepted == 1 and record(scratch, later)["items"][page] == 0
    assert record(scratch, later).reliability[page] == 0.5


def frame(*rows):
    out = pd.DataFrame(
        rows, columns=["source_id", "security_id", "minute", "tone", "abnormal_return"]
    )
    out["received_at"] = pd.DatetimeIndex(
        [DAYS[0].opens + timedelta(minutes=m) for m in out.minute]
    ).as_unit("us")
    return out.assign(news_id=range(len(out)))


def test_what_counts_as_a_test():
    told = lambda *rows: trials(frame(*rows)).to_dict("index")
    assert told((1, 7, 0, 0.5, 0.01)) == {1: {"items": 1, "hits": 1}}
    assert told((1, 7, 0, -0.5, 0.01)) == {1: {"items": 1, "hits": 0}}
    assert told((1, 7, 0, 0.05, 0.01)) == told((1, 7, 0, 0.5, 0.004)) == {}
    assert told((1, 7, 5, -0.5, 0.01), (1, 7, 0, 0.5, 0.01)) == {1: {"items": 1, "hits": 1}}, (
        "the first of a day"
    )
    assert told((1, 7, 0, 0.5, 0.001), (1, 7, 5, 0.5, 0.05)) == {}, (
        "the first item counts, not the one that was answered"
    )
    assert (
        told((1, 7, 0, 0.5, 0.01), (1, 7, 24 * 60, 0.5, 0.01), (1, 8, 0, 0.5, 0.01))[1]["items"]
        == 3
    )


def test_shrinking_is_the_mean_of_a_beta_distribution():
    n = pd.Series([0, 10, 10_000])
    told = shrunk(pd.Series([5, 5, 5]), n, n)
    assert told.reliability.tolist() == [0.5, round((10 + WEIGHT / 2) / (10 + WEIGHT), 4), 0.998]
    assert told.error.is_monotonic_decreasing


def test_only_the_quarter_of_an_hour_counts(scratch):
    (page,) = sources(scratch, 5)
    outcome(scratch, DAYS[0], page, security_ids(scratch, ["ACM"])["ACM"], 0.5, 0.02, horizon="1h")
    assert learn(scratch, DAYS[1].ends).accepted == 0


def test_a_naive_instant_is_refused(scratch):
    for ask in (learn, reliability_of):
        with pytest.raises(InputError, match="asof"):
            ask(scratch, DAYS[0].ends.replace(tzinfo=None))
