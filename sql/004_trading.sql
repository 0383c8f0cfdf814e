-- From a cycle's choice to money: every row of `orders` hangs on an approval of its own.
create table trading_cycles (
    cycle_id    text primary key check (length(cycle_id) <= 40),
    session     date not null,
    world       world not null,
    mode        trading_mode not null default 'normal',
    state       cycle_state not null default 'created',
    configuration jsonb not null default '{}',                -- the values this cycle runs with
    started_at  timestamptz not null,
    stopped_at  timestamptz,
    stop_reason text,
    news_collected integer not null default 0, securities_scanned integer not null default 0,
    patterns_detected integer not null default 0, signals_generated integer not null default 0,
    trades_executed integer not null default 0,
    metadata    jsonb not null default '{}',
    unique (session, world)
);

create table scan_results (
    scan_result_id bigint generated always as identity primary key,
    cycle_id    text not null references trading_cycles,
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,    -- the scan's instant
    scan_timestamp timestamptz not null,
    stage       scan_stage not null,                          -- the last stage it reached
    reason      text not null,                                -- why it went no further, or why it was chosen
    rank        integer,                                      -- null: dropped before ranking
    composite_score numeric(8, 5), catalyst_score numeric(8, 5), volume_score numeric(8, 5),
    momentum_score numeric(8, 5), technical_score numeric(8, 5),
    price price, volume bigint, relative_volume numeric(12, 4), change_pct numeric(10, 5),
    story_id    bigint references news_stories,
    news_id     bigint references news_sentiment,
    tracked     boolean not null default false,
    selected_for_trading boolean not null default false,
    scan_metadata jsonb not null default '{}',
    unique (cycle_id, security_id, scan_timestamp),
    check (not selected_for_trading or tracked),
    check (scan_timestamp = to_timestamp(time_id))
);
create index scan_results_time on scan_results (scan_timestamp);

create table signals (
    signal_id   bigint generated always as identity primary key,
    cycle_id    text not null references trading_cycles,
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,
    decided_at  timestamptz not null,
    setup       text not null,
    side        position_side not null,
    entry_type  order_type not null,
    entry_price price not null, stop_price price not null, target_price price not null,
    confidence  numeric(4, 3) not null check (confidence between 0 and 1),
    calibrated  boolean not null default false,
    expires_at  timestamptz not null,
    terms       jsonb not null,                               -- every term of the score
    scan_result_id bigint references scan_results,
    pattern_id  bigint references pattern_analysis,
    story_id    bigint references news_stories,
    news_id     bigint references news_sentiment,
    unique (cycle_id, security_id, setup, decided_at)
);

create table risk_parameters (
    parameter_id bigint generated always as identity primary key,
    parameter_name text not null,
    value       text not null,
    cycle_id    text references trading_cycles,               -- null: for the whole account
    effective_from timestamptz not null,
    effective_to timestamptz,
    set_by      text not null, change_reason text not null, previous_value text,
    unique nulls not distinct (parameter_name, cycle_id, effective_from)
);

create table risk_approvals (
    approval_id bigint generated always as identity primary key,
    approval_key text not null unique,
    parent_approval_id bigint references risk_approvals,      -- the entry whose exits these are
    cycle_id    text not null references trading_cycles,
    signal_id   bigint references signals,                    -- null: a close ordered by hand or by the monitor
    security_id integer not null references securities,
    purpose     order_purpose not null,
    verdict     verdict not null,
    side        side not null,
    order_type  order_type not null,
    quantity    numeric(14, 4) not null check (quantity > 0),
    limit_price price, stop_price price,
    risk_amount dollars not null default 0,                     -- dollars lost if the stop fills; what it reserves
    position_value dollars not null default 0,
    decided_at  timestamptz not null,
    expires_at  timestamptz not null,
    released_at timestamptz,                                  -- the reservation ended: filled and closed, cancelled, expired
    checks      jsonb not null,                               -- name, value, limit, verdict, unit of every check
    snapshot    jsonb not null,                               -- what it was decided on
    order_hash  text not null
);
create index risk_approvals_open on risk_approvals (cycle_id) where verdict = 'approved' and released_at is null;

create table risk_events (
    event_id    bigint generated always as identity primary key,
    event_key   text not null unique,
    cycle_id    text references trading_cycles,
    security_id integer references securities,
    event_type  text not null,
    severity    severity not null,
    message     text not null,
    details     jsonb not null default '{}',
    action_taken text not null,
    occurred_at timestamptz not null,
    resolved_at timestamptz, resolution text
);

create table daily_risk_metrics (
    cycle_id    text not null references trading_cycles,
    session     date not null,
    realized_pnl dollars not null, unrealized_pnl dollars,
    win_count   integer not null, loss_count integer not null,
    daily_loss_limit dollars not null, daily_loss_used_pct numeric(8, 4),
    position_count integer not null, gross_exposure dollars not null, reserved_risk dollars not null,
    max_drawdown dollars, trades_refused integer not null,
    updated_at  timestamptz not null,
    primary key (cycle_id, session)
);

create table positions (
    position_id bigint generated always as identity primary key,
    position_key text not null unique,                        -- the entry's client_order_id
    cycle_id    text not null references trading_cycles,
    security_id integer not null references securities,
    signal_id   bigint references signals,
    side        position_side not null,
    quantity    numeric(14, 4) not null check (quantity > 0), -- shares bought or sold to open
    open_quantity numeric(14, 4) not null check (open_quantity >= 0),
    entry_price price not null,
    stop_price  price, target_price price,
    risk_amount dollars not null check (risk_amount >= 0),
    status      position_status not null,
    opened_at   timestamptz not null,
    closed_at   timestamptz,
    exit_price  price, last_price price,
    unrealized_pnl dollars, realized_pnl dollars, fees dollars not null default 0,
    pnl_pct numeric(10, 5), r_multiple numeric(10, 4),
    close_reason text,
    check ((status = 'closed') = (closed_at is not null)),
    check (status = 'open' or (exit_price is not null and realized_pnl is not null and close_reason is not null))
);
create unique index positions_one_open on positions (security_id) where status = 'open';

create table orders (
    order_id    bigint generated always as identity primary key,
    client_order_id text not null unique check (length(client_order_id) <= 128),
    approval_id bigint not null unique references risk_approvals,
    parent_order_id bigint references orders,
    position_id bigint references positions,
    cycle_id    text not null references trading_cycles,
    security_id integer not null references securities,
    purpose     order_purpose not null,
    side        side not null,
    order_type  order_type not null,
    order_class order_class not null,
    time_in_force time_in_force not null,
    quantity    numeric(14, 4) not null check (quantity > 0),
    limit_price price, stop_price price,
    status      order_status not null default 'intended',
    broker_order_id text unique,
    filled_quantity numeric(14, 4) not null default 0 check (filled_quantity between 0 and quantity),
    filled_avg_price price,
    intended_at timestamptz not null,
    submitted_at timestamptz, ended_at timestamptz,
    status_reason text,
    check (order_type not in ('limit', 'stop_limit') or limit_price is not null),
    check (order_type not in ('stop', 'stop_limit') or stop_price is not null),
    check ((filled_quantity > 0) = (filled_avg_price is not null))
);
create index orders_open on orders (security_id) where ended_at is null;

create table order_events (
    event_id    bigint generated always as identity primary key,
    order_id    bigint not null references orders,
    status      order_status not null,
    occurred_at timestamptz not null,
    details     jsonb not null default '{}',
    unique (order_id, status, occurred_at)
);

create table fills (
    fill_id     bigint generated always as identity primary key,
    execution_id text not null unique,
    order_id    bigint not null references orders,
    security_id integer not null references securities,
    time_id     bigint not null references time_dimension,
    side        side not null,
    quantity    numeric(14, 4) not null check (quantity > 0),
    price       price not null,
    fees        dollars not null default 0,
    filled_at   timestamptz not null
);
create index fills_order on fills (order_id);
