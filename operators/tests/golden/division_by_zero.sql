SELECT user_id, 100 / quantity AS share FROM input
