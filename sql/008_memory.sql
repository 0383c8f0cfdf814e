-- What a memory of years needs: what feeds did to their prices, what companies did to their shares, how rows grew old,
-- how large the tables are, and who was followed how closely at each session's end.
create domain adjustment as text check (value in ('raw', 'split', 'all'));
create domain action_type as text check (value in ('split', 'dividend'));

-- A feed says once what it did to its prices. `raw`: as traded; `split`: splits taken out; `all`: dividends too.
create table bar_feeds (
    feed        text primary key,
    adjustment  adjustment not null,
    first_seen  timestamptz not null
);

create table corporate_actions (
    security_id integer not null references securities,
    ex_date     date not null,
    action_type action_type not null,
    ratio       numeric(18, 8),                               -- split: new shares for one old share; 4 = 4:1
    amount      numeric(14, 6),                               -- dividend: dollars per share, as paid
    known_at    timestamptz not null,                         -- factors are computed as of an instant, too
    feed        text not null,
    primary key (security_id, ex_date, action_type),
    check ((action_type = 'split') = (ratio is not null and ratio > 0)),
    check ((action_type = 'dividend') = (amount is not null and amount > 0))
);

-- One row per pass and tier: what was taken, what it became, and that the two were equal before anything was removed.
create table ageing_log (
    pass_at     timestamptz not null,                         -- the instant the pass ran for
    source_table text not null, target_table text not null,
    rows_taken  integer not null, rows_made integer not null,
    first_time_id bigint, last_time_id bigint,
    primary key (pass_at, source_table)
);

create table storage_log (
    session     date not null,
    table_name  text not null,
    bytes       bigint not null, row_count bigint not null,
    primary key (session, table_name)
);

create table tracking_metrics (
    session     date not null,
    tier        tier not null,
    securities  integer not null, due integer not null, collected integer not null, missing integer not null,
    primary key (session, tier)
);
