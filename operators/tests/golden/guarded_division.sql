SELECT user_id, 100 / quantity AS share FROM input WHERE quantity <> 0 AND 100 / quantity > 10
