-- What a next release may add while older workers work: columns, with and without a default, and a table.
ALTER TABLE run ADD COLUMN next_claims integer;
ALTER TABLE worker ADD COLUMN next_note text NOT NULL DEFAULT '';
ALTER TABLE receipt ADD COLUMN next_note text NOT NULL DEFAULT '';
CREATE TABLE next_thing (id bigint PRIMARY KEY);
