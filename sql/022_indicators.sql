-- Bands around the session's VWAP, levels of the session before it, opening range, gap, and strength against the sector.
alter table technical_indicators
    add column vwap_upper price, add column vwap_lower price,             -- two volume-weighted deviations
    add column pivot price, add column pivot_r1 price, add column pivot_r2 price, add column pivot_r3 price,
    add column pivot_s1 price, add column pivot_s2 price, add column pivot_s3 price,
    add column opening_high price, add column opening_low price,          -- of the first 30 minutes, null until they ended
    add column gap_pct numeric(10, 5), add column sector_strength numeric(10, 5);  -- shares of one
