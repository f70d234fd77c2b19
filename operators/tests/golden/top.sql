SELECT user_id, price FROM input ORDER BY price DESC NULLS LAST, ts LIMIT 3
