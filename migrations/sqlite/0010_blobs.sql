-- Whether anything names a blob.
CREATE INDEX output_by_blob ON output (blob);
