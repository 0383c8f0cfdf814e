-- What ran, how it went, with which settings, and what had to be told.
create table runs (
    run_id      text primary key,
    notebook    text not null,
    session     date,
    slot_at     timestamptz,                                  -- the as-of instant it ran for
    parameters  jsonb not null,
    status      step_status not null,
    started_at  timestamptz not null,
    ended_at    timestamptz,
    kernel_seconds numeric(10, 3),
    error       text,
    output_path text
);
create index runs_notebook on runs (notebook, started_at);

create table workflow_log (
    log_id      bigint generated always as identity primary key,
    cycle_id    text not null,                                -- no foreign key: the log must never be what fails
    step        text not null,
    slot_at     timestamptz not null,
    status      step_status not null,
    records_in  integer, records_out integer,
    details     jsonb not null default '{}',
    error_message text,
    logged_at   timestamptz not null default now(),
    unique (cycle_id, step, slot_at, status)
);

create table service_health (
    service_name text primary key,
    status      health_status not null,
    last_check  timestamptz not null,
    last_output_at timestamptz,
    requests_processed integer not null default 0, errors_count integer not null default 0,
    error_message text,
    metrics     jsonb not null default '{}'
);

create table configuration (
    key         text primary key,
    value       text not null,
    modified_at timestamptz not null, modified_by text not null, reason text not null
);
create table configuration_history (
    history_id  bigint generated always as identity primary key,
    key         text not null, previous_value text, value text,
    modified_at timestamptz not null, modified_by text not null, reason text not null
);

create table alerts (
    alert_id    bigint generated always as identity primary key,
    alert_key   text not null unique,
    severity    severity not null,
    subject     text not null, message text not null,
    raised_at   timestamptz not null, told_at timestamptz, route text, resolved_at timestamptz
);
