-- What machines learned. A fold is stored as it ends, long before its run is judged; a card says how a run was judged and from when that was known.
create table ml_folds (
    run        text not null,                                 -- key of data, inputs, question, seed, rules and versions
    model      text not null check (model in ('base_rate', 'logistic', 'random_forest', 'gradient_boosting')),
    fold       smallint not null check (fold >= 0),           -- in order of time
    train_from timestamptz not null,
    train_to   timestamptz not null,                          -- the last label that was learned from
    test_from  timestamptz not null,
    test_to    timestamptz not null,
    trained    integer not null check (trained > 0),          -- rows
    purged     integer not null check (purged >= 0),
    embargoed  integer not null check (embargoed >= 0),
    cut        double precision not null check (cut between 0 and 0.5),
    sessions   jsonb not null,                                -- per session: day, rows, squared error, firm forecasts, hits, net gain
    primary key (run, model, fold),
    constraint ml_folds_in_order check (train_from < train_to and train_to < test_from and test_from < test_to)  -- PD-2
);

create table ml_models (
    world       world not null,                               -- worlds do not teach each other
    run         text not null,
    usable_from timestamptz not null,                         -- every label in it was known by then
    promoted    text check (promoted in ('random_forest', 'gradient_boosting')),  -- null: nobody
    why         text not null,
    data_from   timestamptz not null,
    data_to     timestamptz not null,
    rows        integer not null check (rows > 0),
    seed        bigint not null,
    data_hash   text not null,
    model_hash  text,                                         -- of what the promoted model says; no model is stored
    card        jsonb not null,
    primary key (world, run, usable_from),
    check (data_from <= data_to and data_to < usable_from),
    check ((promoted is null) = (model_hash is null))
);
create trigger ml_folds_stay before update on ml_folds for each row execute function refuse_rewriting();
create trigger ml_models_stay before update on ml_models for each row execute function refuse_rewriting();
