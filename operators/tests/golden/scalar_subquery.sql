SELECT user_id, price FROM input WHERE price > (SELECT avg(price) FROM input) ORDER BY price
---
kind: window
reads: user_id, price
column: user_id Int64 not null
column: price Float64
+---------+-------+
| user_id | price |
+---------+-------+
| 2       | 20.0  |
| 2       | 20.0  |
| 1       | 100.0 |
+---------+-------+
