-- Stories as they were known. A link joins two versions that tell the same happening; `known_at` is the later of their receipts. Both
-- tables follow from the versions alone, and are rewritten where an item turns up that had been received earlier.
create table news_links (
    revision_a  bigint not null references news_revisions on delete cascade,   -- received first
    revision_b  bigint not null references news_revisions on delete cascade,
    similarity  numeric(5, 4) not null check (similarity > 0 and similarity <= 1),
    known_at    timestamptz not null,
    primary key (revision_a, revision_b),
    check (revision_a <> revision_b)
);
create index news_links_b on news_links (revision_b);

-- The story of a version from `known_at` on, until the next row of that version.
create table news_membership (
    revision_id bigint not null references news_revisions on delete cascade,
    known_at    timestamptz not null,
    story_id    bigint not null references news_stories,
    primary key (revision_id, known_at)
);
create index news_membership_story on news_membership (story_id);
create index news_membership_known on news_membership (known_at);
create index news_revisions_published on news_revisions (published_at);
create index news_sentiment_revision on news_sentiment (revision_id, received_at);
