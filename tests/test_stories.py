"Stories: which headlines tell the same, and that the answer depends on nothing else."

import csv
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from catalyst.stories import LINKS, ORDER, link, memberships
from catalyst.wording import alike, reading
from hypothesis import given, settings
from hypothesis import strategies as st

PAIRS = Path(__file__).parent / "data" / "story_pairs.csv"
START = pd.Timestamp("2025-08-13", tz="UTC").as_unit("us")
SAME = [
    (
        "Acme to buy Widget Robotics for $3.2 billion",
        "Widget Robotics agrees to $3.2bn takeover by Acme",
    ),
    (
        "Acme cuts 300 jobs in its Ohio battery plant",
        "Battery maker Acme to slash 300 jobs in Ohio",
    ),
    (
        "Acme tops Q2 estimates on Boltwood demand",
        "Acme beats Q2 estimates on strong Boltwood demand — WSJ",
    ),
    ("Regulator sues Acme over Boltwood app", "Regulator sues ACME over 'Boltwood' app: report"),
    ("FDA approves Acme's Zorvex for asthma", "Acme’s asthma drug Zorvex approved by the FDA"),
    ("Acme (ACM) opens Boltwood plant", "Acme (NYSE: ACM) opens plant in Boltwood"),
    ("艾克美公司開設新工廠", "艾克美公司開設新工廠!"),
]
OTHER = [
    ("Apple price target raised to $240", "Microsoft price target raised to $540"),
    ("Apple price target raised to $240", "Apple price target raised to $260"),
    ("Acme tops Q2 estimates on Boltwood demand", "Acme tops Q3 estimates on Boltwood demand"),
    ("Acme reports second quarter results for Boltwood unit", "Acme reports third-quarter results for Boltwood unit"),
    ("Acme Boltwood unit sales rise 12%", "Acme Boltwood unit sales rise 31%"),
    ("Acme named to Quill 5000 list of fastest-growing makers", "Zenith named to Quill 5000 list of fastest-growing makers"),
    ("Boltwood downgraded at Widget Bank", "Acme downgraded at Widget Bank"),
    ("Acme (ACM): among Quill Harbor's favourite picks", "Zenith (ZEN): among Quill Harbor's favourite picks"),
    ("Acme shareholders approve Widget merger", "Acme shareholders to vote on Widget merger"),
    ("Acme strikes Widget Robotics deal", "Should you buy Acme after its Widget Robotics deal?"),
    ("Acme Boltwood shares underperform on Monday", "Acme Boltwood shares underperform on Tuesday"),
    ("Got $1,000? 2 Boltwood stocks to buy and hold", "3 Boltwood stocks to buy and hold with $500"),
    ("", "?!"),
]  # fmt: skip
ACTS = [
    "Acme to buy Widget Robotics", "Acme opens Boltwood plant in Ohio", "Acme opens Boltwood plant; to buy Widget Robotics", "Zenith opens Boltwood plant in Ohio",
    "Transaction in own shares", "Widget Robotics takeover by Acme agreed", "Acme opens 3 Boltwood plants in Ohio", "Sector update: Boltwood makers",
]  # fmt: skip


def frame(rows):
    "Items from (headline, hours published, hours until received, symbol)"
    at = lambda h: START + pd.Timedelta(hours=h)
    full = [
        ["wire", f"i{n}", "", h, [s], at(t), at(t + late)] for n, (h, t, late, s) in enumerate(rows)
    ]
    columns = [*ORDER[1:], "headline", "symbols", "published_at", "received_at"]
    return pd.DataFrame(full, columns=columns).set_axis(range(100, 100 + len(full)))


def stories(items):
    "First item of the story per item, once all is known"
    return memberships(items, link(items)).groupby("revision_id").first_id.last()


@pytest.mark.parametrize("a, b", SAME)
def test_rewrites_are_one_story(a, b):
    assert alike(reading(a), reading(b)) == alike(reading(b), reading(a)) > 0


@pytest.mark.parametrize("a, b", OTHER)
def test_templates_with_another_company_number_or_outcome_are_not(a, b):
    assert alike(reading(a), reading(b)) == alike(reading(b), reading(a)) == 0


@given(st.text(max_size=200), st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_guard_13_any_text_can_be_read_and_the_order_of_two_does_not_matter(a, b):
    x, y = reading(a), reading(b)
    assert 0 <= alike(x, y) == alike(y, x) <= 1
    assert len(x.words) <= 60 and not any(w.isspace() for w in x.words)


def test_nw02_a_long_headline_is_read_in_no_time():
    from catalyst.clock import Stopwatch

    watch = Stopwatch()
    for text in (
        "Acme " * 200_000,
        "(" * 500_000,
        "9," * 500_000,
        "top " + "x " * 500_000,
        "é" * 1_000_000,
        "艾" * 1_000_000,
    ):
        reading(text)
    assert watch.seconds < 1


ITEMS = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, 150), st.sampled_from([0, 0, 1, 30, 70]), st.sampled_from(["ACM", "WDG"])),
    min_size=1, max_size=25,
)  # fmt: skip


@given(ITEMS, st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_any_permutation_gives_the_same_links(rows, random):
    items = frame(rows)
    mixed = items.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_frame_equal(link(items), link(mixed))
    a, b = memberships(items, link(items)), memberships(mixed, link(mixed).iloc[::-1])
    pd.testing.assert_frame_equal(a, b)


@given(ITEMS)
@settings(max_examples=20, deadline=None)
def test_guard_18_what_was_known_then_is_a_fresh_load_of_what_had_been_received(rows):
    items = frame(rows)
    all_rows = memberships(items, link(items))
    for asof in items.received_at.unique():
        then = items[items.received_at <= asof]
        should = stories(then)
        was = all_rows[all_rows.known_at <= asof].groupby("revision_id").first_id.last()
        pd.testing.assert_series_equal(was, should)


@given(ITEMS)
@settings(max_examples=20, deadline=None)
def test_few_links_say_what_all_pairs_say(rows):
    "Against the plain definition: every pair that the rule joins within its span"
    items = frame(rows)
    head = {i: i for i in items.index}
    for (i, a), (j, b) in combinations(items.iterrows(), 2):
        x, y = reading(a.headline), reading(b.headline)
        hours = abs((a.published_at - b.published_at).total_seconds()) / 3600
        spans = [48 if r.sort != "column" and r.strong > 1 else 12 for r in (x, y)]
        if hours <= min(spans) and x.strong > 1 and y.strong > 1 and alike(x, y):
            head = {k: head[i] if v == head[j] else v for k, v in head.items()}
    news = items[[reading(h).strong > 1 and reading(h).sort != "column" for h in items.headline]]
    got = stories(items)[news.index]
    pairs = pd.DataFrame({"got": got, "should": [head[i] for i in news.index]}).drop_duplicates()
    assert pairs.got.is_unique and pairs.should.is_unique


def test_nw05_a_template_is_one_story_for_one_ticker_and_half_a_day():
    items = frame(
        [("Transaction in own shares", t, 0, s) for t in (0, 3, 24, 48) for s in ("ACM", "WDG")]
    )
    assert stories(items).nunique() == 6, "hours 0 and 3 are one story, each ticker has its own"


def test_a_saga_ends_when_nothing_was_said_for_two_days():
    text = "Acme to buy Widget Robotics"
    assert stories(frame([(text, t, 0, "ACM") for t in (1, 40, 80)])).nunique() == 1
    assert stories(frame([(text, t, 0, "ACM") for t in (1, 60)])).nunique() == 2


def test_versions_of_an_item_are_one_story_whatever_they_say():
    items = frame(
        [
            ("Acme to buy Widget Robotics", 0, 0, "ACM"),
            ("Nothing of the kind at Boltwood", 0, 100, "ACM"),
        ]
    )
    items["item_id"] = "i0"
    assert stories(items).tolist() == [100, 100]


def test_guard_13_a_flood_of_look_alikes_is_bounded():
    n = 6000
    items = frame([(f"Acme opens Boltwood plant in Town{i}", 0, i / 1000, "ACM") for i in range(n)])
    links = link(items)
    assert stories(items).nunique() == 1
    assert len(links) < 9 * n


def test_a_second_bucket_sees_the_first():
    "A pair on both sides of the line between two spans is found"
    line = -(-START.timestamp() // (48 * 3600)) * 48 - START.timestamp() / 3600
    items = frame(
        [
            ("Acme to buy Widget Robotics", line - 1, 0, "ACM"),
            ("Widget Robotics takeover by Acme agreed", line + 1, 0, "WDG"),
        ]
    )
    assert stories(items).nunique() == 1


def test_no_items_no_links():
    assert link(frame([])).columns.tolist() == LINKS


def labelled(shared):
    "Labelled pairs with both texts and the hours between"
    d = pd.read_parquet(shared / "real_news_2025.parquet").set_index("id")
    with PAIRS.open(newline="") as f:
        for row in csv.DictReader(f):
            if row["same"] != "?":
                yield row, d.loc[row["item_a"]], d.loc[row["item_b"]]


def test_the_labels_name_items_and_no_text():
    pairs = pd.read_csv(PAIRS, dtype=str)
    assert pairs.columns.tolist() == ["item_a", "item_b", "same", "stratum", "half"]
    assert (
        pairs.item_a.str.fullmatch(r"[0-9a-f]{16}").all()
        and pairs.item_b.str.fullmatch(r"[0-9a-f]{16}").all()
    )
    assert len(pairs) == 330 and pairs.same.isin(["0", "1", "?"]).all()


def test_precision_and_recall_on_the_half_that_set_no_bound(shared):
    "Of linked pairs, and of pairs in one story of all 18,349 items; the bounds are a little under what was measured"
    d = pd.read_parquet(shared / "real_news_2025.parquet").rename(columns={"id": "item_id"})
    items = d.assign(symbols=d.symbols.str.split(","), content_hash="", received_at=d.published_at)
    story = dict(zip(d.item_id[(s := stories(items)).index], s, strict=True))
    rows = [(r["same"] == "1", story[r["item_a"]] == story[r["item_b"]], alike(reading(a.headline), reading(b.headline)) > 0)
            for r, a, b in labelled(shared) if r["half"] == "report"]  # fmt: skip
    truth, joined, linked = np.array(rows).T
    assert len(rows) == 162 and truth.sum() == 79
    assert (truth & joined).sum() / joined.sum() > 0.88, "0.906 measured"
    assert (truth & joined).sum() / truth.sum() > 0.71, "0.734 measured"
    assert (truth & linked).sum() / linked.sum() > 0.90
