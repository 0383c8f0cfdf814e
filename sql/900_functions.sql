-- Re-run whenever this file changes. Helpers that survive concurrency, and the gate before `orders`.

create or replace function get_or_create_security(p_symbol text) returns integer
language plpgsql as $$
declare found_id integer; sym text := upper(btrim(p_symbol));
begin
    loop
        select security_id into found_id from securities where symbol = sym and valid_to is null;
        if found then return found_id; end if;
        -- a ticker whose last company is gone begins again on the day after it
        insert into securities (symbol, valid_from)
        select sym, coalesce(max(valid_to), '1900-01-01') from securities where symbol = sym
        on conflict do nothing returning security_id into found_id;
        if found then return found_id; end if;      -- else another session was quicker: look again
    end loop;
end $$;

-- Everything about an instant follows from the exchange's calendar; outside of it the instant is refused.
create or replace function ensure_times(p_ids bigint[]) returns integer
language plpgsql as $$
declare added integer; missing date;
begin
    select (to_timestamp(t) at time zone 'America/New_York')::date into missing from unnest(p_ids) t
    where not exists (select from exchange_days d where d.day = (to_timestamp(t) at time zone 'America/New_York')::date)
    limit 1;
    if found then
        raise exception 'no exchange calendar for %: run "catalyst db init"', missing using errcode = 'foreign_key_violation';
    end if;
    -- no statement that writes when nothing is missing: its lock would stand in the way of a partition that is being attached
    if not exists (select from unnest(p_ids) t where not exists (select from time_dimension x where x.time_id = t)) then return 0; end if;
    insert into time_dimension
    select t, to_timestamp(t),
           case when d.is_session and ny::time >= '04:00' and ny::time < '20:00' then d.day end,
           d.day, extract(year from ny), extract(quarter from ny), extract(month from ny), extract(week from ny),
           extract(day from ny), extract(isodow from ny), extract(doy from ny), extract(hour from ny), extract(minute from ny),
           case when not d.is_session or ny::time < '04:00' or ny::time >= '20:00' then 'closed'
                when to_timestamp(t) < d.opens_at then 'pre_market'
                when to_timestamp(t) < d.closes_at then 'regular'
                else 'after_hours' end,
           d.is_session, d.is_holiday, d.is_half_day
    from (select distinct t, to_timestamp(t) at time zone 'America/New_York' as ny from unnest(p_ids) t
          where not exists (select from time_dimension x where x.time_id = t)) new
    join exchange_days d on d.day = ny::date
    order by t
    on conflict do nothing;
    get diagnostics added = row_count;
    return added;
end $$;

create or replace function get_or_create_time(p_ts timestamptz) returns bigint
language plpgsql as $$
declare id bigint := floor(extract(epoch from p_ts));
begin
    if not exists (select from time_dimension where time_id = id) then perform ensure_times(array[id]); end if;
    return id;
end $$;

-- trading_history has a partition for every UTC month in which there are bars. A month's first rows are loaded into a table of
-- its own and attached: its keys are then built, and its foreign keys checked, for all rows at once instead of row by row.
create or replace function month_of(p_time_id bigint, out part text, out starts bigint, out ends bigint)
language plpgsql immutable as $$
declare first date := date_trunc('month', to_timestamp(p_time_id) at time zone 'UTC');
begin
    part := 'trading_history_' || to_char(first, 'YYYYMM');
    starts := extract(epoch from first at time zone 'UTC');
    ends := extract(epoch from (first + interval '1 month') at time zone 'UTC');
end $$;

create or replace function start_partition(p_time_id bigint) returns text
language plpgsql as $$
declare m record;
begin
    select * into m from month_of(p_time_id);
    if to_regclass(m.part) is not null then return null; end if;
    perform pg_advisory_xact_lock(hashtext('trading_history'), hashtext(m.part));
    if to_regclass(m.part) is not null then return null; end if;   -- another session was quicker
    execute format('create table %I (like trading_history including defaults including constraints)', m.part);
    return m.part;
end $$;

create or replace function attach_partition(p_time_id bigint) returns void
language plpgsql as $$
declare m record;
begin
    select * into m from month_of(p_time_id);
    execute format('alter table %I add primary key (security_id, timeframe, time_id)', m.part);
    execute format('alter table trading_history attach partition %I for values from (%s) to (%s)', m.part, m.starts, m.ends);
end $$;

create or replace function ensure_partition(p_time_id bigint) returns text
language plpgsql as $$
declare m record;
begin
    select * into m from month_of(p_time_id);
    if start_partition(p_time_id) is not null then perform attach_partition(p_time_id); end if;
    return m.part;
end $$;

-- The last wall: an order that is larger, dearer, later than its approval, or on another side, cannot be stored.
create or replace function check_order_approval() returns trigger
language plpgsql as $$
declare a risk_approvals; complaint text;
begin
    select * into a from risk_approvals where approval_id = new.approval_id;
    complaint := case
        when a.approval_id is null then 'there is no approval ' || coalesce(new.approval_id::text, 'null')
        when a.verdict <> 'approved' then 'its approval was refused'
        when a.released_at is not null and tg_op = 'INSERT' then 'its approval has been released'
        when a.security_id <> new.security_id then 'the approval is for another security'
        when a.cycle_id <> new.cycle_id then 'the approval is for another cycle'
        when a.purpose <> new.purpose then format('the approval is for purpose %s, not %s', a.purpose, new.purpose)
        when a.side <> new.side then format('the approval is for side %s, not %s', a.side, new.side)
        when a.order_type <> new.order_type then format('the approval is for type %s, not %s', a.order_type, new.order_type)
        when new.quantity > a.quantity then format('quantity %s exceeds the approved %s', new.quantity, a.quantity)
        when new.intended_at > a.expires_at then format('intended at %s, after the approval expired at %s', new.intended_at, a.expires_at)
        when new.intended_at < a.decided_at then 'intended before it was approved'
        when new.purpose = 'entry' and new.side = 'buy' and new.limit_price > a.limit_price then
            format('limit %s is dearer than the approved %s', new.limit_price, a.limit_price)
        when new.purpose = 'entry' and new.side = 'sell' and new.limit_price < a.limit_price then
            format('limit %s is cheaper than the approved %s', new.limit_price, a.limit_price)
        when new.stop_price is distinct from a.stop_price then
            format('stop %s differs from the approved %s', new.stop_price, a.stop_price)
        when new.limit_price is distinct from a.limit_price and new.purpose = 'target' then
            format('target %s differs from the approved %s', new.limit_price, a.limit_price)
        when new.limit_price is distinct from a.limit_price and (new.purpose <> 'entry' or new.limit_price is null or a.limit_price is null) then
            format('limit %s differs from the approved %s', new.limit_price, a.limit_price)
        when new.trail_price is distinct from a.trail_price then
            format('trail %s differs from the approved %s', new.trail_price, a.trail_price)
    end;
    if complaint is not null then
        raise exception 'order % refused: %', new.client_order_id, complaint using errcode = 'check_violation';
    end if;
    return new;
end $$;
create or replace trigger orders_need_approval
    before insert or update of approval_id, security_id, cycle_id, purpose, side, order_type, quantity, limit_price, stop_price, trail_price, intended_at
    on orders for each row execute function check_order_approval();

-- An approval is evidence: only its release may be written later.
create or replace function keep_approval() returns trigger
language plpgsql as $$
begin
    if tg_op = 'DELETE' or (to_jsonb(new) - 'released_at') is distinct from (to_jsonb(old) - 'released_at') then
        raise exception 'risk_approvals % cannot be changed', old.approval_id using errcode = 'check_violation';
    end if;
    return new;
end $$;
create or replace trigger risk_approvals_are_kept before update or delete on risk_approvals
    for each row execute function keep_approval();

-- Every change of a value is kept with who, when and why; the same value again is no change. A deleted row cannot say who deleted
-- it: `workflow.unset_configuration` states that for its transaction, and a deletion by hand is kept as one.
create or replace function keep_configuration_history() returns trigger
language plpgsql as $$
declare said text := nullif(current_setting('catalyst.changed_by', true), '');
begin
    if tg_op = 'DELETE' then
        insert into configuration_history (key, previous_value, value, modified_at, modified_by, reason)
        values (old.key, old.value, null,
                case when said is null then clock_timestamp() else current_setting('catalyst.changed_at')::timestamptz end,
                coalesce(said, session_user), case when said is null then 'deleted by hand' else current_setting('catalyst.reason') end);
    elsif tg_op = 'INSERT' or new.value is distinct from old.value then
        insert into configuration_history (key, previous_value, value, modified_at, modified_by, reason)
        values (new.key, case when tg_op = 'UPDATE' then old.value end, new.value, new.modified_at, new.modified_by, new.reason);
    end if;
    return null;
end $$;
create or replace trigger configuration_is_audited after insert or update or delete on configuration
    for each row execute function keep_configuration_history();
