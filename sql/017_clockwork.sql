-- What was measured of a source's clock, and when. Rows are added, never changed: a later audit stands beside the earlier one.
create table news_clock_audits (
    source_id    integer not null references news_sources,
    checked_at   timestamptz not null,                        -- news received by then was looked at; the verdict may be used from then on
    items        integer not null,
    pairs        integer not null,                            -- same headline at another source
    shift_minutes numeric(8, 2),                              -- against the sources it agrees with; null: no pairs
    spread_minutes numeric(8, 2),                             -- between quartiles of the pairs; null: no pairs
    fault        text,                                        -- null: none seen, or too little to say
    late_hours   numeric(5, 2),                               -- constant part of the fault; negative: early
    confidence   numeric(4, 3) check (confidence between 0 and 1),  -- null: too little to say
    evidence     text not null,
    primary key (source_id, checked_at)
);
