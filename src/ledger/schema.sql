-- The ledger's tables. Times are milliseconds since 1970 (UTC), money is nano-dollars unless a name says otherwise.

-- One row a settled call. No (run, serial) is there twice: rows come from journals, and how far a journal was taken in
-- is kept in the same transaction as its rows.
CREATE TABLE rows (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    run TEXT NOT NULL,
    serial INTEGER NOT NULL,
    agent TEXT,
    model TEXT,
    provider TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    stream INTEGER NOT NULL,
    status INTEGER NOT NULL,
    ended TEXT NOT NULL,
    code TEXT,
    input INTEGER,
    cache_read INTEGER,
    cache_write_5m INTEGER,
    cache_write_1h INTEGER,
    input_audio INTEGER,
    input_image INTEGER,
    output INTEGER,
    output_audio INTEGER,
    output_image INTEGER,
    reasoning INTEGER,
    cost_nano_usd INTEGER,          -- NULL: not known
    estimated INTEGER NOT NULL,
    tier TEXT NOT NULL,
    price_id INTEGER,               -- prices.id
    first_byte_us INTEGER,
    total_us INTEGER NOT NULL,
    reply_bytes INTEGER NOT NULL,
    request_id TEXT,
    request_bytes INTEGER,
    translated INTEGER,             -- NULL, here and below: the row is older than schema 2
    sent_us INTEGER,
    head_us INTEGER,
    received_us INTEGER
);

-- Sums of spending since a time, and an agent's, come from this index alone.
CREATE INDEX rows_spent ON rows (at_ms, agent, cost_nano_usd);

-- The prices that rows were computed with; the id is a hash of the text.
CREATE TABLE prices (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
);

-- How far each journal was taken in.
CREATE TABLE journals (
    run TEXT NOT NULL,
    number INTEGER NOT NULL,
    folded INTEGER NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

-- What is to be sent to the control server; `run` is the one that sends it.
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
);

-- The control server's leases that are open; `run` is the one that spends on it, or returns it.
CREATE TABLE leases (
    lease_id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    server TEXT NOT NULL,
    provider TEXT NOT NULL,
    token_hash TEXT NOT NULL,
    granted_micro INTEGER NOT NULL,
    spent_micro INTEGER NOT NULL
);

-- Figures of all rows up to one of them, so that a start need not count them anew: one row, or none yet.
CREATE TABLE figures (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    upto INTEGER NOT NULL,          -- rows.id
    text TEXT NOT NULL
);
