WITH u AS (SELECT user_id, count(*) AS n FROM input GROUP BY user_id)
SELECT a.user_id, a.n, b.m FROM u AS a CROSS JOIN (SELECT max(n) AS m FROM u) AS b ORDER BY a.user_id
