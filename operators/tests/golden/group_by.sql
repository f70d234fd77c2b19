SELECT country, count(*) AS n, sum(price * quantity) AS amount, max(ts) AS last FROM input GROUP BY country ORDER BY country
---
kind: window
reads: price, quantity, ts, country
column: country Utf8
column: n Int64 not null
column: amount Float64
column: last Timestamp(ms, "+00:00")
+---------+---+--------+----------------------+
| country | n | amount | last                 |
+---------+---+--------+----------------------+
| at      | 2 | 15.0   | 2023-11-14T22:14:28Z |
| de      | 4 | 1020.0 | 2023-11-14T22:14:27Z |
| fr      | 2 | 40.0   | 2023-11-14T22:13:24Z |
|         | 1 | 7.0    | 2023-11-14T22:14:26Z |
+---------+---+--------+----------------------+
