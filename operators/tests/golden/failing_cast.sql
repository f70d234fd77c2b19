SELECT user_id, CAST(country AS INT) AS n, TRY_CAST(country AS INT) AS m FROM input WHERE user_id > 3
