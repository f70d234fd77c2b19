SELECT user_id, 100 / quantity AS share FROM input
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
| 2       | -100  |
| 5       | 14    |
| 1       | 10    |
| 6       | 20    |
+---------+-------+
error: divide by zero error
error: divide by zero error
