-- A look at a security sees its newest bar. Two looks that saw the same bar saw its volume once, so a look says which bar it was.
alter table security_data_high_freq add column bar_time_id bigint references time_dimension;  -- start of that bar; null: not told

-- Column to the reason it is null, as in technical_indicators.
alter table sector_correlations add column null_reason jsonb not null default '{}';
