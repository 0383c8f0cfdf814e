-- Whether entries may be made, in each world. A row is never changed; the newest one at an instant holds.
create table risk_states (
    state_id    bigint generated always as identity primary key,
    world       world not null,
    state       text not null check (state in ('active', 'reducing', 'halted')),
    rule        text not null check (rule ~ '^[a-z][a-z_]*$'),  -- what decided: a rule's name, or "hand"
    reason      text not null check (length(btrim(reason)) between 1 and 300),
    set_by      text not null check (length(btrim(set_by)) between 1 and 100),   -- "rules", or a person
    set_at      timestamptz not null
);
create index risk_states_newest on risk_states (world, set_at desc, state_id desc);

create function risk_state_at(p_world world, p_at timestamptz) returns setof risk_states
language sql stable as $$
    select * from risk_states where world = p_world and set_at <= p_at order by set_at desc, state_id desc limit 1
$$;

-- No rule ends a halt: whoever ends it is named, and is not a rule.
create function keep_halt() returns trigger language plpgsql as $$
begin
    if new.state <> 'halted' and new.set_by = 'rules' and (select state from risk_state_at(new.world, new.set_at)) = 'halted' then
        raise exception 'the halt of world % ends by hand only', new.world using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger risk_states_stay before update or delete on risk_states for each row execute function refuse_rewriting();
create trigger risk_states_keep_halts before insert on risk_states for each row execute function keep_halt();

-- Trading in one security that the exchange has stopped. A row without `resumed_at` still holds.
create table security_halts (
    security_id integer not null references securities,
    halted_at   timestamptz not null,
    resumed_at  timestamptz check (resumed_at >= halted_at),
    reason      text not null,
    source      text not null,
    primary key (security_id, halted_at)
);
create unique index security_halts_one on security_halts (security_id) where resumed_at is null;
