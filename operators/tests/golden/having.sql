SELECT user_id, count(*) AS n FROM input GROUP BY user_id HAVING count(*) > 1 ORDER BY n DESC, user_id
---
kind: window
reads: user_id
column: user_id Int64 not null
column: n Int64 not null
+---------+---+
| user_id | n |
+---------+---+
| 1       | 3 |
| 2       | 2 |
+---------+---+
