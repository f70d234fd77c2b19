SELECT user_id, price FROM input ORDER BY price DESC NULLS LAST, user_id
---
kind: window
reads: user_id, price
column: user_id Int64 not null
column: price Float64
+---------+-------+
| user_id | price |
+---------+-------+
| 1       | 100.0 |
| 2       | 20.0  |
| 2       | 20.0  |
| 1       | 9.5   |
| 1       | 5.25  |
| 6       | 3.0   |
| 5       | 1.0   |
| 4       | 0.0   |
| 3       |       |
+---------+-------+
