-- The simulated broker's own books, apart from ours: trade sees them only through the Broker port.
create schema paper;
create table paper.accounts (
    account     text primary key,
    cash        numeric(18, 4) not null,
    starting_cash numeric(18, 4) not null,
    advanced_to timestamptz                                   -- bars available up to here have been used
);
create table paper.orders (
    broker_order_id text primary key,
    account     text not null references paper.accounts,
    client_order_id text not null,
    parent_id   text references paper.orders,
    symbol      text not null,
    side        side not null, order_type order_type not null, order_class order_class not null,
    time_in_force time_in_force not null,
    quantity    numeric(14, 4) not null check (quantity > 0),
    limit_price price, stop_price price,
    status      order_status not null,
    filled_quantity numeric(14, 4) not null default 0,
    filled_avg_price price,
    submitted_at timestamptz not null, ended_at timestamptz,
    reject_reason text,
    unique (account, client_order_id)
);
create table paper.fills (
    execution_id text primary key,
    broker_order_id text not null references paper.orders,
    quantity    numeric(14, 4) not null, price price not null, fees dollars not null,
    filled_at   timestamptz not null
);
