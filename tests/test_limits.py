"Every question before an entry, each with its number; the size that the stop allows; and the earlier system's failures by name"

import ast
import inspect
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst import account, limits, proposals, risk, sizing, states
from catalyst.clock import get_session
from catalyst.config import MODES, REGISTRY, Config, for_mode
from catalyst.core import ENTRY_SIDE, EXIT_SIDE, InputError, OrderType, PositionSide
from catalyst.limits import check, largest
from catalyst.proposals import Book, Facts, Holding, Proposal, RiskState, refused
from catalyst.sizing import UNCALIBRATED, UNKNOWN_CALM, calm_scale, confidence_scale, suggest

TEN = datetime(2025, 8, 13, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)
D = Decimal
COUNTED = dict(mean_volume=D(2_000_000), atr_pct=D("0.01"))
SHORT = dict(side=PositionSide.SHORT, stop_price=D("178.00"), target_price=D("171.00"))


def proposal(**more):
    values = dict(
        security_id=1,
        symbol="AAPL",
        side=PositionSide.LONG,
        quantity=D(50),
        entry_price=D("175.50"),
    )
    values |= dict(
        stop_price=D("173.00"),
        target_price=D("180.00"),
        setup="test",
        decided_at=TEN,
        expires_at=TEN + HOUR,
    )
    return Proposal(**values | more)


def facts(
    sector="Energy", tradable=True, bar_at=TEN, spread=D("0.0002"), correlations=None, **more
):
    return Facts(sector, tradable, bar_at, spread, correlations or {}, **COUNTED | more)


def book(**more):
    known = facts("Information Technology", correlations={2: 0.1, 3: -0.9})
    values = dict(
        asof=TEN,
        equity=D(100_000),
        buying_power=D(100_000),
        peak_equity=D(100_000),
        facts=dict.fromkeys((1, 2, 3), known),
        state=RiskState.ACTIVE,
    )
    return Book(**values | more)


def held(security_id=2, sector="Energy", value=5_000, at_risk=100):
    return Holding(security_id, sector, D(value), D(at_risk))


def verdicts(p, b, **config):
    return {c.name: c for c in check(p, b, Config(config))}


def failing(p, b, **config):
    return {c.name for c in check(p, b, Config(config)) if c.verdict == "refused"}


def test_the_playbooks_example():
    "100 AAPL, 175.50, stop 173, target 180: reward 450 against risk 250"
    found = verdicts(proposal(quantity=D(100)), book())
    assert found["reward_risk"].value == D("1.8") and found["reward_risk"].verdict == "approved"
    assert found["trade_risk"].value == 250 and found["position_value"].value == 17_550
    assert failing(proposal(quantity=D(100)), book()) == {"position_value"}
    assert failing(proposal(quantity=D(100)), book(), max_position_usd=20_000) == set()
    assert largest(proposal(), book(), Config()) == (56, "position_value")


CASES = {
    "positions": (
        proposal(),
        book(
            holdings=tuple(held(i, value=100, at_risk=1) for i in range(10, 15)),
            facts={1: facts(correlations={i: 0 for i in range(10, 15)})},
        ),
    ),
    "duplicate": (proposal(), book(holdings=(held(1, value=100, at_risk=1),))),
    "foreign": (proposal(), book(facts={1: facts(foreign=D(-200))})),
    "position_value": (proposal(quantity=D(57)), book()),
    "trade_risk": (
        proposal(quantity=D(50), stop_price=D("170.00"), target_price=D("195")),
        book(equity=D(12_000), peak_equity=D(12_000)),
    ),
    "kelly": (proposal(calibrated=True, confidence=0.35), book()),
    "portfolio_risk": (proposal(), book(holdings=(held(at_risk=4_900),))),
    "sector_exposure": (
        proposal(),
        book(holdings=(held(sector="Information Technology", value=31_300),)),
    ),
    "reward_risk": (proposal(target_price=D("179.00")), book()),
    "stop_side": (proposal(stop_price=D("176.00")), book()),
    "stop_distance": (proposal(stop_price=D("166.70"), target_price=D("195")), book()),
    "buying_power": (proposal(), book(buying_power=D(8_774))),
    "state": (proposal(), book(state=RiskState.REDUCING)),
    "daily_loss": (proposal(), book(realized=D(-1500), open_pnl=D(-500))),
    "drawdown": (proposal(), book(peak_equity=D(112_000))),
    "losing_streak": (proposal(), book(losses_in_a_row=3)),
    "correlation": (
        proposal(),
        book(holdings=(held(2),), facts={1: facts(correlations={2: 0.71})}),
    ),
    "books": (proposal(), book(disagreements=("ghost QUBT: ours 200, broker 0",))),
    "tick": (proposal(entry_price=D("175.501")), book()),
    "lot": (proposal(quantity=D("49.5")), book()),
    "tradable": (proposal(), book(facts={1: facts(tradable=False)})),
    "not_halted": (proposal(), book(facts={1: facts(halted="news pending")})),
    "shortable": (proposal(**SHORT), book(facts={1: facts(shortable=False)})),
    "spread": (proposal(), book(facts={1: facts(spread=D("0.011"))})),
    "liquidity": (proposal(), book(facts={1: facts(mean_volume=D(4_999))})),
    "market": (proposal(), book(market_move=D("-0.0301"))),
    "news_coordination": (proposal(coordination=D("0.6")), book()),
    "on_time": (proposal(), book(late=D(301))),
    "promotion": (proposal(), book(facts={1: facts(suspect="a promotion is suspected")})),
    "after_open": (
        proposal(decided_at=TEN - HOUR),
        book(
            asof=TEN - timedelta(minutes=26),
            facts={1: facts(bar_at=TEN - timedelta(minutes=30))},
        ),
    ),
    "before_close": (
        proposal(decided_at=TEN + 5 * HOUR, expires_at=TEN + 6 * HOUR),
        book(
            asof=TEN + timedelta(hours=5, minutes=1),
            facts={1: facts(bar_at=TEN + 5 * HOUR)},
        ),
    ),
    "data_age": (proposal(), book(facts={1: facts(bar_at=TEN - timedelta(minutes=31))})),
    "signal_alive": (proposal(decided_at=TEN - 2 * HOUR, expires_at=TEN - HOUR), book()),
}


@pytest.mark.parametrize("name", CASES)
def test_each_limit_refuses_by_itself_and_the_others_still_answer(name):
    p, b = CASES[name]
    related = {
        "stop_side": {"trade_risk", "stop_distance", "reward_risk"},
        "trade_risk": {"sector_exposure"},
    }.get(name, set())
    assert failing(p, b) == {name} | related
    assert [c.name for c in check(p, b, Config())] == [
        c.name for c in check(proposal(), book(), Config())
    ]


def test_every_check_has_a_case():
    assert {c.name for c in check(proposal(), book(), Config())} == set(CASES)


def test_every_refusal_says_its_numbers():
    for name, (p, b) in CASES.items():
        [row] = [c for c in check(p, b, Config()) if c.name == name]
        [line] = [x for x in refused(check(p, b, Config())) if x.startswith(f"{name}: ")]
        assert f"against {row.limit:f} {row.unit}" in line


def test_a_limit_passes_at_its_value_and_a_loss_limit_does_not():
    assert (
        failing(
            proposal(entry_price=D(100), stop_price=D(98), target_price=D(103), quantity=D(100)),
            book(),
        )
        == set()
    )
    assert failing(proposal(), book(buying_power=D(8_775))) == set()
    assert failing(proposal(), book(market_move=D("-0.03"))) == set()
    assert failing(proposal(), book(facts={1: facts(mean_volume=D(5_000))})) == set()
    assert failing(proposal(), book(realized=D("-1999.99"))) == set()
    assert failing(proposal(), book(realized=D(-2000))) == {"daily_loss"}


def test_unknown_is_refused_except_where_no_source_exists():
    nothing = book(facts={}, holdings=(held(),), state=None)
    assert {"tradable", "data_age", "correlation", "state"} <= failing(proposal(), nothing)
    found = verdicts(proposal(), nothing)
    assert found["correlation"].value is None and "too little" in found["correlation"].note
    for name in ("spread", "liquidity", "market", "news_coordination", "kelly"):
        row = found[name]
        assert row.value is None and row.verdict == "approved" and "not checked" in row.note


def test_a_security_that_did_not_trade_has_no_room_and_one_whose_volume_nobody_counted_says_so():
    assert failing(proposal(), book(facts={1: facts(mean_volume=D(0))})) == {"liquidity"}


def test_a_quote_that_is_old_says_nothing_of_the_spread():
    "The last quote of a quiet stock was hours old, and was judged as if it were of now"
    dear = lambda s: book(facts={1: facts(spread=D("0.05"), quote_at=TEN - timedelta(seconds=s))})
    assert [failing(proposal(), dear(s)) for s in (-20, 0, 120, 121)] == [{"spread"}] * 3 + [set()]
    row = verdicts(proposal(), dear(7200))["spread"]
    assert row.value is None and "7200 s old" in row.note and "limit 120 s" in row.note
    assert failing(proposal(), dear(121), max_quote_age_seconds=300) == {"spread"}


def test_a_short_needs_shares_that_somebody_lends():
    lent = lambda x: book(facts={1: facts(shortable=x)})
    assert [failing(proposal(**SHORT), lent(x)) for x in (True, False)] == [set(), {"shortable"}]
    assert failing(proposal(), lent(False)) == set()  # A purchase borrows nothing
    row = verdicts(proposal(**SHORT), lent(None))["shortable"]
    assert row.verdict == "approved" and "not checked" in row.note


def test_unknown_sectors_share_one_bucket():
    known = {1: Facts(tradable=True, bar_at=TEN, correlations={2: 0.0})}
    filled = book(holdings=(held(2, proposals.UNCLASSIFIED, 35_000),), facts=known)
    assert failing(proposal(), filled) == {"sector_exposure"}


def test_the_market_stops_those_it_runs_against():
    for side, against in ((dict(), "-0.05"), (SHORT, "0.05")):
        assert failing(proposal(**side), book(market_move=D(against))) == {"market"}
        assert failing(proposal(**side), book(market_move=-D(against))) == set()


def test_guard_10_no_entries_at_night_on_weekends_or_late_on_half_days():
    half = get_session("2025-11-28")
    for asof in (
        TEN - 12 * HOUR,
        datetime(2025, 8, 16, 15, tzinfo=UTC),
        half.closes - timedelta(minutes=59),
        half.opens,
    ):
        p = proposal(decided_at=asof, expires_at=asof + HOUR)
        at_night = book(asof=asof, facts={1: facts(bar_at=asof)})
        assert failing(p, at_night) & {"after_open", "before_close"}, asof
    fine = half.closes - timedelta(minutes=60)
    p = proposal(decided_at=fine, expires_at=fine + HOUR)
    assert failing(p, book(asof=fine, facts={1: facts(bar_at=fine)})) == set()


def test_the_first_five_minutes_and_the_last_hour_are_left_alone():
    day = get_session("2025-08-13")
    for minute, ok in ((4, False), (5, True), (330, True), (331, False)):  # 09:34 … 15:01
        at = day.opens + timedelta(minutes=minute)
        p = proposal(decided_at=at, expires_at=at + HOUR)
        assert (failing(p, book(asof=at, facts={1: facts(bar_at=at)})) == set()) is ok


# ------------------------------------------------------------------------------------------------------------------- registry


def _read_by(module, owner="c"):
    "Parameters of the registry that a module reads from its configuration"
    tree = ast.parse(inspect.getsource(module))
    plain = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute)
        and isinstance(n.value, ast.Name)
        and n.value.id in ("c", "config")
    }
    spelt = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)} & set(REGISTRY)
    return plain | spelt


def test_guard_17_every_limit_comes_from_the_registry():
    used = {m: _read_by(m) for m in (sizing, limits, states, risk)}
    assert used[limits] and set().union(*used.values()) <= set(REGISTRY)
    of_risk = {n for n, p in REGISTRY.items() if p.used_by == "risk"}
    assert of_risk <= set().union(*used.values()), "a limit that nothing reads"
    tight = {
        "position_value": {"max_position_usd": 1},
        "positions": {"max_positions": 1},
        "reward_risk": {"min_reward_risk": 50},
        "liquidity": {"max_share_of_volume": 0.0001, "max_position_usd": 1e6},
        "promotion": {"suspect_size_factor": 0.0},
        "market": {"max_market_move_pct": 0.001},
    }
    warned = facts("Information Technology", correlations={2: 0.1}, suspect="pushed")
    b = book(holdings=(held(),), market_move=D("-0.002"), facts={1: warned})
    for name, values in tight.items():
        assert name in failing(proposal(quantity=D(300)), b, **values)


def test_guard_17_no_number_of_the_registry_is_written_a_second_time():
    "A default that a module repeats is a second home"
    mine = {n: p.default for n, p in REGISTRY.items() if p.used_by == "risk"}
    apart = {v for v in mine.values() if isinstance(v, float) and v not in (0.5, 1.0)}
    for module in (proposals, sizing, limits, states, risk):
        tree = ast.parse(inspect.getsource(module))
        numbers = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)} - {True, False}
        assert not {x for x in numbers if isinstance(x, float)} & apart, module.__name__
        assert not numbers & {2000, 10_000}, module.__name__


def test_rk03_a_missing_parameter_is_an_error_and_not_a_default():
    class Lacking(dict):
        def __getattr__(self, name):
            if name not in self:
                raise AttributeError(name)
            return self[name]

    everything = dict(Config())
    read = {n for n in _read_by(limits) | _read_by(sizing) if n in REGISTRY}
    assert len(read) >= 20
    sure = proposal(calibrated=True, confidence=0.6)
    for name in sorted(read - {"calm_atr_pct", "risk_per_trade_pct"}):
        short = Lacking({k: v for k, v in everything.items() if k != name})
        with pytest.raises((AttributeError, KeyError), match=name):
            check(sure, book(), short), suggest(sure, book(), short)
    for name in ("calm_atr_pct", "risk_per_trade_pct"):
        with pytest.raises((AttributeError, KeyError), match=name):
            suggest(sure, book(), Lacking({k: v for k, v in everything.items() if k != name}))
    with pytest.raises(InputError, match="max_postions"):
        Config({"max_postions": 3})
    for module in (sizing, limits, states):
        for n in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(n, ast.Call) and getattr(n.func, "attr", "") == "get":
                assert ast.unparse(n.func.value) not in ("c", "config"), "a default for a limit"


def test_rk08_a_limit_has_one_home():
    pages = {m.__name__: _read_by(m) for m in (sizing, limits)}
    assert list(REGISTRY).count("min_reward_risk") == 1
    assert sum("min_reward_risk" in names for names in pages.values()) == 1
    found = verdicts(proposal(target_price=D("179.50")), book())["reward_risk"]
    assert (found.value, found.limit) == (D("1.6"), D("1.5")) and found.verdict == "approved"


# ------------------------------------------------------------------------------------------------------- the earlier failures


def test_rk01_a_sector_is_a_share_of_capital():
    assert verdicts(proposal(), book())["sector_exposure"].value == D("0.08775")
    second = book(holdings=(held(2, "Information Technology", 8_775),))
    assert verdicts(proposal(), second)["sector_exposure"].value == D("0.1755")
    assert failing(proposal(), second) == set()


def test_rk02_decimals_and_fractions_meet_and_a_wrong_side_has_no_risk():
    odd = book(equity=D("100000.10"), open_pnl=D("-0.10"), facts={1: facts(spread=D("0.0099999"))})
    assert failing(proposal(), odd, risk_per_trade_pct=0.02, max_spread_pct=0.01) == set()
    wrong = verdicts(proposal(stop_price=D("176.00")), book())
    assert wrong["trade_risk"].value is None and wrong["trade_risk"].verdict == "refused"
    with pytest.raises(TypeError):
        Proposal(1, "AAPL", PositionSide.LONG, D(1), D(1), D(1))  # no target, no proposal


def test_rk04_a_profit_never_stops_trading():
    assert failing(proposal(), book(realized=D(50_000))) == set()
    assert book(realized=D(50_000)).loss == 0
    assert failing(proposal(), book(realized=D(3_000), open_pnl=D(-5_000))) == {"daily_loss"}


def test_rk05_and_guard_09_places_count_over_the_whole_account():
    b, n = book(), 0
    for i in range(10, 50):
        p = proposal(security_id=i, quantity=D(10))
        known = {i: facts(f"Sector {i}", correlations={j: 0.0 for j in range(10, i)})}
        if not failing(p, replace(b, facts=known)):
            b, n = (
                replace(b, holdings=(*b.holdings, Holding(i, f"Sector {i}", p.value, p.risk))),
                n + 1,
            )
    assert n == Config().max_positions == 5


def test_rk09_no_daily_count_of_trades_stops_an_afternoon():
    assert not any("trades" in p.unit and "day" in p.meaning.lower() and n != "max_consecutive_losses"
                   for n, p in REGISTRY.items())  # fmt: skip
    assert failing(proposal(), book(realized=D(10), losses_in_a_row=0)) == set()


def test_guard_01_sides_are_a_table_and_words_are_refused():
    assert {s: ENTRY_SIDE[s] for s in PositionSide} == {"long": "buy", "short": "sell"}
    assert {s: EXIT_SIDE[s] for s in PositionSide} == {"long": "sell", "short": "buy"}
    for wrong in ("buy", "LONG", "", None, "long"):
        with pytest.raises(InputError):
            proposal(side=wrong)


# ------------------------------------------------------------------------------------------------------------------------ size


@given(
    st.sampled_from(list(PositionSide)),
    st.integers(200, 50_000),
    st.integers(1, 2_000),
    st.integers(0, 30_000),
    st.integers(0, 4_000),
    st.booleans(),
    st.floats(0, 1),
    st.one_of(st.none(), st.integers(1, 100)),
    st.one_of(st.none(), st.integers(0, 100_000)),
    st.sampled_from([1, 100]),
)
def test_guard_24_size_follows_the_stop_and_is_the_largest_that_passes(
    side, cents, off, in_sector, used, calibrated, confidence, wild, volume, lot
):
    entry, gap = D(cents) / 100, D(min(off, cents // 2)) / 100
    sign = {PositionSide.LONG: 1, PositionSide.SHORT: -1}[side]
    p = proposal(
        side=side,
        entry_price=entry,
        stop_price=entry - sign * gap,
        target_price=entry + sign * gap * 2,
        calibrated=calibrated,
        confidence=confidence,
    )
    atr, shares = (None if x is None else D(x) for x in (wild, volume))
    known = facts(
        "Information Technology",
        correlations={2: 0.0},
        atr_pct=None if atr is None else atr / 1000,
        mean_volume=shares,
        lot=lot,
    )
    b = book(holdings=(held(2, "Information Technology", in_sector, used),), facts={1: known})
    n, why = suggest(p, b, Config())
    sized = {"trade_risk", "portfolio_risk", "position_value", "buying_power", "sector_exposure"}
    sized |= {"kelly", "liquidity", "lot"}
    if n:
        assert not failing(replace(p, quantity=D(n)), b) & sized
        scale = confidence_scale(p) * calm_scale(known, Config())
        assert n * gap <= 2_000 * scale <= 2_000
    more = replace(p, quantity=D(n + lot))
    assert why == "trade_risk" or why in failing(more, b)
    best, decides = largest(p, b, Config())
    if best:
        assert failing(replace(p, quantity=D(best)), b) == set() and best == n
    else:
        assert n == 0 or decides in failing(replace(p, quantity=D(n)), b)


def test_guard_24_two_prices_get_two_sizes():
    "The earlier system bought 200 shares of everything"
    cheap = proposal(entry_price=D("12.00"), stop_price=D("11.50"), target_price=D("13.00"))
    sizes = {suggest(p, book(), Config())[0] for p in (proposal(), cheap)}
    assert sizes == {56, 833}


def test_a_stop_on_the_wrong_side_has_no_size():
    for stop in ("176.00", "175.50"):
        assert suggest(proposal(stop_price=D(stop)), book(), Config()) == (0, "stop_side")
        assert largest(proposal(stop_price=D(stop)), book(), Config()) == (0, "stop_side")


FAR = dict(stop_price=D("168.00"), target_price=D("189.00"))  # 7.50 at risk for 13.50: 1.8 to one
FREE = dict(max_position_usd=1e6, max_sector_exposure_pct=1)


def test_size_is_scaled_by_mode_confidence_and_volatility():
    def size(mode="normal", known=facts(), **more):
        b = book(buying_power=D(10**7), facts={1: known})
        return suggest(proposal(**FAR, **more), b, for_mode(Config(FREE), mode))[0]

    sure = dict(calibrated=True, confidence=0.9)
    assert (size(), size(**sure)) == (133, 240)  # half of 2,000 dollars, and nine tenths, at 7.50
    assert size(known=facts(atr_pct=D("0.06"))) == size(known=facts(atr_pct=None)) == 66
    assert size(mode="conservative") == 66 and size(mode="aggressive") == 200
    assert UNCALIBRATED == UNKNOWN_CALM == D("0.5") and MODES
    assert confidence_scale(proposal(confidence=0.99)) == UNCALIBRATED, "a boast earns nothing"


def test_kelly_caps_and_never_drives():
    p = lambda chance: proposal(confidence=chance, calibrated=True, **FAR)
    at = lambda chance: suggest(p(chance), book(buying_power=D(10**7)), Config(FREE))
    assert at(0.37) == (
        66,
        "kelly",
    )  # (0.37 × 1.8 − 0.63) / 1.8 = 2 %; a quarter of it: 500 dollars
    assert at(0.9) == (240, "trade_risk"), "a high chance does not raise the budget"
    assert at(1.0) == (266, "trade_risk") and at(0.35) == (0, "kelly")
    assert "kelly" in failing(p(0.35), book()) and "kelly" not in failing(p(0.9), book())


def test_what_no_size_cures_has_no_size():
    for name in ("state", "not_halted", "market", "tradable", "books", "before_close"):
        p, b = CASES[name]
        assert largest(p, b, Config()) == (0, name)
        assert suggest(p, b, Config())[0] == 56


def test_there_is_no_way_around():
    for function in (
        risk.approve,
        risk.approve_close,
        risk.approve_exits,
        risk.validate,
        check,
        suggest,
    ):
        for name in inspect.signature(function).parameters:
            assert not any(w in name for w in ("bypass", "force", "skip", "override", "unsafe")), (
                name
            )
    assert (
        OrderType.LIMIT == proposal().order_type
        and json.dumps(refused(check(proposal(), book(), Config()))) == "[]"
    )


def test_old_places_still_have_the_names():
    for module, names in (
        (
            limits,
            "Book Facts Holding Proposal Check UNCALIBRATED check refused suggest at_most holds",
        ),
        (
            risk,
            "approve approve_close correlation disagreements holdings read_book release Decision",
        ),
    ):
        assert all(hasattr(module, n) for n in names.split())
    assert limits.Book is proposals.Book and risk.read_book is account.read_book
