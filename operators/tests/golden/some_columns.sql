SELECT ts, user_id FROM input
