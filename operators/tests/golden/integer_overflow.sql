SELECT user_id, big + 1 AS next FROM input
