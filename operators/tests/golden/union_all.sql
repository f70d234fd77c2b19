SELECT user_id AS id, 'user' AS kind FROM input WHERE user_id < 2 UNION ALL SELECT quantity, 'quantity' FROM input WHERE quantity > 5
