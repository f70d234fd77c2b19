SELECT price * 2, upper(type), user_id, 1 FROM input LIMIT 2
