SELECT user_id, price FROM input WHERE user_id IN (SELECT user_id FROM input WHERE type = 'refund') ORDER BY ts
---
kind: window
reads: user_id, type, price, ts
column: user_id Int64 not null
column: price Float64
+---------+-------+
| user_id | price |
+---------+-------+
| 2       | 20.0  |
| 2       | 20.0  |
+---------+-------+
