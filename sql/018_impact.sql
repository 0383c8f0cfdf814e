-- What followed an item: one row for each horizon that is over. A written row is never changed, and says from when it may be used.
create table news_impacts (
    news_id      bigint not null references news_sentiment on delete cascade,
    horizon      text not null check (horizon in ('5min', '15min', '30min', '1h', '4h', '1d')),
    due_at       timestamptz not null,                        -- end of the horizon, counted in trading time
    usable_from  timestamptz not null,                        -- when its last bar was available, or when it was given up
    timeframe    timeframe,                                   -- of the bars; null: none served
    own_return   numeric(8, 5), market_return numeric(8, 5), sector_return numeric(8, 5),
    abnormal_return numeric(8, 5),                            -- own less the sector's, or less the market's
    benchmark    text check (benchmark in ('sector', 'market')),
    abnormal_volume numeric(12, 4),                           -- 1: as usual at this time of day; null: fewer than 5 sessions before
    reason       text,                                        -- why abnormal_return is null
    primary key (news_id, horizon),
    check ((abnormal_return is null) = (reason is not null)),
    check ((abnormal_return is null) = (benchmark is null)),
    check (abnormal_return is null or usable_from >= due_at)
);
create index news_impacts_usable on news_impacts (usable_from);

-- Which items the nightly job looks at again, and when. A row that failed three times is dead and is not picked again.
create table news_impact_tries (
    news_id      bigint primary key references news_sentiment on delete cascade,
    state        text not null check (state in ('waiting', 'done', 'dead')),
    look_at      timestamptz,                                 -- null: not again
    attempts     smallint not null default 0,                 -- failures, not horizons that are still open
    note         text,                                        -- what is waited for, or what failed
    check ((look_at is null) = (state <> 'waiting'))
);
create index news_impact_tries_look on news_impact_tries (look_at) where look_at is not null;
