-- Every closed vocabulary is a domain, so a column cannot hold a word that the code does not know.
-- The Python side is catalyst.core; `catalyst db check` compares the two lists, value by value.
create domain side           as text check (value in ('buy', 'sell'));
create domain position_side  as text check (value in ('long', 'short'));
create domain order_type     as text check (value in ('market', 'limit', 'stop', 'stop_limit', 'trailing_stop'));
create domain order_class    as text check (value in ('simple', 'bracket', 'oco', 'oto'));
create domain time_in_force  as text check (value in ('day', 'gtc'));
create domain order_purpose  as text check (value in ('entry', 'target', 'stop', 'close'));
create domain order_status   as text check (value in ('intended', 'submitted', 'accepted', 'held', 'partially_filled',
                                                      'filled', 'canceled', 'expired', 'rejected', 'replaced', 'unknown'));
create domain position_status as text check (value in ('open', 'closed'));
create domain timeframe      as text check (value in ('1min', '5min', '15min', '30min', '1hour', '4hour', '1day', '1week'));
create domain trading_mode   as text check (value in ('conservative', 'normal', 'aggressive'));
create domain cycle_state    as text check (value in ('created', 'scanning', 'collecting', 'analysing', 'deciding',
                                                      'trading', 'monitoring', 'closed', 'stopped'));
create domain step_status    as text check (value in ('started', 'completed', 'failed', 'skipped'));
create domain health_status  as text check (value in ('healthy', 'degraded', 'down'));
create domain severity       as text check (value in ('info', 'warning', 'critical'));
create domain verdict        as text check (value in ('approved', 'refused'));
create domain market_phase   as text check (value in ('pre_market', 'regular', 'after_hours', 'closed'));
create domain tier           as text check (value in ('ultra_high', 'high', 'medium', 'low', 'archive'));
create domain scan_stage     as text check (value in ('universe', 'priced', 'tracked', 'liquid', 'catalyst', 'ranked', 'selected'));
create domain tone_label     as text check (value in ('very_negative', 'negative', 'neutral', 'positive', 'very_positive'));
create domain catalyst_type  as text check (value in (
    'results', 'guidance', 'fda', 'merger', 'offering', 'buyback', 'dividend', 'split', 'contract', 'product',
    'partnership', 'litigation', 'regulation', 'management', 'analyst_up', 'analyst_down', 'insider',
    'index_change', 'short_report', 'halt', 'general'));
create domain world          as text check (value in ('simulated', 'replay', 'alpaca'));
create domain asset_type     as text check (value in ('stock', 'etf', 'index'));
-- Prices keep four decimals: the tick below one dollar is 0.0001. Fractions are shares of one, not percents.
create domain price          as numeric(14, 4);
create domain dollars      as numeric(16, 2);
