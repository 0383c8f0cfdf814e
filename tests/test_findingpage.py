"The page of discoveries: nothing foreign runs on it, nothing later is in it, and four kinds of nothing are told apart"

import itertools
import json
import math
import random
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pandas as pd
import pytest

from catalyst import markup
from catalyst.bars import import_bars
from catalyst.clock import get_session, session_offset, slots
from catalyst.core import InputError, UnavailableError
from catalyst.dims import ensure_times, security_ids, time_id
from catalyst.evidence import correct, tried_frame
from catalyst.findingpage import findings_section
from catalyst.foundpage import discovery_html, discovery_page
from catalyst.found import read_found
from catalyst.markup import words
from catalyst.network import (
    LETTER,
    MOST_PLACES,
    Link,
    Named,
    fitting,
    network_figure,
    ring,
    sector_spots,
)
from catalyst.packing import pack
from catalyst.record import read_day
from catalyst.report import render
from catalyst.schema import scratch_store

S = get_session("2025-08-13")
HALF_TEN, NOON, TWO = (S.opens + timedelta(minutes=m) for m in (60, 150, 270))
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></svg></style><svg onload=x>",
]
RETIRED = 24  # Predictions of a relation that fails
SYMBOLS = ["NVDA", "AMD", "XOM"]


@pytest.fixture(scope="module")
def store():
    "One database; every world empties it"
    with scratch_store() as store:
        yield store


class Reader(HTMLParser):
    "Elements with their attributes, checked for balance"

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open = [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in markup.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


class World:
    "Writes runs, relations and predictions into a store that it has emptied"

    def __init__(self, store):
        self.s = store
        for table in (
            "ml_pattern_discoveries",
            "discovery_runs",
            "workflow_log",
            "trading_cycles",
            "trading_history",
        ):
            store.run(f"delete from {table}")
        self.ids = list(security_ids(store, SYMBOLS).values())
        store.run(
            "insert into trading_cycles (cycle_id, session, world, started_at, configuration) values ('c', '2025-08-13', 'replay', :t, '{}')",
            t=S.opens,
        )

    def run(self, at, why=None, admitted=1, evil=""):
        a, b, c = self.ids
        h = 0 if why else 3
        run_id = self.s.value(
            """insert into discovery_runs (world, asof, asked, model_level, securities, sessions, hypotheses, tested, admitted, fired, why)
               values ('replay', :t, 'all', 0.05, 3, 60, :h, :h, :a, :a, :why) returning run_id""",
            t=at, h=h, a=0 if why else admitted, why=why,
        )  # fmt: skip
        if not why:
            rows = tried_frame(
                {"kind": "lead_lag", "key": ["lead_lag:1>2", "lead_lag:2>1", "lead_lag:1>3"], "leader": [a, b, a], "followers": [(b,), (a,), (c,)], "statistic": 1.0,
                 "effect": 0.004, "effect_net": 0.0036, "n": 40, "p": [1e-8 if admitted else 0.2, 0.7, 0.3], "null": "shift", "failed_where": evil, "detail": [{"direction": 1}] * 3}
            )  # fmt: skip
            rows = correct(rows)
            self.s.run(
                "insert into discovery_tried values (:r, 'lead_lag', 3, 3, :a, :p, :q, :b)",
                r=run_id,
                a=admitted,
                p=float(rows.p.min()),
                q=float(rows.q.min()),
                b=pack(rows),
            )
        return run_id

    def foretell(
        self,
        run_id,
        at,
        until,
        n=0,
        adversarial=False,
        kind=None,
        relation=None,
        evil=None,
        trigger=None,
    ):
        a, b, c = self.ids
        ensure_times(self.s, [time_id(at)])
        kind = kind or ("pump_and_dump" if adversarial else "lead_lag")
        row = {
            "discovery_key": f"{kind}{at}{n}{adversarial}{relation}", "security_id": None if adversarial else a, "time_id": time_id(at), "pattern_type": kind, "securities_involved": [c] if adversarial else [b],
            "pattern_confidence": 0.7, "trigger_conditions": json.dumps(trigger or {"at": at.isoformat(), "sign": 1} | ({} if adversarial else {"leader": a})), "feature_vector": json.dumps({"against": "sector", "pushed": evil}),
            "model_version": "v1", "predicted_outcome": json.dumps({"direction": -1 if adversarial else 1, "expected": 0.004}), "horizon_at": until, "p_value": 1e-8, "p_corrected": 1e-6, "tried": 3,
            "world": "replay", "run_id": run_id, "relation": relation or f"{kind}:1>2", "discovered_at": at, "adversarial": adversarial, "null_model": evil or "shift", "sample_size": 40, "effect_net": 0.0036, "failed_where": evil or "",
        }  # fmt: skip
        names = ", ".join(row)
        told = ", ".join(
            f"cast(:{k} as jsonb)"
            if k in ("trigger_conditions", "feature_vector", "predicted_outcome")
            else f":{k}"
            for k in row
        )
        return self.s.value(
            f"insert into ml_pattern_discoveries ({names}) values ({told}) returning discovery_id",
            **row,
        )

    def outcome(self, i, at, won, **told):
        told = told or {
            "move": 0.0123 if won else -0.0123,
            "gain": 0.0123,
            "gain_net": 0.0119 if won else -0.0127,
            "against": "sector",
        }
        self.s.run(
            "update ml_pattern_discoveries set actual_outcome = cast(:o as jsonb), pattern_success = :w, verified_at = :t where discovery_id = :i",
            o=json.dumps(told),
            w=won,
            t=at,
            i=i,
        )

    def fail(self, at, error="no memory"):
        self.s.run(
            "insert into workflow_log (cycle_id, step, slot_at, status, error_message) values ('c', '70_discover', :t, 'failed', :e)",
            t=at,
            e=error,
        )

    def bars(self, last=S.closes):
        days = [session_offset(S.day, -1), S]
        ts = [t for s in days for t in slots(s)[:-1] if t < last]
        flat = [
            pd.DataFrame({"symbol": s, "ts": ts, "close": 100.0 + n}) for n, s in enumerate(SYMBOLS)
        ]
        rows = pd.concat(flat).assign(volume=500.0)
        rows = rows.assign(
            open=rows.close,
            high=rows.close,
            low=rows.close,
            available_at=rows.ts + pd.Timedelta("15min"),
        )
        import_bars(self.s, rows, "15min", "made", S.ends)


def html(store, asof, since=S.starts):
    return str(discovery_html(read_found(store, asof, "replay", since), "replay"))


def told(store, asof, since=S.starts):
    text = html(store, asof, since)
    return words(text[text.index("<body>") : text.index("<script>")])


def test_nothing_from_outside_becomes_markup(store):
    "Symbols, triggers, nulls, reasons and errors are written by others"
    w = World(store)
    r = w.run(HALF_TEN, evil=EVIL[0])
    for n, (evil, adversarial) in enumerate(itertools.product(EVIL, (False, True))):
        i = w.foretell(
            r,
            HALF_TEN,
            NOON,
            n,
            adversarial,
            kind=None if n else evil,
            relation=evil,
            evil=evil,
            trigger={"at": evil, "leader": evil, evil: evil} if n % 2 else None,
        )
        if n % 3 == 0:
            w.outcome(i, NOON, None, reason=evil)
    w.fail(NOON, EVIL[1])
    known = read_found(store, TWO, "replay", S.starts)
    evil = dict(zip(w.ids, EVIL, strict=True))
    names = known.names.assign(symbol=[evil.get(i, s) for i, s in known.names.symbol.items()])
    text = str(discovery_html(replace(known, names=names.assign(sector_name=EVIL[1])), "replay"))
    found = Reader(text).elements
    assert sum(tag == "script" for tag, _ in found) == 1 and not any(
        tag == "img" for tag, _ in found
    )
    assert not [a for _, attributes in found for a in attributes if a.startswith("on")]
    assert (
        text.count("&lt;script&gt;") > 5 and "http://" not in text and text.count("</style>") == 1
    )


def test_nothing_has_four_sentences(store):
    "Failed, did not run, too little history and nothing found are different things"
    signs = ("did not run", "too little history", "failed:", "nothing was found")
    w = World(store)
    seen = [told(store, HALF_TEN - timedelta(minutes=1))]
    w.run(HALF_TEN, why="5 sessions of 30")
    seen.append(told(store, HALF_TEN))
    w.fail(NOON)
    seen.append(told(store, NOON))
    w.run(TWO, admitted=0)
    seen.append(told(store, TWO))
    assert [[s in t for s in signs] for t in seen] == [
        [True, False, False, False],
        [False, True, False, False],
        [False, True, True, False],  # What stands here is from the run before
        [False, False, False, True],
    ]
    assert "from 10:30" in seen[2] and "no memory" in seen[2]
    assert (
        "3 hypotheses were tried" in seen[3]
        and "smallest p was 0.2" in seen[3]
        and "0.05" in seen[3]
    )


def test_a_run_that_failed_and_was_run_again_did_not_fail(store):
    w = World(store)
    w.fail(HALF_TEN)
    assert "nothing is known" in told(store, NOON) and "did not run" not in told(store, NOON)
    w.run(NOON)
    assert "Earlier 1 run failed (10:30)" in told(store, NOON) and "failed:" not in told(
        store, NOON
    )
    w.run(HALF_TEN)
    assert "failed" not in told(store, NOON)


def test_later_outcomes_runs_and_bars_are_not_shown(store):
    "As of half past ten the page is the same, whatever is known later"
    w = World(store)
    r = w.run(HALF_TEN)
    i = w.foretell(r, HALF_TEN, NOON)
    w.bars(HALF_TEN)
    before, at_noon = html(store, HALF_TEN), html(store, NOON)
    w.bars()
    w.outcome(i, NOON, True)
    w.foretell(w.run(NOON), NOON, TWO, 1, adversarial=True)
    w.fail(TWO)
    assert html(store, HALF_TEN) == before
    early = read_found(store, HALF_TEN, "replay", S.starts)
    assert early.predictions.won.isna().all() and early.predictions.outcome.isna().all()
    assert len(early.bars) and (early.bars.available_at <= HALF_TEN).all()
    now = html(store, NOON)
    assert now != at_noon and "+1.23 %" in words(now) and "+1.23" not in words(before)
    assert told(store, NOON - timedelta(seconds=1)).count("right") == 0
    assert "failed:" not in told(store, NOON) and "failed:" in told(store, TWO)


def test_an_outcome_is_right_wrong_unknown_waiting_or_open(store):
    w = World(store)
    r = w.run(HALF_TEN)
    ids = [w.foretell(r, HALF_TEN, NOON, n, relation=f"lead_lag:{n}") for n in range(4)]
    w.foretell(r, HALF_TEN, TWO, 4, relation="lead_lag:4")
    w.outcome(ids[0], NOON, True)
    w.outcome(ids[1], NOON, False)
    w.outcome(ids[2], NOON, None, move=None, reason="no bars of noon")
    text = html(store, NOON)
    cards = [words(c) for c in re.findall(r"<article.*?</article>", text)]
    became = sorted(c.split("Became ")[1].split()[0] for c in cards)
    assert became == ["open", "right", "unknown", "waiting", "wrong"]
    assert any("could not be judged: no bars of noon" in c for c in cards)
    row = words(re.search(r'aria-label="Outcomes by kind".*?</table>', text)[0].split("<tbody>")[1])
    assert row.split()[2:5] == ["5", "2", "1"] and "50 %" in row and "9 to 91 %" in row


def test_warnings_stand_apart(store):
    "An adversarial prediction is never among the invitations"
    w = World(store)
    r = w.run(HALF_TEN)
    w.foretell(r, HALF_TEN, NOON)
    w.foretell(r, HALF_TEN, NOON, adversarial=True)
    text = html(store, HALF_TEN)
    head, rest = text.split("<h3>Warnings</h3>")
    first, second = head.split("<h3>Predictions</h3>")[1], rest.split("<h3>What became")[0]
    assert [part.count("<article") for part in (first, second)] == [1, 1]
    assert "pump and dump" in second and "pump and dump" not in first
    assert "No warning was given" not in text


def test_a_retired_relation_says_why(store):
    w = World(store)
    r = w.run(HALF_TEN)
    for n in range(RETIRED):
        begin = HALF_TEN - timedelta(days=RETIRED - n)
        w.outcome(
            w.foretell(r, begin, begin + timedelta(hours=1), n, relation="lead_lag:1>2"),
            begin + timedelta(hours=1),
            n == 0,
        )
    w.foretell(r, HALF_TEN, NOON, 99, relation="lead_lag:1>2")
    text = told(store, HALF_TEN)
    assert "1 of 1 1>2: 1 of 24 came true, 70% were foretold" in text
    assert "retired 1 of 24 came true" in text


def test_more_predictions_than_cards_are_rows(store):
    w = World(store)
    r = w.run(HALF_TEN)
    for n in range(15):
        w.foretell(r, HALF_TEN, NOON, n, relation=f"lead_lag:{n}")
    day = read_day(store, "c", HALF_TEN)
    text = "".join(findings_section(day))
    assert text.count("<article") == 12
    assert (
        text.split('aria-label="Further predictions"')[1].split("</table>")[0].count("<tr") == 1 + 3
    )


def test_the_day_has_its_discoveries(store):
    w = World(store)
    early = words(render(read_day(store, "c", S.opens)))
    w.run(HALF_TEN)
    page = str(render(read_day(store, "c", NOON)))
    order = re.findall(r'<section id="(\w+)"', page) or re.findall(r'id="(\w+)"', page)
    assert order.index("news") + 1 == order.index("discoveries")
    assert "Discovery did not run by this instant" in early and "1 is believed" in words(page)
    assert Reader(page).elements and 'aria-label="Network of relations"' in page


def test_the_file_is_whole_or_old(store, tmp_path):
    World(store)
    first = discovery_page(store, NOON, tmp_path / "d.html", "replay").read_bytes()
    assert discovery_page(store, NOON, tmp_path / "d.html", "replay").read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == ["d.html"]
    with pytest.raises(UnavailableError, match="cannot write"):
        discovery_page(store, NOON, tmp_path / "no" / "d.html", "replay")
    with pytest.raises(InputError, match="world"):
        discovery_page(store, NOON, tmp_path / "x.html", "moon")
    with pytest.raises(InputError, match="asof"):
        discovery_page(store, NOON.replace(tzinfo=None), tmp_path / "x.html", "replay")


# The picture


def relations(n, securities=100, seed=3):
    r = random.Random(seed)
    names = {
        i: Named(
            f"{'ABCDEFGH'[i % 8] * (1 + i % 5)}{i % 10}",
            f"Sector number {i % 11}" if i % 13 else None,
        )
        for i in range(securities)
    }
    kinds = ("lead_lag", "momentum_cascade", "catalyst_sympathy")
    return [
        Link(r.choice(kinds), *r.sample(range(securities), 2), r.choice((1, -1)), r.random() / 100)
        for _ in range(n)
    ], names


@pytest.mark.parametrize("n", [1, 2, 12, 60])
def test_labels_do_not_overlap_and_lie_inside(n):
    links, names = relations(n)
    text = network_figure(links, names)
    r = ring(fitting(links), names)
    assert sum(not isinstance(p, str) for p in r.angle) == text.count("rotate(")
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*transform="rotate', text)
    spots = [tuple(map(float, m)) for m in found]
    near = [math.dist(a, b) for a, b in itertools.combinations(spots, 2)]
    assert not near or min(near) >= 17
    wide, high = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', text).groups())
    for x, y, anchor, name in re.findall(
        r'<text x="([\d.-]+)" y="([\d.-]+)" text-anchor="(\w+)">([^<]*)</text>', text
    ):
        left = float(x) - (LETTER * len(name) if anchor == "end" else 0)
        assert left >= -1 and left + LETTER * len(name) <= wide + 60 and 0 < float(y) < high, name
    assert text.count("rotate(") == len(spots)
    level = [
        float(y) for y in re.findall(r'<text x="[\d.-]+" y="([\d.-]+)" text-anchor="end">', text)
    ]
    assert all(abs(a - b) >= 19.9 for a, b in itertools.combinations(level, 2))


def test_many_sectors_do_not_overlap():
    links = [
        Link("sector_rotation", f"Sector {n:02d}", f"Sector {n + 1:02d}", 1, 0.01)
        for n in range(30)
    ]
    for side in (True, False):
        own = sorted(
            y for _, y, right in sector_spots(ring(links, {}), {}).values() if right == side
        )
        assert len(own) > 10 and min(b - a for a, b in itertools.pairwise(own)) >= 19.9


def test_the_picture_depends_on_nothing_but_the_relations():
    links, names = relations(12)
    text = network_figure(links, names)
    shuffled = list(names.items())
    random.Random(1).shuffle(shuffled)
    assert network_figure(links, dict(shuffled)) == text
    places, members = ring(links, names).angle, ring(links, names).members
    assert all(
        [names[i].symbol for i in own] == sorted(names[i].symbol for i in own)
        for own in members.values()
    )
    assert [s for s in members if s != "no sector"] == sorted(
        s for s in members if s != "no sector"
    )
    assert ring(random.Random(2).sample(links, 12), names).angle == places
    assert network_figure([*links[:-1]], names) != text


def test_nothing_and_too_much():
    assert words(network_figure([], {}, "No relation.")) == "No relation."
    links, _ = relations(400, 300)
    kept = fitting(links)
    assert (
        len({p for k in kept for p in (k.leader, k.follower)}) <= MOST_PLACES
        and kept == links[: len(kept)]
    )
    loop = network_figure([Link("lead_lag", 1, 1, 1, 0.0)], {})
    assert "nan" not in loop and Reader(loop).elements


def test_hostile_names_in_the_picture():
    names = {1: Named(EVIL[0], EVIL[1]), 2: Named(EVIL[2] + "x" * 5000, None)}
    links = [
        Link(EVIL[0], 1, 2, 1, 0.1, EVIL[1]),
        Link("sector_rotation", EVIL[1], EVIL[2], 1, 0.1),
    ]
    text = network_figure(links, names)
    found = Reader(text).elements
    assert not {tag for tag, _ in found} & {"script", "img", "style"} and len(text) < 30_000
    assert not [a for _, attributes in found for a in attributes if a.startswith("on")]
