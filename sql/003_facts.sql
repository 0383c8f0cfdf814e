-- Facts: security_id and time_id, foreign keys enforced, natural keys unique, so that a second collection changes nothing.
create table trading_history (
    security_id  integer not null references securities,
    time_id      bigint not null references time_dimension,   -- start of the bar
    timeframe    timeframe not null,
    open price not null, high price not null, low price not null, close price not null,
    volume       bigint not null check (volume >= 0),
    vwap         price,
    trade_count  integer,
    available_at timestamptz not null,                        -- end of the bar plus the feed's delay
    feed         text not null,
    primary key (security_id, timeframe, time_id),
    check (low > 0 and low <= least(open, close) and high >= greatest(open, close))
) partition by range (time_id);

create table news_sources (
    source_id    integer generated always as identity primary key,
    feed         text not null,
    source_name  text not null,
    source_tier  smallint not null default 5 check (source_tier between 1 and 5),
    clock_fault  text,                                        -- null: none seen
    unique (feed, source_name)
);

create table source_reliability (
    source_id    integer not null references news_sources,
    usable_from  timestamptz not null,                        -- never before: no look back
    items        integer not null,
    hits         integer not null,
    reliability  numeric(5, 4) not null check (reliability between 0 and 1),
    primary key (source_id, usable_from)
);

create table news_stories (
    story_id     bigint generated always as identity primary key,
    story_key    text not null unique,
    headline     text not null,
    first_source_id integer references news_sources,
    first_published_at timestamptz not null,
    known_at     timestamptz not null,                        -- when its first item had been received
    cluster_type catalyst_type
);

-- One row per version of an item as it arrived; nothing here is ever changed.
create table news_revisions (
    revision_id  bigint generated always as identity primary key,
    feed         text not null,
    item_id      text not null,
    content_hash text not null,
    source_id    integer not null references news_sources,
    headline     text not null,
    summary      text,
    url          text,
    event_at     timestamptz,                                 -- null: not stated
    published_at timestamptz not null,
    received_at  timestamptz not null,
    revised_at   timestamptz,                                 -- null: first version
    unique (feed, item_id, content_hash)
);
create index news_revisions_received on news_revisions (received_at);

create table news_sentiment (
    news_id      bigint generated always as identity primary key,
    revision_id  bigint not null references news_revisions,
    story_id     bigint references news_stories,
    security_id  integer references securities,               -- null: names no security, kept as market news
    time_id      bigint not null references time_dimension,   -- published_at, to the second
    headline     text not null,
    source_id    integer not null references news_sources,
    published_at timestamptz not null,
    received_at  timestamptz not null,
    tone         numeric(4, 3) check (tone between -1 and 1),  -- null: not judged
    tone_label   tone_label,
    catalyst_type catalyst_type,
    catalyst_strength numeric(4, 3) check (catalyst_strength between 0 and 1),
    decided_by   jsonb not null default '{}',                 -- the words and terms behind the three columns above
    price_impact_5min numeric(8, 5), price_impact_15min numeric(8, 5), price_impact_30min numeric(8, 5),
    price_impact_1h numeric(8, 5), price_impact_4h numeric(8, 5), price_impact_1d numeric(8, 5),
    impact_reason text,                                       -- why an impact is null
    unique nulls not distinct (revision_id, security_id),
    check ((tone is null) = (tone_label is null))
);
create index news_sentiment_security on news_sentiment (security_id, received_at);
create index news_sentiment_time on news_sentiment (time_id);

create table technical_indicators (
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,    -- the bar's own start
    timeframe   timeframe not null,
    available_at timestamptz not null,
    sma_20 price, sma_50 price, sma_200 price, ema_9 price, ema_21 price,
    rsi_14 numeric(7, 3) check (rsi_14 between 0 and 100),
    macd numeric(14, 4), macd_signal numeric(14, 4), macd_histogram numeric(14, 4),
    stoch_k numeric(7, 3), stoch_d numeric(7, 3), adx_14 numeric(7, 3), atr_14 price,
    bollinger_upper price, bollinger_middle price, bollinger_lower price,
    obv numeric(20, 0), vwap price, volume_ratio numeric(12, 4), unusual_volume_flag boolean,
    vpoc price, vah price, val price, bid_ask_spread numeric(10, 4), order_flow_imbalance numeric(8, 4),
    support_level price, resistance_level price,
    null_reason jsonb not null default '{}',                  -- column to the reason it is null
    primary key (security_id, timeframe, time_id)
);

create table pattern_analysis (
    pattern_id  bigint generated always as identity primary key,
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,    -- the bar that confirmed it
    timeframe   timeframe not null,
    pattern_type text not null,
    pattern_subtype text not null default '',
    bias        text not null check (bias in ('bullish', 'bearish', 'neutral')),
    pivot_at    timestamptz not null,
    confirmed_at timestamptz not null,                        -- end of the confirming bar: first instant at which it may be used
    confidence_score numeric(4, 3) not null check (confidence_score between 0 and 1),
    price_at_detection price not null,
    volume_at_detection bigint,
    breakout_level price, target_price price, stop_level price,
    pattern_completed boolean, pattern_failed boolean, actual_outcome text, outcome_at timestamptz,
    metadata    jsonb not null default '{}',
    unique (security_id, timeframe, pattern_type, pattern_subtype, time_id)
);

create table sector_correlations (
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,
    session     date not null,
    sector_relative_strength numeric(10, 5), sector_rank smallint, total_in_sector smallint,
    correlation_spy numeric(6, 4), correlation_qqq numeric(6, 4), correlation_iwm numeric(6, 4),
    correlation_sector numeric(6, 4), correlation_rolling_30d numeric(6, 4), beta_spy numeric(8, 4),
    sector_momentum text check (sector_momentum in ('accumulating', 'distributing', 'neutral')),
    primary key (security_id, session)
);

create table security_correlations (
    security_id integer not null references securities,
    other_id    integer not null references securities,
    time_id     bigint not null references time_dimension,
    correlation_window text not null check (correlation_window in ('1hour', '1day', '5day')),
    correlation numeric(6, 4) check (correlation between -1 and 1),
    observations integer not null,
    primary key (security_id, other_id, correlation_window, time_id),
    check (security_id < other_id)
);

create table security_tracking_state (
    security_id integer primary key references securities,
    first_seen  timestamptz not null,
    tier        tier not null,
    tracking_rank integer,                                    -- null: out of the hundred
    last_ranked_at timestamptz,                               -- a rank is not a collection
    last_collected_at timestamptz,
    data_points_collected integer not null default 0,
    price_volatility numeric(10, 6), relative_volume numeric(12, 4),
    flatline_periods integer not null default 0,
    last_price price, last_volume bigint,
    last_catalyst_score numeric(4, 3), last_catalyst_at timestamptz,
    volume_profile jsonb, aging_schedule jsonb,
    tracking_reason text not null
);

create table security_data_high_freq (
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,    -- the slot
    collected_at timestamptz not null,
    price price, volume bigint, bid price, ask price, spread numeric(10, 6),
    volatility_15min numeric(10, 6), relative_volume numeric(12, 4),
    news_mentions integer,
    catalyst_score numeric(4, 3),
    tier tier not null,
    null_reason jsonb not null default '{}',
    primary key (security_id, time_id)
);
create table security_data_hourly (
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,
    open price, high price, low price, close price, volume bigint, vwap price,
    volatility numeric(10, 6), volume_ratio numeric(12, 4), price_range numeric(10, 6),
    news_count integer, max_catalyst_score numeric(4, 3), points smallint not null,
    primary key (security_id, time_id)
);
create table security_data_daily (
    security_id integer not null references securities,
    session     date not null,
    time_id     bigint not null references time_dimension,
    open price, high price, low price, close price, volume bigint, vwap price,
    daily_return numeric(10, 6), volatility numeric(10, 6), dollar_volume numeric(20, 2),
    news_count integer, catalyst_events jsonb, points smallint not null,
    primary key (security_id, session)
);

create table ml_pattern_discoveries (
    discovery_id bigint generated always as identity primary key,
    discovery_key text not null unique,
    security_id integer references securities,                -- the leader, where there is one
    time_id     bigint not null references time_dimension,
    pattern_type text not null,
    securities_involved integer[] not null,
    pattern_confidence numeric(4, 3) check (pattern_confidence between 0 and 1),
    trigger_conditions jsonb not null, feature_vector jsonb, model_version text,
    predicted_outcome jsonb not null, horizon_at timestamptz,
    p_value double precision, p_corrected double precision, tried integer,
    actual_outcome jsonb, verified_at timestamptz, pattern_success boolean,
    backtest_results jsonb
);

create table economic_indicators (
    indicator_code text not null,
    day         date not null,
    indicator_name text not null,
    category    text not null check (category in ('interest_rate', 'inflation', 'employment', 'gdp', 'market_sentiment')),
    value       numeric(16, 4) not null,                      -- no row at all when unknown: never a zero
    units       text, source text not null,
    available_at timestamptz not null,
    primary key (indicator_code, day, available_at)
);

create table security_fundamentals (
    security_id integer not null references securities,
    fiscal_year smallint not null, fiscal_quarter smallint not null check (fiscal_quarter between 1 and 4),
    earnings_announced_at timestamptz, earnings_timing text check (earnings_timing in ('before_open', 'after_close', 'during')),
    revenue numeric(20, 2), earnings numeric(20, 2), eps numeric(12, 4), eps_estimate numeric(12, 4),
    revenue_estimate numeric(20, 2), guidance text, pe_ratio numeric(12, 4), pb_ratio numeric(12, 4),
    available_at timestamptz not null,
    primary key (security_id, fiscal_year, fiscal_quarter, available_at)
);

-- What could not be used, and why. The key is the row's own hash: a second import adds nothing.
create table quarantine (
    quarantine_id bigint generated always as identity primary key,
    kind        text not null check (kind in ('bars', 'news', 'orders', 'assets')),
    feed        text not null,
    reason      text not null,
    row_hash    text not null,
    row_text    text not null,
    seen_at     timestamptz not null,
    unique (kind, feed, reason, row_hash)
);
