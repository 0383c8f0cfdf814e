-- Rows of a file of corporate actions that cannot be used are kept as evidence, as bars and news are.
alter table quarantine drop constraint quarantine_kind_check;
alter table quarantine add constraint quarantine_kind_check check (kind in ('bars', 'news', 'orders', 'assets', 'actions'));
