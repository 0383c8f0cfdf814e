-- The eleven sectors of the Global Industry Classification Standard, with the SPDR fund that follows each.
insert into sectors (sector_name, sector_code, gics_code, sector_etf_symbol) values
    ('Energy', 'ENERGY', 10, 'XLE'), ('Materials', 'MATERIALS', 15, 'XLB'), ('Industrials', 'INDUSTRIALS', 20, 'XLI'),
    ('Consumer Discretionary', 'DISCRETIONARY', 25, 'XLY'), ('Consumer Staples', 'STAPLES', 30, 'XLP'),
    ('Healthcare', 'HEALTH', 35, 'XLV'), ('Financials', 'FINANCIALS', 40, 'XLF'), ('Technology', 'TECH', 45, 'XLK'),
    ('Communication Services', 'COMM', 50, 'XLC'), ('Utilities', 'UTILITIES', 55, 'XLU'), ('Real Estate', 'REALESTATE', 60, 'XLRE');
