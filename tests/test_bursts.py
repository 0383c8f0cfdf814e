"Coordination: a push is flagged before confirmation, honest syndication is not, and nothing later is seen."

import numpy as np
import pandas as pd
import pytest

from catalyst.bursts import CONFIRMED, DISCOUNT, FLAG, coordination, promises

START = pd.Timestamp("2025-08-13 14:00", tz="UTC").as_unit("us")
PROMISE = "Acme is a hidden gem set to explode"


def item(story, source, tier, minute, headline=PROMISE, security=1):
    at = START + pd.Timedelta(minutes=minute)
    return dict(
        story_id=story, source_name=source, source_tier=tier, headline=headline, received_at=at,
        security_id=security, item_id=f"{story}{source}{minute}",
    )  # fmt: skip


def push(story=1, n=6, headline=PROMISE, tier=5):
    return [item(story, f"Page {i % 2}", tier, 4 * i, headline) for i in range(n)]


def score(*rows, asof=None):
    return coordination(pd.DataFrame(rows), asof)


def test_nw11_a_push_before_confirmation_is_flagged_and_loses_strength():
    told = score(*push()).iloc[0]
    assert told.flagged and told.score >= FLAG and not told.confirmed
    assert told.factor == pytest.approx(1 - DISCOUNT * told.score)
    assert "nobody of standing" in told.why and told.low_items == 6


def test_nw11_confirmation_by_a_high_tier_takes_the_flag_away_from_then_on():
    rows = [*push(), item(1, "Reuters", 1, 45, "Acme wins a contract")]
    before, after = (score(*rows, asof=START + pd.Timedelta(minutes=m)) for m in (44, 45))
    assert before.flagged.item() and not after.flagged.item()
    assert after.score.item() == pytest.approx(CONFIRMED * before.score.item(), abs=1e-4)


def test_nw11_what_follows_a_high_tier_is_an_echo():
    told = score(item(1, "Reuters", 1, -5, "Acme wins a contract"), *push())
    assert told.score.item() == 0 and told.why.isna().item() and told.low_items.item() == 0


def test_nw11_syndication_without_promises_is_not_flagged():
    "Word for word, within minutes, from unknown pages: that is how honest wires are read"
    for sources in (1, 2, 20):
        rows = [item(1, f"Page {i % sources}", 5, i, "Acme to build a plant") for i in range(20)]
        assert not score(*rows).flagged.item()


def test_nw11_promises_alone_are_not_a_burst():
    assert score(*push(n=1)).score.item() == 0
    assert not score(*push(n=3)).flagged.item()


@pytest.mark.parametrize("tier", [1, 2, 3])
def test_tiers_above_four_are_never_doubted(tier):
    assert score(*push(tier=tier)).score.item() == 0


def test_terms_grow_with_what_they_measure():
    more = [score(*push(n=n)).score.item() for n in range(1, 9)]
    assert more == sorted(more) and more[-1] == more[-2]
    spread = [item(1, f"Page {i}", 5, 90 * i) for i in range(6)]
    slow = score(*spread).iloc[0]
    assert slow.speed == 0 and slow.concentration == pytest.approx(0) and slow.copies == 1


def test_an_item_about_three_securities_was_said_once():
    once = score(*push())
    thrice = score(*[dict(r, security_id=s) for r in push() for s in (1, 2, 3)])
    pd.testing.assert_frame_equal(once, thrice)


def test_one_text_under_an_id_for_each_ticker_was_said_once():
    rows = [dict(item(1, "Page 0", 5, 0), item_id=f"t{i}", security_id=i) for i in range(8)]
    assert score(*rows).low_items.item() == 1 and score(*rows).score.item() == 0


def test_items_without_a_named_source_are_not_one_source():
    "A feed that does not name sources stands in their place"
    rows = pd.DataFrame([item(1, "wire", 5, 3 * i, "Acme opens a plant") for i in range(6)])
    assert coordination(rows.assign(feed="wire")).concentration.item() == pytest.approx(0)
    assert coordination(rows.assign(feed="other")).concentration.item() == pytest.approx(1)


def test_guard_18_later_items_never_show():
    "Shift test: at every instant the answer over all items is that over the items received by then"
    draw = np.random.default_rng(3)
    rows = [
        item(int(draw.integers(1, 6)), f"Page {draw.integers(3)}", int(draw.integers(1, 6)), int(draw.integers(0, 200)))
        for _ in range(150)
    ]  # fmt: skip
    whole = pd.DataFrame(rows)
    for minute in (0, 10, 50, 120, 200):
        asof = START + pd.Timedelta(minutes=minute)
        known = coordination(whole[whole.received_at <= asof])
        pd.testing.assert_frame_equal(coordination(whole, asof), known)
        altered = whole.assign(
            headline=whole.headline.where(whole.received_at <= asof, "To the moon")
        )
        pd.testing.assert_frame_equal(coordination(altered, asof), known)


def test_the_order_of_rows_does_not_matter():
    rows = pd.DataFrame(
        [*push(), *push(2, headline="Acme opens a plant"), item(2, "Reuters", 1, 9)]
    )
    shuffled = rows.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(coordination(rows), coordination(shuffled))


def test_nothing_and_items_without_a_story():
    rows = pd.DataFrame(push())
    assert len(coordination(rows[:0])) == 0
    assert len(coordination(rows.assign(story_id=pd.array([None] * 6, dtype="Int64")))) == 0


def test_promises_are_phrases_not_parts_of_words():
    assert promises("Acme hurrying to the moonlight festival, buys a nonparabolic mirror") == []
    assert promises("Don’t miss it: BUY NOW") == ["don't miss", "buy now"]


def test_real_news_is_not_accused(shared):
    "18,349 items of ordinary feeds: promises are rare in tiers 1 and 2, and nothing is flagged"
    d = pd.read_parquet(shared / "real_news_2025.parquet")
    from catalyst.news import tier_of

    tiers = d.source.where(d.source != "", d.feed).map(
        {s: tier_of(s) for s in {*d.source, *d.feed}}
    )
    words = d.headline.str.casefold().str.findall(r"\w+").map(lambda w: " ".join(sorted(w)))
    told = d.assign(story_id=pd.factorize(words)[0], source_name=d.source, source_tier=tiers)
    got = coordination(told.rename(columns={"published_at": "received_at", "id": "item_id"}))
    assert len(got) > 10_000 and got.flagged.sum() <= 5
    selling = d.headline[tiers <= 2].map(lambda h: bool(promises(h)))
    assert selling.mean() < 0.01
