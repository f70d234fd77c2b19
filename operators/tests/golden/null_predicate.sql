SELECT user_id FROM input WHERE type <> 'view'
---
kind: rows
reads: user_id, type
column: user_id Int64 not null
+---------+
| user_id |
+---------+
| 2       |
| 1       |
| 2       |
| 4       |
| 1       |
+---------+
