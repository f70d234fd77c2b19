SELECT user_id, price FROM input WHERE price > 1000
---
kind: rows
reads: user_id, price
column: user_id Int64 not null
column: price Float64
+---------+-------+
| user_id | price |
+---------+-------+
+---------+-------+
