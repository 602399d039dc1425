INSERT INTO raw_job (payload) VALUES ('{"prompt":"a lighthouse"}');
