SELECT user_id AS id, 'user' AS kind FROM input WHERE user_id < 2 UNION ALL SELECT quantity, 'quantity' FROM input WHERE quantity > 5
---
kind: window
reads: user_id, quantity
column: id Int64
column: kind Utf8 not null
+----+----------+
| id | kind     |
+----+----------+
| 1  | user     |
| 1  | user     |
| 1  | user     |
| 7  | quantity |
| 10 | quantity |
+----+----------+
