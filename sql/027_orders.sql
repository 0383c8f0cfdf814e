-- Orders of every kind, what they cost against what was meant, and what is the broker's alone.
alter table risk_approvals add column trail_price price;                              -- dollars behind the best price
alter table orders add column trail_price price;
alter table orders add column reason text;                                           -- why it was sent, in a word; null: an entry
alter table orders add column intended_price price;                                  -- what the decision reckoned with; null: nobody knew
alter table orders add column cancel_asked_at timestamptz;                           -- when we first asked for its end; null: never
alter table orders add check (order_type <> 'trailing_stop' or trail_price is not null);
alter table positions add column slippage dollars;                                   -- dollars against the intended prices; null: open, or one is unknown

-- Shares at the broker that no order of ours explains. They are watched and never traded; a row without `gone_at` is still there.
create table foreign_positions (
    symbol      text not null,
    first_seen_at timestamptz not null,
    quantity    numeric(14, 4) not null,                                             -- signed
    avg_price   price not null,
    last_seen_at timestamptz not null,
    gone_at     timestamptz,
    primary key (symbol, first_seen_at)
);
create unique index foreign_positions_one on foreign_positions (symbol) where gone_at is null;

-- Executions of orders that are not ours: the evidence for a position that somebody else ended, and for cash that moved without us.
create table foreign_fills (
    execution_id text primary key,
    broker_order_id text not null,
    client_order_id text not null,
    symbol      text not null,
    side        side not null,
    quantity    numeric(14, 4) not null check (quantity > 0),
    price       price not null,
    fees        dollars not null default 0,
    filled_at   timestamptz not null,
    position_id bigint references positions                                          -- the position of ours that it reduced
);
create index foreign_fills_position on foreign_fills (position_id);

-- Cash as the broker counted it, with the sum of all executions we knew: between two rows both move by the same amount.
create table cash_marks (
    account     text not null,
    marked_at   timestamptz not null,
    cash        numeric(18, 4) not null,
    flows       numeric(18, 4) not null,
    difference  numeric(18, 4) not null default 0,                                   -- against what the row before led us to expect
    primary key (account, marked_at)
);
