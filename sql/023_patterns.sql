-- What a pattern brought, in multiples of the distance to its stop; null: undecided, or a range that nobody left.
alter table pattern_analysis add column r_multiple numeric(10, 4);
-- The night asks for what is undecided, newest first; decided rows are most of the table.
create index pattern_analysis_open on pattern_analysis (confirmed_at) where actual_outcome is null;
comment on column pattern_analysis.outcome_at is 'When the deciding bar was available: first instant at which the outcome may be used';
