-- Who (sectors, securities) and when (exchange_days, time_dimension). Symbol text lives only in `securities`.
create table sectors (
    sector_id    smallint generated always as identity primary key,
    sector_name  text not null unique,
    sector_code  text not null unique,
    gics_code    smallint not null unique,
    sector_etf_symbol text not null
);

create table securities (
    security_id  integer generated always as identity primary key,
    symbol       text not null check (symbol = upper(btrim(symbol)) and length(symbol) between 1 and 20),
    name         text,
    sector_id    smallint references sectors,       -- null: not classified, never guessed
    asset_type   asset_type not null default 'stock',
    exchange     text,
    is_active    boolean not null default true,
    is_tradeable boolean not null default true,
    shares_outstanding bigint,
    valid_from   date not null default '1900-01-01',
    valid_to     date,                               -- null: the symbol is this security's today
    created_at   timestamptz not null default now(),
    unique (symbol, valid_from),
    check (valid_to is null or valid_to > valid_from)
);
create unique index securities_symbol_now on securities (symbol) where valid_to is null;
create index securities_sector on securities (sector_id);

-- One row per calendar day, written from the exchange calendar by catalyst.dims.
create table exchange_days (
    day          date primary key,
    is_session   boolean not null,
    is_holiday   boolean not null,                   -- a weekday on which the exchange stays shut
    is_half_day  boolean not null default false,
    opens_at     timestamptz,
    closes_at    timestamptz,
    check (is_session = (opens_at is not null) and is_session = (closes_at is not null))
);

-- time_id is the instant's epoch second: chronological, computable without a look-up, and a foreign key.
create table time_dimension (
    time_id      bigint primary key,
    ts           timestamptz not null unique,
    session      date,                               -- null: the instant lies in no session's day (04:00 to 20:00)
    trading_day  date not null,                      -- calendar date in New York
    year smallint not null, quarter smallint not null, month smallint not null, week smallint not null,
    day_of_month smallint not null, day_of_week smallint not null check (day_of_week between 1 and 7), -- ISO: 1 = Monday
    day_of_year smallint not null, hour smallint not null, minute smallint not null,                   -- New York time
    market_session market_phase not null,
    is_trading_day boolean not null,
    is_market_holiday boolean not null,
    is_half_day  boolean not null,
    check (ts = to_timestamp(time_id))
);
create index time_dimension_session on time_dimension (session);
