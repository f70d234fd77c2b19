SELECT user_id, big + 1 AS next FROM input
---
kind: rows
reads: user_id, big
column: user_id Int64 not null
column: next Int64
+---------+------+
| user_id | next |
+---------+------+
| 1       | 2    |
| 2       | 3    |
| 1       | 4    |
| 3       | 5    |
| 2       | 6    |
| 4       | 7    |
| 1       | 9    |
| 6       | 10   |
+---------+------+
error: arithmetic overflow: Overflow happened on: 9223372036854775807 + 1
