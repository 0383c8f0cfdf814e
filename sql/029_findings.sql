-- What discovery tried, what it foretold and what became of it. Nothing that was tried is dropped: a correction that nobody can repeat is no correction.
create table discovery_runs (
    run_id      bigint generated always as identity primary key,
    world       world not null,
    asof        timestamptz not null,
    asked       text not null,                                -- kinds, by name, with commas; all: every kind
    seed        bigint,
    model_level double precision check (model_level > 0 and model_level < 1),
    securities  integer not null default 0 check (securities >= 0),
    sessions    integer not null default 0 check (sessions >= 0),
    hypotheses  integer not null default 0 check (hypotheses >= 0),
    tested      integer not null default 0 check (tested between 0 and hypotheses),
    admitted    integer not null default 0 check (admitted between 0 and tested),
    fired       integer not null default 0 check (fired >= 0),  -- predictions whose trigger was present
    why         text,                                         -- why nothing could be tried; null: it was tried
    unique (world, asof, asked),
    check (why is null or hypotheses = 0)
);
create table discovery_tried (
    run_id      bigint not null references discovery_runs on delete cascade,
    kind        text not null,
    hypotheses  integer not null check (hypotheses > 0),
    tested      integer not null check (tested between 0 and hypotheses),
    admitted    integer not null check (admitted between 0 and tested),
    smallest_p  double precision check (smallest_p > 0 and smallest_p <= 1),
    smallest_q  double precision check (smallest_q > 0 and smallest_q <= 1),
    block       bytea,                                        -- every row, packed; null: retention has taken it
    primary key (run_id, kind),
    check ((smallest_p is null) = (tested = 0) and (smallest_p is null) = (smallest_q is null))
);

alter table ml_pattern_discoveries
    add column world world,
    add column run_id bigint references discovery_runs,
    add column relation text,                                 -- key of the admitted relation that fired
    add column discovered_at timestamptz,
    add column adversarial boolean not null default false,    -- a warning and never an invitation
    add column null_model text,
    add column sample_size integer check (sample_size > 0),
    add column effect_net double precision,
    add column failed_where text,
    add check (horizon_at > discovered_at),
    add check ((actual_outcome is null) = (verified_at is null)),
    add check (pattern_success is null or actual_outcome is not null),
    add check (verified_at >= horizon_at),
    add check (pattern_type <> 'pump_and_dump' or adversarial or run_id is null);
create index ml_pattern_discoveries_open on ml_pattern_discoveries (horizon_at) where verified_at is null;
create index ml_pattern_discoveries_relation on ml_pattern_discoveries (world, pattern_type, relation);

-- A security under suspicion: who reads this is warned, and no other list shows it as a thing to buy.
create view v_suspects as
select s.security_id, d.discovery_id, d.world, d.relation, d.discovered_at, d.horizon_at, d.pattern_confidence, d.trigger_conditions,
       d.verified_at, d.pattern_success
from ml_pattern_discoveries d cross join lateral unnest(d.securities_involved) as s (security_id) where d.adversarial;
