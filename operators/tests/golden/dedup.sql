SELECT user_id, price FROM (
  SELECT user_id, price, row_number() OVER (PARTITION BY user_id ORDER BY ts DESC) AS r FROM input
) AS latest WHERE r = 1 ORDER BY user_id
---
kind: window
reads: user_id, price, ts
column: user_id Int64 not null
column: price Float64
+---------+-------+
| user_id | price |
+---------+-------+
| 1       | 100.0 |
| 2       | 20.0  |
| 3       |       |
| 4       | 0.0   |
| 5       | 1.0   |
| 6       | 3.0   |
+---------+-------+
