SELECT user_id, ts, price * quantity AS amount FROM input WHERE type = 'purchase'
