-- What the scores of a setup or of a pattern have been worth, and from when that may be said. A written row is never changed.
create table calibrations (
    world        world not null,                              -- worlds do not teach each other
    subject      text not null check (subject ~ '^(setup|pattern):.'),
    usable_from  timestamptz not null,                        -- every outcome in it was known by then
    count        integer not null check (count > 0),
    hits         integer not null check (hits between 0 and count),
    base_rate    double precision not null check (base_rate between 0 and 1),
    held         integer not null check (held >= 0),          -- later outcomes that the curve of the earlier ones foretold
    brier        double precision check (brier between 0 and 1),
    brier_base   double precision check (brier_base between 0 and 1),
    reason       text,                                        -- why a score is no frequency; null: it is one
    points       jsonb not null,                              -- score, probability, count, hits of each group
    primary key (world, subject, usable_from),
    check ((brier is null) = (held = 0) and (brier is null) = (brier_base is null)),
    check (reason is not null or brier < brier_base)
);

create function refuse_rewriting() returns trigger language plpgsql as $$
begin
    raise exception 'a row of % says what was known at an instant and is never changed; add one with a later instant', tg_table_name;
end $$;
create trigger calibrations_stay before update on calibrations for each row execute function refuse_rewriting();
