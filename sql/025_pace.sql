-- How much of a server's allowance of calls is spent; one row per server, shared by all processes.
create table paces (
    name        text primary key,
    whole_at    timestamptz not null                          -- from then on the whole allowance is free again
);
