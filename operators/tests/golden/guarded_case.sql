SELECT user_id, CASE WHEN quantity <> 0 THEN 100 / quantity ELSE 0 END AS share FROM input
---
kind: rows
reads: user_id, quantity
column: user_id Int64 not null
column: share Int64
+---------+-------+
| user_id | share |
+---------+-------+
| 1       | 100   |
| 2       | 33    |
| 1       | 50    |
| 3       | 0     |
| 2       | -100  |
| 4       | 0     |
| 5       | 14    |
| 1       | 10    |
| 6       | 20    |
+---------+-------+
