WITH u AS (SELECT user_id, count(*) AS n FROM input GROUP BY user_id)
SELECT a.user_id, a.n, b.m FROM u AS a CROSS JOIN (SELECT max(n) AS m FROM u) AS b ORDER BY a.user_id
---
kind: window
reads: user_id
column: user_id Int64 not null
column: n Int64 not null
column: m Int64
+---------+---+---+
| user_id | n | m |
+---------+---+---+
| 1       | 3 | 3 |
| 2       | 2 | 3 |
| 3       | 1 | 3 |
| 4       | 1 | 3 |
| 5       | 1 | 3 |
| 6       | 1 | 3 |
+---------+---+---+
