SELECT price * 2, upper(type), user_id, 1 FROM input LIMIT 2
---
kind: window
reads: user_id, type, price
column: price * 2 Float64
column: upper(type) Utf8
column: user_id Int64 not null
column: 1 Int64 not null
+-----------+-------------+---------+---+
| price * 2 | upper(type) | user_id | 1 |
+-----------+-------------+---------+---+
| 19.0      | VIEW        | 1       | 1 |
| 40.0      | PURCHASE    | 2       | 1 |
+-----------+-------------+---------+---+
