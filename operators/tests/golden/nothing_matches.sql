SELECT user_id, price FROM input WHERE price > 1000
