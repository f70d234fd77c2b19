SELECT user_id FROM input WHERE country = 'de' AND type IS NOT NULL AND TRUE AND (10 / quantity > 4 OR price > 50)
---
kind: rows
reads: user_id, type, price, quantity, country
column: user_id Int64 not null
+---------+
| user_id |
+---------+
| 1       |
| 1       |
| 1       |
+---------+
error: divide by zero error
