SELECT user_id, CAST(country AS INT) AS n, TRY_CAST(country AS INT) AS m FROM input WHERE user_id > 3
---
kind: rows
reads: user_id, country
column: user_id Int64 not null
column: n Int32
column: m Int32
+---------+---+---+
| user_id | n | m |
+---------+---+---+
| 5       |   |   |
+---------+---+---+
error: cast error: Cannot cast string 'de' to value of Int32 type
error: cast error: Cannot cast string 'at' to value of Int32 type
