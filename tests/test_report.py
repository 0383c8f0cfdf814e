"The page of a day: nothing foreign runs on it, nothing later is in it, nothing is dropped without a word"

import hashlib
import re
from datetime import timedelta
from decimal import Decimal as D
from html.parser import HTMLParser

import pytest
from day_rows import CHOSEN, Day, at

from catalyst import markup, sections
from catalyst.core import InputError, UnavailableError
from catalyst.markup import DARK, LIGHT, clean, contrast, el, words
from catalyst.ports import Account
from catalyst.record import read_day
from catalyst.report import day_report, render
from catalyst.results import mark_equity
from catalyst.schema import scratch_store
from catalyst.tables import (
    account_table,
    day_summary,
    decisions_table,
    fingerprint,
    funnel_table,
    orders_table,
    positions_table,
    quarantine_table,
    runs_table,
)

EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "A\x01\u202eB' onmouseover='x",
    "</title></svg></style><svg onload=x>",
    "&lt;b&gt;" + "y" * 100_000,
]
LATE = at(15)


@pytest.fixture(scope="module")
def filled():
    "One plausible day; tests that change it make their own"
    with scratch_store() as store:
        yield store, Day(store).fill()


class Reader(HTMLParser):
    "Elements with their attributes, checked for balance"

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in markup.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text.append(data)


def page_of(store, cycle, asof=LATE):
    return str(render(read_day(store, cycle, asof)))


KNOWN = set(
    "html head meta title style body script header main footer section article nav div span p b small code a h1 h2 h3 time abbr blockquote "
    "figure figcaption svg line circle rect path polyline text table thead tbody tr th td details summary dl dt dd ol li".split()
)


def test_nothing_from_outside_becomes_markup(tmp_path):
    "guard: headlines, sources, reasons, messages and rows are written by strangers"
    with scratch_store() as store:
        cycle = Day(store, headlines=dict(zip(CHOSEN, EVIL, strict=True))).fill()
        bad = EVIL[1]
        store.run("update news_sources set source_name = :b", b=EVIL[0])
        store.run(
            "update scan_results set reason = :b where rank = 7", b=bad + EVIL[0] + "z" * 50_000
        )
        store.run("update runs set error = :b where error is not null", b=bad)
        store.run("update risk_events set message = :b", b=bad)
        store.run("update quarantine set row_text = :b, reason = :b", b=EVIL[3])
        store.run("update service_health set error_message = :b", b=bad)
        store.run("update securities set name = :b where symbol = 'NVDA'", b=bad + EVIL[3])
        store.run(
            "update signals set setup = :b where security_id = (select security_id from securities where symbol = 'MRNA')",
            b=EVIL[0],
        )
        store.run("update pattern_analysis set pattern_type = :b", b=bad)
        store.run(
            "update workflow_log set details = jsonb_build_object('no_plan', jsonb_build_object('TSLA', cast(:b as text))) where step = '50_trade'",
            b=bad,
        )
        store.run(
            "update news_sentiment set decided_by = jsonb_build_object('tone', jsonb_build_object('words', jsonb_build_object(cast(:b as text), 1.5)))",
            b=bad,
        )
        text = day_report(store, cycle, LATE, tmp_path / "day.html").read_text("utf-8")
    found = Reader(text)
    assert {tag for tag, _ in found.elements} <= KNOWN
    assert [tag for tag, _ in found.elements].count("script") == 1
    for tag, attributes in found.elements:
        assert not {
            a for a in attributes if a.startswith("on") or a in ("src", "srcset", "action")
        }, (tag, attributes)
        assert attributes.get("href", "#").startswith("#")
    assert not found.open and not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert len(text.encode()) < 3_000_000 and max(map(len, found.text)) < 25_000
    assert EVIL[0] in "".join(found.text), "the headline is still there to read"


def test_the_page_needs_nothing_else(filled):
    text = page_of(*filled)
    assert not re.findall(r"https?://|url\(|@import|<link|<img|<iframe", text)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace(
        "&#x27;", "'"
    )
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    digest = __import__("base64").b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy


def test_well_formed_and_readable_by_ear(filled):
    found = Reader(page_of(*filled))
    assert not found.open
    assert dict(found.elements)["html"]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch(r"h[1-6]", tag)]
    assert (
        levels[0] == 1
        and levels.count(1) == 1
        and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    )
    for tag, attributes in found.elements:
        if tag == "svg":
            assert attributes["role"] == "img" and attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] == "col"
    assert (
        found.text.count("All times are New York time.") == 1
        or "".join(found.text).count("All times are New York") == 1
    )
    boxes = [
        a for t, a in found.elements if t == "div" and "scroll" in (a.get("class") or "").split()
    ]
    assert len(boxes) == [t for t, _ in found.elements].count("table") and all(
        b["aria-label"] and b["tabindex"] == "0" for b in boxes
    )


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("ink", ["ink", "soft", "blue", "gain", "loss", "amber"])
def test_contrast(palette, ink):
    assert min(contrast(palette[ink], palette[g]) for g in ("ground", "card", "tint")) >= 4.5


def test_nothing_later_is_shown():
    "guard: the page of 11:00 does not change when the afternoon does"
    asof = at(11)
    with scratch_store() as store:
        day = Day(store)
        cycle = day.fill()
        before, numbers = page_of(store, cycle, asof), day_summary(store, cycle, asof)
        store.run(
            "update trading_history set open = open * 2, high = high * 2, low = low * 2, close = close * 2, volume = volume + 9 where available_at > :t",
            t=asof,
        )
        store.run(
            "delete from scan_results r where scan_timestamp > :t and not exists (select from signals g where g.scan_result_id = r.scan_result_id)",
            t=asof,
        )
        store.run(
            "update news_sentiment set headline = 'LATER', catalyst_strength = 1 where received_at > :t",
            t=asof,
        )
        store.run(
            "update positions set realized_pnl = 9999, exit_price = 1, close_reason = 'LATER' where closed_at > :t",
            t=asof,
        )
        store.run("update positions set last_price = 1, unrealized_pnl = -5")
        store.run("update orders set status_reason = 'LATER' where ended_at > :t", t=asof)
        store.run("update fills set price = 1 where filled_at > :t", t=asof)
        store.run("update quarantine set reason = reason || '' where seen_at > :t", t=asof)
        store.run(
            """insert into news_sentiment (revision_id, security_id, time_id, headline, source_id, published_at, received_at)
               select revision_id, :s, time_id, 'LATER', source_id, published_at, received_at from news_sentiment where received_at > :t""",
            s=day.ids["NVDA"], t=asof,
        )  # fmt: skip
        day.insert(
            "quarantine",
            kind="bars",
            feed="x",
            reason="LATER",
            row_hash="l",
            row_text="LATER",
            seen_at=at(12),
        )
        day.insert(
            "risk_events",
            event_key="l",
            cycle_id=cycle,
            event_type="later",
            severity="critical",
            message="LATER",
            action_taken="",
            occurred_at=at(12),
        )
        day.insert(
            "workflow_log",
            cycle_id=cycle,
            step="60_monitor",
            slot_at=at(12),
            status="failed",
            details={},
            error_message="LATER",
        )
        after = page_of(store, cycle, asof)
        assert after == before and "LATER" not in after
        assert day_summary(store, cycle, asof) == numbers
        assert page_of(store, cycle, LATE) != page_of(store, cycle, asof)


def test_as_of_each_table(filled):
    store, cycle = filled
    early = at(10, 5)
    assert set(orders_table(store, cycle, early).status) <= {
        "accepted",
        "held",
        "filled",
        "expired",
    }
    entries = orders_table(store, cycle, early).query("purpose == 'entry'")
    assert list(entries.status) == ["accepted", "accepted"] and entries.filled_quantity.sum() == 0
    assert positions_table(store, cycle, early).empty
    held = positions_table(store, cycle, at(11)).set_index("symbol")
    assert (
        set(held.status) == {"open"}
        and held.exit_price.isna().all()
        and held.r_multiple.isna().all()
    )
    done = positions_table(store, cycle, LATE).set_index("symbol")
    assert (done.status["NVDA"], done.close_reason["NVDA"], done.status["MRNA"]) == (
        "closed",
        "target",
        "open",
    )
    assert (
        len(decisions_table(store, cycle, early)) == 6
        and len(decisions_table(store, cycle, LATE)) == 10
    )
    assert len(funnel_table(store, cycle, early)) == 14
    assert quarantine_table(store, cycle, at(7)).empty
    assert runs_table(store, cycle, at(9)).step.tolist() == ["10_news"]


def test_every_drop_has_its_reason(filled):
    store, cycle = filled
    day = read_day(store, cycle, LATE)
    for at_, funnel in day.funnel.groupby("scan_timestamp"):
        assert funnel.ended_here.sum() == 101 == funnel.reached.iloc[0]
        assert (
            (funnel.reached.shift(-1, fill_value=0) + funnel.ended_here - funnel.reached)
            .iloc[:-1]
            .eq(0)
            .all()
        )
        dropped = funnel[funnel.stage != "selected"]
        assert [sum(r.values()) for r in dropped.reasons] == dropped.ended_here.tolist()
    text = page_of(store, cycle)
    last = day.scans[day.scans.scan_timestamp == day.scans.scan_timestamp.max()]
    rows = re.findall(
        r"<tr[^>]*>(.*?)</tr>", text.split('aria-label="Scan at 12:00"')[1].split("</table>")[0]
    )
    shown = {words(r).split()[0]: words(r) for r in rows}
    assert all(r.reason in shown[r.symbol] for r in last.itertuples())


def test_refusals_name_their_checks(filled):
    store, cycle = filled
    refused = decisions_table(store, cycle, LATE).query("verdict == 'refused'")
    assert refused.deciding.tolist() == [
        "positions: 6 against 5 positions; sector exposure: 6 against 5 dollars"
    ]
    text = words(page_of(store, cycle))
    assert refused.deciding[refused.index[0]] in text
    assert day_summary(store, cycle, LATE)["refused"][0].startswith("buy 50 AAPL: positions: 6")


def test_the_account_adds_up(filled):
    store, cycle = filled
    a, p = account_table(store, cycle, LATE).value, positions_table(store, cycle, LATE)
    assert a["equity"] == pytest.approx(
        100_000 + p.realized_pnl.sum() + p.open_pnl.sum() - p.fees[p.status == "open"].sum()
    )
    assert (a["won"], a["lost"], a["open_positions"]) == (1, 0, 1)
    assert a["equity"] - a["starting_equity"] == pytest.approx(
        read_day(store, cycle, LATE).profit.pnl.iloc[-1]
    )


def test_more_news_does_not_multiply_trades():
    "RP-3: a join by security or time made two trades of one"
    with scratch_store() as store:
        day = Day(store)
        cycle = day.fill()
        before = day_summary(store, cycle, LATE), len(read_day(store, cycle, LATE).lineage)
        nvda = day.ids["NVDA"]
        store.run(
            """insert into pattern_analysis (security_id, time_id, timeframe, pattern_type, bias, pivot_at, confirmed_at, confidence_score, price_at_detection)
               select security_id, time_id, timeframe, 'other', bias, pivot_at, confirmed_at, 0.5, price_at_detection from pattern_analysis where security_id = :s""",
            s=nvda,
        )
        store.run("update securities set sector_id = null where security_id = :s", s=nvda)
        assert (
            day_summary(store, cycle, LATE),
            len(read_day(store, cycle, LATE).lineage),
        ) == before


def test_what_is_missing_says_why():
    with scratch_store() as store:
        day = Day(store, world="alpaca")
        day.cycle_row()
        text = page_of(store, day.cycle)
        assert "missing: no pass has asked the broker by 2025-08-13T" in text
        for sentence in (
            "No scan has run",
            "No security was selected",
            "Nothing was proposed to risk",
            "Nothing was held",
            "No run is on record",
            "No news item was received",
        ):
            assert sentence in text, sentence
        summary = day_summary(store, day.cycle, LATE)
        assert summary["equity"] is None and summary["orders"] == 0


def test_a_position_without_bars_has_no_mark():
    with scratch_store() as store:
        cycle = Day(store).fill()
        store.run(
            "delete from trading_history h using securities s where s.security_id = h.security_id and s.symbol = 'MRNA'"
        )
        p = positions_table(store, cycle, LATE).set_index("symbol")
        assert p.open_pnl.isna()["MRNA"] and p.null_reason["MRNA"]
        a = account_table(store, cycle, LATE)
        assert a.value.isna()[["equity", "open_pnl"]].all() and "MRNA" in a.reason["equity"]
        text = page_of(store, cycle)
        assert "No bar of MRNA was known by then" in text and "an unknown amount" in text


@pytest.mark.parametrize(
    "world, label", [("simulated", "SIMULATED"), ("replay", "REPLAY"), ("alpaca", "PAPER")]
)
def test_the_world_is_labelled(world, label):
    with scratch_store() as store:
        day = Day(store, world=world)
        day.cycle_row()
        text = page_of(store, day.cycle)
    assert words(text[text.index("<body>") :]).startswith(label)
    assert label.lower() in re.search(r"<title>(.*?)</title>", text)[1]


def test_fingerprint_is_the_day_and_not_the_ids(filled):
    store, cycle = filled
    with scratch_store() as other:
        for name in (
            "signals_signal_id",
            "risk_approvals_approval_id",
            "orders_order_id",
            "positions_position_id",
            "fills_fill_id",
        ):
            other.run(f"alter sequence {name}_seq restart with 5000")
        day = Day(other)
        assert day.fill() == cycle
        same = fingerprint(other, cycle)
        other.run("update runs set started_at = started_at + interval '1 day'")
        assert fingerprint(other, cycle) == same == fingerprint(store, cycle)
        for change in (
            "update signals set confidence = 0.72 where confidence = 0.71",
            "update orders set status_reason = 'x' where purpose = 'stop'",
            "update fills set price = price + 0.01",
            "update positions set close_reason = 'x' where status = 'closed'",
        ):
            before = fingerprint(other, cycle)
            other.run(change)
            assert (fingerprint(other, cycle) == before) == ("status_reason" in change), change
        assert fingerprint(other, "nobody") != same


def test_a_large_universe_stays_a_small_page(filled, monkeypatch):
    store, cycle = filled
    monkeypatch.setattr(sections, "MOST_ROWS", 150)
    text = page_of(store, cycle)
    assert text.count("98 dropped securities are left out of this scan") == 2
    assert len(text) < len(page_of_all(store, cycle, monkeypatch))


def page_of_all(store, cycle, monkeypatch):
    monkeypatch.setattr(sections, "MOST_ROWS", 10_000)
    return page_of(store, cycle)


def test_the_file_is_whole_or_old(filled, tmp_path, monkeypatch):
    store, cycle = filled
    path = tmp_path / "day.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(markup.os, "replace", full)
    with pytest.raises(UnavailableError, match="No space left"):
        day_report(store, cycle, LATE, path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["day.html"]
    monkeypatch.undo()
    assert day_report(store, cycle, LATE, path) == path and path.read_text("utf-8").startswith(
        "<!doctype html>"
    )


def test_the_same_instant_gives_the_same_page(filled):
    assert page_of(*filled) == page_of(*filled)


def test_an_unknown_cycle_is_refused(filled, tmp_path):
    with pytest.raises(InputError, match="cycle: received '20250814-replay'"):
        day_report(filled[0], "20250814-replay", LATE, tmp_path / "x.html")
    assert not list(tmp_path.iterdir())


def test_naive_instants_are_refused(filled):
    for read in (
        account_table,
        positions_table,
        orders_table,
        decisions_table,
        funnel_table,
        runs_table,
        quarantine_table,
    ):
        with pytest.raises(InputError, match="asof"):
            read(*filled, LATE.replace(tzinfo=None))


def test_clean_is_bounded():
    assert clean("\ud800\x00ok") == "ok" and len(clean("x" * 10**6)) == markup.LONGEST
    assert el("p", 0) == "<p>0</p>" and el("p", None, False) == "<p>False</p>"


def test_the_equity_of_an_alpaca_day_is_what_the_broker_said_by_then():
    "The account is the broker's: fees, deposits and foreign shares are in its figure, and in no sum of ours"
    with scratch_store() as store:
        day = Day(store, world="alpaca")
        day.cycle_row()
        for account, at, equity in (
            ("PA1", LATE - timedelta(days=1), 99_000),
            ("PA1", LATE - timedelta(hours=1), 101_234.5),
            ("PA1", LATE + timedelta(hours=1), 1),
            ("paper-replay", LATE, 5),
        ):
            told = Account(account, D(0), D(equity), D(0), at, simulated=False)
            mark_equity(store, told, D(equity), at)
        money = account_table(store, day.cycle, LATE).value
        assert (money["starting_equity"], money["equity"]) == (99_000, 101_234.5)
        assert day_summary(store, day.cycle, LATE)["equity"] == 101_234.5
