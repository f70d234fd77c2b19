SELECT user_id, ts, row_number() OVER (PARTITION BY user_id ORDER BY ts) AS nth FROM input ORDER BY user_id, ts
---
kind: window
reads: user_id, ts
column: user_id Int64 not null
column: ts Timestamp(ms, "+00:00")
column: nth UInt64 not null
+---------+----------------------+-----+
| user_id | ts                   | nth |
+---------+----------------------+-----+
| 1       | 2023-11-14T22:13:20Z | 1   |
| 1       | 2023-11-14T22:13:22Z | 2   |
| 1       | 2023-11-14T22:14:27Z | 3   |
| 2       | 2023-11-14T22:13:21Z | 1   |
| 2       | 2023-11-14T22:13:24Z | 2   |
| 3       | 2023-11-14T22:13:23Z | 1   |
| 4       | 2023-11-14T22:14:25Z | 1   |
| 5       | 2023-11-14T22:14:26Z | 1   |
| 6       | 2023-11-14T22:14:28Z | 1   |
+---------+----------------------+-----+
