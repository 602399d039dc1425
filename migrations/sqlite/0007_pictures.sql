-- Small pictures are made when they are looked at, in the format that the reader takes.
ALTER TABLE output DROP COLUMN thumbnail;
