-- What an account was worth, pass by pass, and the highest that it had stood by then. A drawdown is measured from this.
create table equity_marks (
    account     text not null,
    marked_at   timestamptz not null,
    equity      numeric(18, 4) not null,
    peak        numeric(18, 4) not null check (peak >= equity),
    primary key (account, marked_at)
);

-- The state that was decided last. A rule's decision does not reach back over sessions; a person's stands whatever it is dated by, because a
-- halt of today is meant for the replay of last year that runs next.
create function risk_state_now(p_world world, p_until timestamptz) returns setof risk_states
language sql stable as $$
    select * from risk_states where world = p_world and (set_at <= p_until or set_by <> 'rules') order by state_id desc limit 1
$$;
create index risk_states_last on risk_states (world, state_id desc);

create or replace function keep_halt() returns trigger language plpgsql as $$
begin
    if new.state <> 'halted' and new.set_by = 'rules'
       and 'halted' in ((select state from risk_state_at(new.world, new.set_at)), (select state from risk_state_now(new.world, new.set_at))) then
        raise exception 'the halt of world % ends by hand only', new.world using errcode = 'check_violation';
    end if;
    return new;
end $$;
