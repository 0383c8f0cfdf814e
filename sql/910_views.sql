-- Re-run whenever this file changes.
drop view if exists v_trade_lineage, v_positions_current;
-- An earlier version kept two of the views as copies that somebody had to refresh; nobody did (DB-6). A view is never behind.
do $$
declare r record;
begin
    for r in select relname, relkind from pg_class
             where relnamespace = current_schema()::regnamespace and relname in ('v_ml_features', 'v_securities_latest') loop
        execute format('drop %s %I', case r.relkind when 'm' then 'materialized view' else 'view' end, r.relname);
    end loop;
end $$;

create view v_positions_current as
select p.position_id, s.symbol, p.security_id, sec.sector_name, p.side, p.open_quantity, p.entry_price, p.last_price,
       p.stop_price, p.target_price, p.unrealized_pnl, p.risk_amount, p.opened_at, p.cycle_id,
       count(o.order_id) filter (where o.purpose in ('target', 'stop') and o.ended_at is null) as live_exits
from positions p
join securities s using (security_id)
left join sectors sec using (sector_id)
left join orders o on o.position_id = p.position_id
where p.status = 'open'
group by p.position_id, s.symbol, sec.sector_name;

-- From any fill back to the words that started it. Left joins: a missing link shows as null, it does not hide the fill.
create view v_trade_lineage as
select f.fill_id, f.execution_id, f.filled_at, f.side as fill_side, f.quantity as fill_quantity, f.price as fill_price,
       sec.symbol, f.security_id,
       o.order_id, o.client_order_id, o.purpose, o.status as order_status,
       a.approval_id, a.verdict, a.risk_amount,
       g.signal_id, g.setup, g.confidence, g.decided_at,
       pa.pattern_id, pa.pattern_type,
       r.scan_result_id, r.scan_timestamp, r.rank, r.composite_score,
       st.story_id, st.headline as story_headline,
       n.news_id, n.headline, n.published_at, n.received_at, src.source_name, n.catalyst_type,
       p.position_id, p.realized_pnl, p.r_multiple, p.close_reason
from fills f
join securities sec using (security_id)
join orders o using (order_id)
join risk_approvals a using (approval_id)
left join risk_approvals parent on parent.approval_id = a.parent_approval_id
left join positions p on p.position_id = o.position_id
left join signals g on g.signal_id = coalesce(a.signal_id, parent.signal_id, p.signal_id)
left join pattern_analysis pa on pa.pattern_id = g.pattern_id
left join scan_results r on r.scan_result_id = g.scan_result_id
left join news_sentiment n on n.news_id = g.news_id
left join news_stories st on st.story_id = coalesce(g.story_id, n.story_id)
left join news_sources src on src.source_id = n.source_id;

-- One row per bar with what was known when the bar became available, and nothing later. A value that was not computed then is null: the VWAP of
-- a bar is not that of its session. Of an item the newest version counts that had been received, and it counts once; a version that dropped a
-- security takes the item away from it.
create view v_ml_features as
select h.security_id, h.time_id, h.timeframe, t.ts, h.available_at, h.close, h.volume, i.vwap,
       i.rsi_14, i.macd, i.vpoc, i.bid_ask_spread, i.order_flow_imbalance, i.unusual_volume_flag,
       c.sector_relative_strength, c.sector_rank, c.correlation_spy, c.beta_spy,
       vix.value as vix_level, dff.value as fed_funds_rate,
       n.news_count_1h, n.max_catalyst_strength, n.avg_tone
from trading_history h
join time_dimension t using (time_id)
left join technical_indicators i
       on i.security_id = h.security_id and i.timeframe = h.timeframe and i.time_id = h.time_id and i.available_at <= h.available_at
left join lateral (
    select x.* from sector_correlations x join time_dimension tx on tx.time_id = x.time_id
    where x.security_id = h.security_id and tx.ts <= h.available_at order by x.time_id desc limit 1) c on true
left join lateral (
    select e.value from economic_indicators e where e.indicator_code = 'VIXCLS' and e.available_at <= h.available_at
    order by e.day desc, e.available_at desc limit 1) vix on true
left join lateral (
    select e.value from economic_indicators e where e.indicator_code = 'DFF' and e.available_at <= h.available_at
    order by e.day desc, e.available_at desc limit 1) dff on true
left join lateral (
    select count(*) as news_count_1h, max(catalyst_strength) as max_catalyst_strength, avg(tone) as avg_tone
    from news_sentiment s join news_revisions r using (revision_id)
    where s.security_id = h.security_id and s.received_at <= h.available_at
      and s.received_at > h.available_at - interval '1 hour'
      and not exists (select from news_revisions v where v.feed = r.feed and v.item_id = r.item_id and v.received_at <= h.available_at
                      and (v.received_at, v.revision_id) > (r.received_at, r.revision_id))) n on true
where h.timeframe in ('5min', '15min', '1hour');

create view v_securities_latest as
select s.security_id, s.symbol, s.name, sec.sector_name, s.is_active,
       b.ts as last_bar_at, b.close as last_close, n.last_news_at, c.correlation_spy
from securities s
left join sectors sec using (sector_id)
left join lateral (
    select t.ts, h.close from trading_history h join time_dimension t using (time_id)
    where h.security_id = s.security_id order by h.time_id desc limit 1) b on true
left join lateral (
    select max(received_at) as last_news_at from news_sentiment x where x.security_id = s.security_id) n on true
left join lateral (
    select correlation_spy from sector_correlations x where x.security_id = s.security_id
    order by x.time_id desc limit 1) c on true;
