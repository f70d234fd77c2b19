SELECT user_id, count(*) AS n FROM input GROUP BY user_id HAVING count(*) > 1 ORDER BY n DESC, user_id
