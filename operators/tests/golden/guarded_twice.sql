SELECT user_id, 100 / quantity AS share FROM input WHERE quantity <> 0 AND 100 / quantity > 10 AND 100 / quantity < 60
---
kind: rows
reads: user_id, quantity
column: user_id Int64 not null
column: share Int64
+---------+-------+
| user_id | share |
+---------+-------+
| 2       | 33    |
| 1       | 50    |
| 5       | 14    |
| 6       | 20    |
+---------+-------+
