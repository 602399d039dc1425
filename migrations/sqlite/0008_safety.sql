-- What the safety classifier saw in a result: a JSON list, empty where there was nothing to see, missing where none looked.
ALTER TABLE output ADD COLUMN safety TEXT;
