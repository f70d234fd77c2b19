SELECT date_trunc('minute', ts) AS minute, ts + INTERVAL '1 day' AS tomorrow, extract(second FROM ts) AS s FROM input WHERE ts > TIMESTAMP '2023-11-14T22:13:22Z'
