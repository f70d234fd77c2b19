SELECT user_id FROM input WHERE 1 = 2
---
kind: window
reads: user_id, type, price, quantity, ts, country, tags, address, userName, big
column: user_id Int64 not null
+---------+
| user_id |
+---------+
+---------+
