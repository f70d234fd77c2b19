SELECT user_id, price FROM input WHERE user_id IN (SELECT user_id FROM input WHERE type = 'refund') ORDER BY ts
