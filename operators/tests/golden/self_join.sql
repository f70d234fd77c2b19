SELECT a.user_id, a.type AS first, b.type AS then FROM input AS a JOIN input AS b ON a.user_id = b.user_id AND a.ts < b.ts ORDER BY a.ts, b.ts
---
kind: window
reads: user_id, type, ts
column: user_id Int64 not null
column: first Utf8
column: then Utf8
+---------+----------+----------+
| user_id | first    | then     |
+---------+----------+----------+
| 1       | view     | purchase |
| 1       | view     | purchase |
| 2       | purchase | refund   |
| 1       | purchase | purchase |
+---------+----------+----------+
