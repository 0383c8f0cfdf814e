"RSS and Atom from a server that changes its mind, from files, and from pages that are neither"

from datetime import UTC, datetime, timedelta

import pytest
from catalyst.clock import ReplayClock
from catalyst.core import InputError, UnavailableError
from catalyst.news import import_news
from catalyst.ports import NEWS_COLUMNS
from catalyst.rss import RssFeed, feed_name, html_text
from loopback import Answer, Loopback, Pages

AT = datetime(2025, 8, 13, 14, 30, tzinfo=UTC)
FAST = dict(timeout=(5.0, 5.0), seconds=5.0, wait=0.01)
BOUNDS = {
    "timeout": dict(timeout=(1.0, 1.0)),
    "slow": dict(seconds=1.0),
    "huge": dict(seconds=30.0),
}


def entry(guid="a", title="Acme opens a plant", date="Wed, 13 Aug 2025 10:00:00 -0400", more=""):
    return f"<item><title>{title}</title><guid>{guid}</guid><pubDate>{date}</pubDate>{more}</item>"


def page(*entries, end="</channel></rss>"):
    head = '<?xml version="1.0"?><rss version="2.0"><channel><title>The Wire</title>'
    return (head + "".join(entries) + end).encode()


def feed(server, path="/rss", **options):
    return RssFeed(server.url + path, **({"clock": ReplayClock(AT)} | FAST | options))


def read(tmp_path, body, **options):
    (tmp_path / "wire.xml").write_bytes(body)
    return RssFeed(str(tmp_path / "wire.xml"), clock=ReplayClock(AT), **options).news(AT, AT)


def test_a_page_and_its_clocks():
    with Loopback(Pages({"/rss": page(entry(), entry("b"))})) as server:
        got = feed(server).news(AT - timedelta(days=1), AT)
    assert list(got.columns) == NEWS_COLUMNS and got.item_id.tolist() == ["a", "b"]
    assert (got.received_at == AT).all() and set(got.source) == {"The Wire"}
    assert got.published_at[0] == datetime(2025, 8, 13, 14, tzinfo=UTC)
    assert server.asked[0].headers["user-agent"].startswith("catalyst/")


def test_nothing_new_is_answered_from_memory_and_survives_the_process(tmp_path):
    pages = Pages({"/rss": page(entry())}, {"Last-Modified": "Wed, 13 Aug 2025 14:00:00 GMT"})
    with Loopback(pages) as server:
        for _ in range(2):
            one = feed(server, memory=tmp_path)
            assert one.news(AT, AT).item_id.tolist() == ["a"]
        assert server.asked[1].headers["if-none-match"]
        assert server.asked[1].headers["if-modified-since"] == "Wed, 13 Aug 2025 14:00:00 GMT"
        pages.pages["/rss"] = page(entry("b"))
        assert one.news(AT, AT).item_id.tolist() == ["b"]
        next(tmp_path.iterdir()).write_bytes(b"torn")
        assert feed(server, memory=tmp_path).news(AT, AT).item_id.tolist() == ["b"]


def test_guard_13_an_empty_channel_is_no_news():
    with Loopback(Pages({"/rss": page()})) as server:
        got = feed(server).news(AT, AT)
    assert got.empty and list(got.columns) == NEWS_COLUMNS


@pytest.mark.parametrize(
    "kind, says",
    [
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("404", "HTTP 404"),
        ("reset", "dropped"),
        ("timeout", "no answer in time"),
        ("slow", "not complete"),
        ("truncated", "cut short"),
        ("html", "no RSS or Atom"),
        ("foreign", "no RSS or Atom"),
        ("empty", "no RSS or Atom"),
        ("huge", "larger than"),
    ],
)
def test_guard_12_unavailable_is_never_empty(kind, says):
    with Loopback(Pages({"/rss": page(entry())})) as server:
        server.fail(kind)
        with pytest.raises(UnavailableError, match=says) as e:
            feed(server, "/rss?token=t0psecret", **BOUNDS.get(kind, {})).news(AT, AT)
    assert "\n" not in str(e.value) and "t0psecret" not in str(e.value) and len(str(e.value)) < 400


def test_a_failure_after_an_answer_is_not_answered_from_memory():
    with Loopback(Pages({"/rss": page(entry())})) as server:
        one = feed(server)
        one.news(AT, AT)
        server.fail("500")
        with pytest.raises(UnavailableError):
            one.news(AT, AT)


def test_a_redirect_is_followed_and_a_circle_is_not():
    pages = {"/rss": page(entry()), "/old": Answer(301, raw=b"", headers={"Location": "/rss"})}
    pages["/round"] = Answer(302, raw=b"", headers={"Location": "/round"})
    with Loopback(Pages(pages)) as server:
        assert len(feed(server, "/old").news(AT, AT)) == 1
        with pytest.raises(UnavailableError, match="too many redirects"):
            feed(server, "/round").news(AT, AT)


def test_a_cut_page_is_used_and_counted(tmp_path):
    (tmp_path / "wire.xml").write_bytes(page(entry(), entry("b"), end="<item><title>Acme"))
    one = RssFeed(str(tmp_path / "wire.xml"), clock=ReplayClock(AT))
    got = one.news(AT, AT)
    assert {"a", "b"} <= set(got.item_id) and one.faults == 1


def test_guard_13_times_without_a_zone_are_put_aside_unless_declared(tmp_path, scratch):
    dates = ["Wed, 13 Aug 2025 10:00:00", "2025-08-13 10:00:00", "Today", ""]
    body = page(
        *(entry(f"e{i}", f"Acme opens plant {i}", d) for i, d in enumerate(dates)), entry("z")
    )
    got = read(tmp_path, body)
    tally = import_news(scratch, got, AT)
    assert (tally.accepted, tally.quarantined) == (1, 4)
    assert tally.reasons == {
        "published_at without time zone": 2,
        "no published_at": 1,
        "unreadable published_at": 1,
    }
    zoned = read(tmp_path, body, zone="America/New_York")
    assert [p == AT - timedelta(minutes=30) for p in zoned.published_at[:2]] == [True, True]


def test_a_script_in_a_headline_stays_text(tmp_path, scratch):
    title = "&lt;script&gt;alert(1)&lt;/script&gt; &lt;b&gt;Acme&lt;/b&gt; AT&amp;amp;T &amp;lt;img&amp;gt;"
    got = read(
        tmp_path,
        page(
            entry(
                title=title,
                more="<description><![CDATA[<p>One<br>two</p><script>x()</script>]]></description>",
            )
        ),
    )
    assert got.headline[0] == "<script>alert(1)</script> Acme AT&T <img>"
    assert got.summary[0] == "One two <script>x()</script>"
    import_news(scratch, got, AT)
    assert scratch.value("select headline from news_revisions") == got.headline[0]


def test_atom_with_a_revision_a_source_and_a_listed_company(tmp_path):
    body = b"""<feed xmlns="http://www.w3.org/2005/Atom"><title>T</title><entry><id>urn:1</id>
    <title type="html">Acme &lt;i&gt;opens&lt;/i&gt;</title><link href="https://example.org/1"/>
    <published>2025-08-13T09:00:00-04:00</published><updated>2025-08-13T14:00:00Z</updated>
    <source><title>Other Wire</title></source><category term="NASDAQ: ACM"/></entry></feed>"""
    row = read(tmp_path, body).iloc[0]
    assert (row.item_id, row.headline, row.source, row.symbols) == (
        "urn:1",
        "Acme opens",
        "Other Wire",
        ["ACM"],
    )
    assert (row.published_at.hour, row.revised_at.hour) == (9, 14)


def test_no_file_of_this_machine_is_read_by_an_entity(tmp_path):
    (tmp_path / "secret").write_text("t0psecret")
    evil = f'<!DOCTYPE a [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
    body = page(entry(title="&e; Acme")).replace(b"?>", b"?>" + evil.encode(), 1)
    got = read(tmp_path, body)
    assert not got.astype(str).apply(lambda c: c.str.contains("t0psecret")).any().any()


@pytest.mark.parametrize(
    "text", ["<a" * 50_000, "<b " + "x=" * 50_000, "<b " + "x " * 50_000, "&" * 100_000]
)
def test_odd_text_takes_no_time(text):
    from catalyst.clock import Stopwatch

    watch = Stopwatch()
    html_text(text)
    assert watch.seconds < 2


def test_the_past_is_not_told():
    one = RssFeed("https://example.org/rss", clock=ReplayClock(AT))
    with pytest.raises(UnavailableError, match="cannot tell what was known"):
        one.news(AT - timedelta(days=2), AT - timedelta(days=1))


@pytest.mark.parametrize("place", ["", " ", "ftp://example.org", "javascript://x", "http://"])
def test_places_that_are_none(place):
    with pytest.raises(InputError, match="rss: received"):
        RssFeed(place)


def test_a_token_is_not_in_the_name():
    assert "t0p" not in feed_name("https://ann:t0p@example.org/rss?key=t0psecret")
