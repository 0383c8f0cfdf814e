-- An order that the broker had and does not show any more protects nobody; it ends in our books when it stays away.
alter table orders add column missed_at timestamptz;                                 -- the first look in a row that did not find it; null: it is there

-- Whose account a home keeps the books of. The first one that was seen stays.
create table home_accounts (
    world       world primary key,
    account     text not null,
    seen_at     timestamptz not null
);
