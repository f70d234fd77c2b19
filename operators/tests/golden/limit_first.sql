SELECT user_id FROM input LIMIT 2
---
kind: window
reads: user_id
column: user_id Int64 not null
+---------+
| user_id |
+---------+
| 1       |
| 2       |
+---------+
