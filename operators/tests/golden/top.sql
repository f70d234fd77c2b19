SELECT user_id, price FROM input ORDER BY price DESC NULLS LAST, ts LIMIT 3
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
| 2       | 20.0  |
+---------+-------+
