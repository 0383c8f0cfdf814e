-- Whether a security can be sold short, as the broker told at the start of the last session; null: nobody told.
alter table securities add column shortable boolean;

-- Money that moved at the broker without an execution: fees of the regulators, dividends, interest. One row per activity.
create table cash_charges (
    account     text not null,
    charge_id   text not null,                               -- the broker's
    kind        text not null,                               -- the broker's word: FEE, DIV, INT
    amount      numeric(18, 4) not null,                     -- signed: below zero it was taken
    of_day      date not null,                               -- to which it belongs
    seen_at     timestamptz not null,
    primary key (account, charge_id)
);
