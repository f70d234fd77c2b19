SELECT user_id FROM input WHERE 1 = 2
