"Words, secrets, settings, the registry. (guard-01, guard-17, guard-25)"

import logging
import pickle
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalyst.clock import slots, get_session, market_phase, next_slot, session_of, sessions_between
from catalyst.config import REGISTRY, Config
from catalyst.core import (
    DOMAINS,
    ENTRY_SIDE,
    EXIT_SIDE,
    InputError,
    PositionSide,
    Secret,
    Side,
    get_logger,
    load_settings,
    masked,
    word,
)


@given(st.text())
def test_guard_01_no_text_becomes_a_side_by_default(text):
    if text in ("buy", "sell"):
        assert word(Side, text) == text
    else:
        with pytest.raises(InputError):
            word(Side, text)


def test_guard_01_every_position_side_is_mapped_both_ways():
    assert set(ENTRY_SIDE) == set(EXIT_SIDE) == set(PositionSide)
    assert all({ENTRY_SIDE[s], EXIT_SIDE[s]} == {Side.BUY, Side.SELL} for s in PositionSide)
    assert ENTRY_SIDE[PositionSide.LONG] == Side.BUY


@pytest.mark.parametrize("kind", DOMAINS.values(), ids=lambda k: k.__name__)
def test_words_are_their_own_spelling(kind):
    assert all(word(kind, str(w)) is w for w in kind)
    with pytest.raises(InputError):
        word(kind, str(next(iter(kind))).upper())


def test_guard_25_secret_in_repr_traceback_log_and_pickle(caplog):
    s = Secret("open-sesame-1")
    try:
        raise RuntimeError(f"cannot log in with {s}")
    except RuntimeError:
        assert "sesame" not in traceback.format_exc()
    assert "sesame" not in repr({"a": [s]})
    with pytest.raises(TypeError):
        pickle.dumps(s)


def test_guard_25_log_records_are_cleaned(monkeypatch, caplog):
    monkeypatch.setenv("X_API_KEY", "open-sesame-2")
    with caplog.at_level(logging.INFO, "catalyst.t"):
        try:
            raise ValueError("401 for open-sesame-2")
        except ValueError:
            get_logger("t").exception(
                "failed with %s at postgresql://u:open-sesame-3@h/d", "open-sesame-2"
            )
    assert "sesame" not in caplog.text and "401 for" in caplog.text


@given(
    st.text(
        alphabet=st.characters(
            blacklist_characters=":/@ \t\n\r", blacklist_categories=("Cs", "Zs", "Cc")
        ),
        min_size=3,
        max_size=20,
    )
)
def test_passwords_in_urls_are_masked(password):
    shown = masked(f"could not connect to postgresql://ann:{password}@db.example/x", {})
    assert f":{password}@" not in shown or password == "•••"


def test_settings_prefer_the_environment(tmp_path):
    (tmp_path / "catalyst.toml").write_text('world = "replay"\nsimulate_seed = 3\n')
    s = load_settings(tmp_path, env={"CATALYST_WORLD": "simulated"})
    assert (s.world, s.simulate_seed) == ("simulated", 3)


@pytest.mark.parametrize(
    "text", ['world = "live"', "worlds = 1", "alpaca_key = 'x'", "= broken", "\x00"]
)
def test_a_bad_settings_file_is_one_line(tmp_path, text):
    (tmp_path / "catalyst.toml").write_text(text)
    with pytest.raises(InputError) as e:
        load_settings(tmp_path, env={})
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", REGISTRY)
def test_guard_17_each_parameter_has_one_home_and_a_range(name):
    p = REGISTRY[name]
    assert p.parse(str(p.default)) == p.default
    assert p.unit and p.meaning and p.used_by
    if p.high is not None:
        with pytest.raises(InputError):
            p.parse(p.high * 2 + 1)


def test_guard_17_a_percent_and_a_fraction_are_not_mixed_up():
    with pytest.raises(InputError):
        Config({"risk_per_trade_pct": 2})


@pytest.mark.parametrize("year", [2019, 2024, 2025])
def test_guard_10_slots_lie_in_the_session_of_their_own_day(year):
    "Orders at 20:00, 22:00, 00:00 and 02:00 New York came from a schedule in local time"
    from datetime import date

    for s in sessions_between(date(year, 1, 1), date(year, 12, 31)):
        grid = slots(s)
        assert grid[0] == s.opens and grid[-1] == s.closes
        assert all(session_of(t).day == s.day for t in grid)
        assert {market_phase(t) for t in grid[:-1]} == {"regular"}


def test_next_slot_crosses_the_change_to_summer_time():
    friday = get_session("2025-03-07")
    assert next_slot(friday.closes) == get_session("2025-03-10").opens
