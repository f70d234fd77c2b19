SELECT user_id, price FROM input ORDER BY price DESC NULLS LAST, user_id
