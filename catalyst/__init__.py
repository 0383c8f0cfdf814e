"""Modules:

- `catalyst.bars`: Price bars: judged row by row, stored once, read as of an instant
- `catalyst.cards`: What was said of a security, what was planned, and what became of it
- `catalyst.catalysts`: Why a headline may move a price: its tone, its kind, its strength, and the words that decided
- `catalyst.check`: Proof that the database keeps its promises, and that the machine can run them
- `catalyst.cli`: The same functions from a shell
- `catalyst.clock`: Sessions and instants, and the only place that reads the time
- `catalyst.config`: The one registry of numbers that decide, each with its unit, range and home
- `catalyst.console`: Commands about the database, files and parameters, and how a command prints
- `catalyst.core`: Settings, secrets, errors and the words that every other page uses
- `catalyst.day`: A whole session, slot by slot: replayed, simulated, or followed as it happens
- `catalyst.desk`: One instant of one trading day: its world, its clock, what is known
- `catalyst.dims`: Securities, sectors and time: the dimensions that every fact points at
- `catalyst.features`: One row per security: what was known of it at an instant
- `catalyst.figures`: Charts as inline SVG: a session's bars with what was known and done, the profit through the day, the funnel
- `catalyst.glance`: What a step found, as small tables for its notebook
- `catalyst.indicators`: Bars in, indicators out; what cannot be known is null and says why
- `catalyst.kernels`: Fresh kernels without the wait: a parent with its imports done, which forks
- `catalyst.ledger`: How what the broker says becomes our orders, fills and positions
- `catalyst.limits`: What a proposal must satisfy, and how large it may be
- `catalyst.market`: A market made to order: who is traded, what is planted, and every minute of every session
- `catalyst.markup`: Safe HTML: everything is text until it says otherwise
- `catalyst.matching`: What a bar does to resting orders, and what a broker refuses
- `catalyst.morning`: A small trading morning with known answers, for lessons and tests
- `catalyst.news`: News items with four clocks: judged at the door, kept in every version, joined into stories, read as of an instant
- `catalyst.paper`: A broker of our own: an account in the database, filled from the bars of a feed
- `catalyst.patterns`: Chart and candlestick patterns that never change their mind
- `catalyst.ports`: What the outside world must offer, and the plain records it speaks
- `catalyst.record`: Everything that is known of a day, read once
- `catalyst.replay`: A past day from Parquet or CSV files, told in the order in which it happened
- `catalyst.report`: The page of a day: one file that tells what happened, and why
- `catalyst.risk`: May this be sent? The account as it is, reservations, approvals
- `catalyst.run`: One scheduled notebook through papermill, and the schedule of a trading day
- `catalyst.scan`: From the whole universe to a hundred followed and five candidates, with a reason for every drop
- `catalyst.schema`: Migrations, the check at start, and a database for every test
- `catalyst.sections`: Tables of a day for a reader: funnel, decisions, orders, positions, runs
- `catalyst.server`: A PostgreSQL of one's own, on a socket in the home folder
- `catalyst.signals`: The one decision function: from a feature row to a plan with entry, stop and target, or to the reason why not
- `catalyst.simulate`: A feed over a market made to order, whose truth is known
- `catalyst.steps`: One function for each step of the day
- `catalyst.store`: Transactions, frames and bulk writes in PostgreSQL
- `catalyst.tables`: What happened in a cycle, as frames, as of an instant
- `catalyst.track`: Who is followed how closely, and what each look at them brings home
- `catalyst.trade`: The only sender of orders: entries, exits, reconciliation
- `catalyst.watch`: One pass over what is open: marks, expiries, the end of the day, protection
- `catalyst.workflow`: Cycles, steps, health and configuration: what is going on, and with which values"""

from importlib.metadata import version

__version__ = version("catalyst")
