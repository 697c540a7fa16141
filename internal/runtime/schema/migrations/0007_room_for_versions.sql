-- A run is written three times. While somebody's old snapshot is open no version goes away, so a page needs room for three
-- versions of its rows, or the last ones leave it and each gets new entries in every index: at 50 a snapshot took a third of the
-- throughput and half as much WAL again. At 34 all would fit; 40 keeps four fifths of it for a quarter more pages.
ALTER TABLE run SET (fillfactor = 40);
