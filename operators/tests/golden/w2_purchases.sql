SELECT user_id, ts, price * quantity AS amount FROM input WHERE type = 'purchase'
---
kind: rows
reads: user_id, type, price, quantity, ts
column: user_id Int64 not null
column: ts Timestamp(ms, "+00:00")
column: amount Float64
+---------+----------------------+--------+
| user_id | ts                   | amount |
+---------+----------------------+--------+
| 2       | 2023-11-14T22:13:21Z | 60.0   |
| 1       | 2023-11-14T22:13:22Z | 10.5   |
| 4       | 2023-11-14T22:14:25Z | 0.0    |
| 1       | 2023-11-14T22:14:27Z | 1000.0 |
+---------+----------------------+--------+
