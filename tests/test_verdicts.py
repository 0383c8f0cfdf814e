"Verdicts: learned as of a night, never rewritten, never from another world"

from datetime import timedelta

import numpy as np
import pytest

from catalyst.clock import get_session
from catalyst.dims import ensure_times, security_ids, time_id
from catalyst.verdicts import learn_calibrations, read_calibration, read_outcomes

FIRST = get_session("2025-06-02").opens
SETUP = "setup:news_breakout"


def trades(store, days, world="replay", worth=1.0, per_day=2, first=0, seed=5):
    "Closed positions of one setup, `per_day` on each of `days` days"
    random, stock = np.random.default_rng(seed), security_ids(store, ["ACM"])["ACM"]
    at = [FIRST + timedelta(days=first + d, minutes=i) for d in range(days) for i in range(per_day)]
    ensure_times(store, [time_id(t) for t in at])
    cycle = lambda t: f"{t:%Y%m%d}-{world}"
    store.upsert(
        "trading_cycles",
        [
            {"cycle_id": cycle(t), "session": t.date(), "world": world, "started_at": t}
            for t in at[::per_day]
        ],
        keys=["cycle_id"],
    )
    score = random.uniform(0.2, 1, len(at)).round(3)
    won = random.random(len(at)) < 0.4 + worth * (score - 0.6)
    same = {
        "setup": "news_breakout",
        "side": "long",
        "entry_type": "limit",
        "entry_price": 20,
        "stop_price": 19,
    }
    store.upsert(
        "signals",
        [
            same | {"cycle_id": cycle(t), "security_id": stock, "time_id": time_id(t), "decided_at": t, "target_price": 22, "confidence": s,
                    "expires_at": t + timedelta(hours=1), "terms": {}}
            for t, s in zip(at, score, strict=True)
        ],
        keys=["cycle_id", "security_id", "setup", "decided_at"],
    )  # fmt: skip
    ids = dict(store.frame("select decided_at, signal_id from signals join trading_cycles using (cycle_id) where world = :w", w=world).itertuples(index=False))  # fmt: skip
    same = {"security_id": stock, "side": "long", "quantity": 10, "open_quantity": 0, "entry_price": 20, "risk_amount": 10, "status": "closed"}  # fmt: skip
    store.upsert(
        "positions",
        [
            same | {"position_key": f"{world}{t}", "cycle_id": cycle(t), "signal_id": ids[t], "opened_at": t, "closed_at": t + timedelta(hours=1),
                    "exit_price": 21, "realized_pnl": 10 if w else -10, "close_reason": "x"}
            for t, w in zip(at, won, strict=True)
        ],
        keys=["position_key"],
    )  # fmt: skip


def night(day):
    return FIRST + timedelta(days=day, hours=8)


def rows(store):
    return store.rows("select * from calibrations order by world, subject, usable_from")


def test_a_position_teaches_from_its_close_on(scratch):
    trades(scratch, 3)
    assert len(read_outcomes(scratch, FIRST + timedelta(minutes=59))) == 0
    seen = read_outcomes(scratch, FIRST + timedelta(hours=1))
    assert (len(seen), set(seen.subject), set(seen.world)) == (1, {SETUP}, {"replay"})


def test_guard18_a_later_night_leaves_the_earlier_ones_as_they_were(scratch):
    trades(scratch, 100)
    learn_calibrations(scratch, night(60))
    first, told = rows(scratch), read_calibration(scratch, night(60), "replay").as_rows()
    scratch.run(
        "update positions set realized_pnl = -realized_pnl where closed_at > :t", t=night(60)
    )
    learn_calibrations(scratch, night(99))
    assert rows(scratch)[:1] == first and len(rows(scratch)) == 2
    assert read_calibration(scratch, night(60), "replay").as_rows() == told
    assert read_calibration(scratch, night(60) - timedelta(seconds=1), "replay").curves == ()
    assert (
        read_calibration(scratch, night(99), "replay", whole=True).curve(SETUP, night(60)).count
        == 122
    )


def test_guard18_outcomes_of_the_future_do_not_teach_a_night(scratch):
    trades(scratch, 100)
    learn_calibrations(scratch, night(60))
    known = rows(scratch)
    scratch.run("delete from calibrations")
    scratch.run(
        "update positions set realized_pnl = -realized_pnl where closed_at > :t", t=night(60)
    )
    learn_calibrations(scratch, night(60))
    assert rows(scratch) == known


def test_a_written_row_cannot_be_changed(scratch):
    trades(scratch, 2)
    learn_calibrations(scratch, night(2))
    with pytest.raises(Exception, match="never changed"):
        scratch.run("update calibrations set hits = 0")
    scratch.run("update positions set realized_pnl = -realized_pnl")
    before = rows(scratch)
    assert learn_calibrations(scratch, night(2)).accepted == 0
    assert rows(scratch) == before


def test_the_same_night_twice_and_a_night_without_news_add_nothing(scratch):
    trades(scratch, 30)
    assert learn_calibrations(scratch, night(30)).accepted == 1
    for day in (30, 31, 45):
        told = learn_calibrations(scratch, night(day))
        assert (told.accepted, dict(told.reasons)) == (0, {"unchanged": 1})
    assert len(rows(scratch)) == 1


def test_worlds_do_not_teach_each_other(scratch):
    trades(scratch, 100, "replay", worth=1.0)
    learn_calibrations(scratch, night(100))
    before = read_calibration(scratch, night(100), "replay").as_rows()
    assert before and read_calibration(scratch, night(100), "simulated").curves == ()
    trades(scratch, 100, "simulated", worth=-1.0, seed=9)
    learn_calibrations(scratch, night(101))
    assert read_calibration(scratch, night(101), "replay").as_rows() == before
    other = read_calibration(scratch, night(101), "simulated").curve(SETUP)
    assert (other.count, other.calibrated) == (200, False)


def test_pt04_patterns_teach_the_worlds_they_belong_to(scratch):
    "PT-4: outcomes were mocks, so nothing could be learned"
    ids = security_ids(scratch, ["ACM", "MADE"])
    scratch.run(
        "update securities set name = 'Made Works (simulated)' where security_id = :s",
        s=ids["MADE"],
    )
    ensure_times(scratch, [time_id(FIRST)])
    same = {"time_id": time_id(FIRST), "timeframe": "15min", "pattern_subtype": "", "bias": "bullish", "pivot_at": FIRST, "confirmed_at": FIRST, "price_at_detection": 20}  # fmt: skip
    done = {
        "pattern_completed": True,
        "pattern_failed": False,
        "actual_outcome": "target",
        "outcome_at": night(0),
    }
    open_ = dict.fromkeys(done)
    late = done | {"outcome_at": night(5)}
    found = [
        ("ACM", "bull_flag", done),
        ("MADE", "bull_flag", done),
        ("ACM", "double_top", open_),
        ("ACM", "double_bottom", late),
    ]
    scratch.upsert(
        "pattern_analysis",
        [same | end | {"security_id": ids[s], "pattern_type": p, "confidence_score": 0.7, "metadata": {"score": 0.61} if s == "ACM" else {}} for s, p, end in found],
        keys=["security_id", "timeframe", "pattern_type", "pattern_subtype", "time_id"],
    )  # fmt: skip
    assert [len(read_outcomes(scratch, night(d))) for d in (1, 5)] == [3, 5]
    learn_calibrations(scratch, night(1))
    told = {w: read_calibration(scratch, night(1), w) for w in ("simulated", "replay", "alpaca")}
    assert {
        w: [(c.subject, c.count, c.points[0][0]) for c in k.curves] for w, k in told.items()
    } == {
        "simulated": [("pattern:bull_flag", 1, 0.7)],
        "replay": [("pattern:bull_flag", 1, 0.61)],
        "alpaca": [("pattern:bull_flag", 1, 0.61)],
    }


def test_enough_trades_with_skill_make_a_frequency(scratch):
    trades(scratch, 150, per_day=4)
    learn_calibrations(scratch, night(150))
    known = read_calibration(scratch, night(150), "replay")
    share, count = known.probability(SETUP, 0.9, night(150))
    assert count == 600 and share == pytest.approx(0.7, abs=0.1)
    assert known.probability(SETUP, 0.9, night(149)) == (None, 0)
    learn_calibrations(scratch, night(151), min_count=1000)
    assert read_calibration(scratch, night(151), "replay").probability(SETUP, 0.9) == (None, 600)


def test_a_calibrated_signal_is_counted_by_its_score(scratch):
    "Its confidence is a frequency already; learning from that would be circular"
    trades(scratch, 2)
    scratch.run(
        """update signals set confidence = 0.111, calibrated = true, terms = '{"score": 0.65}'"""
    )
    assert set(read_outcomes(scratch, night(3)).score) == {0.65}
    scratch.run("update signals set terms = '{}'")
    assert len(read_outcomes(scratch, night(3))) == 0
