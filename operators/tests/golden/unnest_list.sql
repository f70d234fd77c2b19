SELECT user_id, unnest(tags) AS tag FROM input
---
kind: window
reads: user_id, tags
column: user_id Int64 not null
column: tag Utf8
+---------+-----+
| user_id | tag |
+---------+-----+
| 1       | a   |
| 1       | b   |
| 2       | b   |
| 2       | c   |
| 2       | a   |
| 2       | b   |
| 4       | a   |
| 5       |     |
| 5       | z   |
| 1       | a   |
| 1       | a   |
| 6       | b   |
+---------+-----+
