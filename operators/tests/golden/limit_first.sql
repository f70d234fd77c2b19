SELECT user_id FROM input LIMIT 2
