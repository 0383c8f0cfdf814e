-- The simulated broker learns trailing stops: the distance is the order's, the stop moves with the market (catalyst.matching.trailed).
alter table paper.orders add column trail_price price check (trail_price > 0);
alter table paper.orders add check ((order_type = 'trailing_stop') = (trail_price is not null));
