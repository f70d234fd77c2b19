WITH bought AS (SELECT user_id, price, quantity FROM input WHERE type = 'purchase')
SELECT user_id AS id, total FROM (SELECT user_id, price * quantity AS total FROM bought) AS t WHERE total > 10
---
kind: rows
reads: user_id, type, price, quantity
column: id Int64 not null
column: total Float64
+----+--------+
| id | total  |
+----+--------+
| 2  | 60.0   |
| 1  | 10.5   |
| 1  | 1000.0 |
+----+--------+
