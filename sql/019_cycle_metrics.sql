-- Sums of collections belong to a cycle: two worlds may run the same session.
alter table tracking_metrics add column cycle_id text;
update tracking_metrics m set cycle_id = (select min(c.cycle_id) from trading_cycles c where c.session = m.session);
delete from tracking_metrics where cycle_id is null;
alter table tracking_metrics drop constraint tracking_metrics_pkey;
alter table tracking_metrics alter column cycle_id set not null;
alter table tracking_metrics add primary key (cycle_id, tier);
