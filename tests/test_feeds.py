"Several feeds: one silent is told and costs nothing of the rest; all silent is no answer"

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from catalyst.clock import ReplayClock, Stopwatch
from catalyst.core import HealthStatus, InputError, Secret, UnavailableError
from catalyst.feeds import Feeds, Opening, Told, open_feeds, parse_feeds, told_from
from catalyst.fetch import NewsOnly, news_frame
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS, Feed
from loopback import AlpacaData, Loopback, Pages, item

AT = datetime(2025, 8, 13, 12, 30, tzinfo=UTC)
SLOT = timedelta(minutes=15)
RSS = b"""<rss version="2.0"><channel><title>The Wire</title><item><title>Widget shuts a plant</title>
<guid>w1</guid><pubDate>Wed, 13 Aug 2025 08:00:00 -0400</pubDate></item></channel></rss>"""


class Wire(NewsOnly):
    def __init__(self, name, n=1, error=None):
        self.name, self.n, self.error, self.asked = name, n, error, []

    def news(self, start, asof):
        self.asked.append((start, asof))
        if self.error:
            raise self.error
        row = {
            "feed": self.name,
            "symbols": [],
            "published_at": asof,
            "received_at": asof,
            "source": "x",
        }
        return news_frame(
            [row | {"item_id": f"{i}", "headline": f"{self.name} says {i}"} for i in range(self.n)]
        )


def opening(server, **changes):
    told = dict(
        key=Secret(AlpacaData.key),
        secret=Secret(AlpacaData.secret),
        alpaca_url=server.url,
        clock=ReplayClock(AT),
        bounds=dict(timeout=(5.0, 5.0), seconds=5.0, wait=0.01),
    )
    return Opening(**told | changes)


@pytest.fixture
def server():
    with Loopback(AlpacaData([item(1), item(2)]), Pages({"/rss": RSS})) as server:
        yield server


def test_guard_12_one_silent_feed_costs_nothing_of_the_rest(server, scratch):
    feeds = open_feeds(f"alpaca, rss:{server.url}/rss", opening(server))
    server.fail("500", path="/v1beta1")
    got = feeds.news(AT - SLOT, AT)
    assert got.headline.tolist() == ["Widget shuts a plant"]
    down, up = feeds.told
    assert (down.feed, down.status, down.items, down.answered_at) == ("alpaca", "down", 0, None)
    assert "HTTP 500" in down.error and down.failing_since == AT
    assert (up.status, up.items, up.error) == ("healthy", 1, None)
    assert import_news(scratch, got, AT).accepted == 1
    server.heal()
    assert len(feeds.news(AT - SLOT, AT)) == 3 and feeds.told[0].status == "healthy"


def test_guard_12_all_silent_is_no_answer(server):
    feeds = open_feeds(f"alpaca, rss:{server.url}/rss", opening(server))
    server.fail("reset")
    with pytest.raises(UnavailableError) as e:
        feeds.news(AT - SLOT, AT)
    text = str(e.value)
    assert text.startswith("news is unavailable: alpaca") and "rss:" in text
    assert "\n" not in text and len(text) < 500
    assert [t.status for t in feeds.told] == ["down", "down"]


def test_guard_13_no_news_is_an_empty_frame():
    feeds = Feeds([Wire("a", 0), Wire("b", 0)])
    got = feeds.news(AT - SLOT, AT)
    assert got.empty and list(got.columns) == NEWS_COLUMNS
    assert [t.status for t in feeds.told] == ["healthy", "healthy"]


def test_guard_13_quiet_and_silent_together_are_told_apart():
    feeds = Feeds([Wire("quiet", 0), Wire("silent", error=UnavailableError("silent: gone"))])
    assert feeds.news(AT - SLOT, AT).empty
    assert [(t.feed, t.status) for t in feeds.told] == [("quiet", "healthy"), ("silent", "down")]


def test_after_an_outage_the_question_reaches_back_across_processes():
    a, b = Wire("a"), Wire("b")
    at, past = AT, []
    for minute, error in enumerate(
        [None, UnavailableError("b: x"), UnavailableError("b: y"), None]
    ):
        b.error = error
        feeds = Feeds([a, b], past=past)
        feeds.news(at - SLOT, at)
        past = json.loads(json.dumps([t.as_dict() for t in feeds.told]))
        if minute == 2:
            assert feeds.told[1].failing_since == AT + SLOT and feeds.told[1].error == "b: y"
        at += SLOT
    assert [start for start, _ in b.asked] == [AT - SLOT, AT, AT, AT]
    assert [start for start, _ in a.asked] == [AT - SLOT, AT, AT + SLOT, AT + 2 * SLOT]
    assert feeds.told[1].failing_since is None


def test_a_feed_that_never_answered_is_asked_from_its_first_question():
    a, b = Wire("a"), Wire("b", error=UnavailableError("b: x"))
    feeds = Feeds([a, b])
    for i in range(3):
        feeds.news(AT + (i - 1) * SLOT, AT + i * SLOT)
    b.error = None
    feeds.news(AT + 2 * SLOT, AT + 3 * SLOT)
    assert [start for start, _ in b.asked] == [AT - SLOT] * 4
    assert feeds.told[1].ask_from == AT + 3 * SLOT


def test_a_partial_answer_is_used_told_and_asked_again():
    part = Wire("edgar")
    part.missing = {"WDG": "HTTP 404"}
    feeds = Feeds([part])
    assert len(feeds.news(AT - SLOT, AT)) == 1
    told = feeds.told[0]
    assert (told.status, told.items, told.answered_at) == (
        "degraded",
        1,
        None,
    ) and "WDG" in told.error


@pytest.mark.parametrize("error", [KeyError("x"), ZeroDivisionError(), RecursionError("deep")])
def test_an_error_of_the_program_in_one_feed_spoils_no_other(error):
    feeds = Feeds([Wire("broken", error=error), Wire("b")])
    assert len(feeds.news(AT - SLOT, AT)) == 1
    assert type(error).__name__ in feeds.told[0].error


@pytest.mark.parametrize("answer", [None, [], news_frame([]).drop(columns="headline")])
def test_an_answer_of_another_shape_is_none(answer):
    odd = Wire("odd")
    odd.news = lambda start, asof: answer
    feeds = Feeds([odd, Wire("b")])
    assert len(feeds.news(AT - SLOT, AT)) == 1 and "without" in feeds.told[0].error


def test_feeds_are_asked_side_by_side_and_told_in_order():
    gate = threading.Barrier(3, timeout=5)

    class Waits(Wire):
        def news(self, start, asof):
            gate.wait()  # Fails after five seconds unless all three are asked at once
            return super().news(start, asof)

    feeds, watch = Feeds([Waits("c"), Waits("a"), Waits("b")]), Stopwatch()
    assert feeds.news(AT - SLOT, AT).feed.tolist() == ["c", "a", "b"]
    assert watch.seconds < 5


def test_the_market_stands_behind():
    class Market(Wire):
        timeframes = ("15min",)

        def bars(self, *args):
            return "bars", *args

        def assets(self):
            return "assets"

    feeds = Feeds([Wire("a")], market=Market("replay:x"))
    assert isinstance(feeds, Feed) and feeds.name == "replay:x" and feeds.assets() == "assets"
    assert feeds.bars(None, "15min", AT, AT, AT)[0] == "bars"
    with pytest.raises(UnavailableError, match="has no bars"):
        Feeds([Wire("a")]).bars(None, "15min", AT, AT, AT)


def test_records_survive_json():
    told = Told("a", HealthStatus.DEGRADED, AT, 3, AT - SLOT, AT, None, "x")
    assert told_from(json.loads(json.dumps(told.as_dict()))) == told


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "at least one feed"),
        (" , ", "at least one feed"),
        ("twitter", "feeds of the kinds"),
        ("alpaca, twitter:x", "feeds of the kinds"),
        ("alpaca:x", "no place"),
        ("rss", "rss:PLACE"),
        ("file:", "file:PLACE"),
        ("rss:https://h/r zoen=UTC", "names: zone, source"),
        ("rss:https://h/r zone=Mars", "zone"),
        ("rss:gopher://h", "an address such as"),
        ("file:'a b", "quotes in pairs"),
        ("file:a delay=soon", "delay"),
        ("file:a columns=titel=x", "columns"),
        ("edgar", "CATALYST_SEC_CONTACT"),
        ("alpaca, alpaca", "each name once"),
    ],
)
def test_a_declaration_that_cannot_be_meant_gets_one_line(server, text, says):
    with pytest.raises(InputError) as e:
        open_feeds(text, opening(server, symbols=["ACM"]))
    assert says in str(e.value) and "\n" not in str(e.value) and len(str(e.value)) < 400


def test_a_declaration_with_commas_and_spaces():
    text = "alpaca symbols=acm+wdg,rss:https://h/r?s=A,B,C zone=America/New_York source='The Wire',edgar,file:\"my, news.csv\" columns=headline=title,published_at=date"
    kinds = [(d.kind, d.place) for d in parse_feeds(text)]
    assert kinds[:3] == [("alpaca", ""), ("rss", "https://h/r?s=A,B,C"), ("edgar", "")]
    told = parse_feeds(text)
    assert told[1].options == {"zone": "America/New_York", "source": "The Wire"}


def test_everything_at_once(server, tmp_path):
    (tmp_path / "n.csv").write_text("title,date\nAcme in a file,2025-08-13 08:20\n")
    (tmp_path / "f.csv").write_text(
        "accessionNumber,form,items,acceptance_raw,name,cik,filingDate\n1-1,8-K,5.02,2025-08-13T08:25:00Z,Acme,7,2025-08-13\n"
    )
    text = f"alpaca, rss:{server.url}/rss, edgar:{tmp_path}/f.csv, file:{tmp_path}/n.csv zone=America/New_York"
    feeds = open_feeds(text, opening(server))
    got = feeds.news(AT - SLOT, AT)
    assert [t.status for t in feeds.told] == ["healthy"] * 4
    assert got.feed.tolist() == ["alpaca", "alpaca", got.feed[2], "edgar", "file:n.csv"]
    assert got.feed[2].startswith("rss:127.0.0.1")
