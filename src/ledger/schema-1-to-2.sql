-- What schema 2 has that schema 1 had not. Figures begin with the rows to come: nobody has to wait until all the earlier ones are read.
ALTER TABLE rows ADD COLUMN request_id TEXT;
ALTER TABLE rows ADD COLUMN request_bytes INTEGER;
ALTER TABLE rows ADD COLUMN translated INTEGER;
ALTER TABLE rows ADD COLUMN sent_us INTEGER;
ALTER TABLE rows ADD COLUMN head_us INTEGER;
ALTER TABLE rows ADD COLUMN received_us INTEGER;

CREATE TABLE figures (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    upto INTEGER NOT NULL,
    text TEXT NOT NULL
);

INSERT INTO figures (id, upto, text) SELECT 1, coalesce(max(id), 0), '' FROM rows;
