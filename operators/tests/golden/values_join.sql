SELECT i.user_id, c.name FROM input AS i JOIN (VALUES ('de', 'Germany'), ('fr', 'France')) AS c(code, name) ON i.country = c.code ORDER BY i.ts
---
kind: window
reads: user_id, ts, country
column: user_id Int64 not null
column: name Utf8 not null
+---------+---------+
| user_id | name    |
+---------+---------+
| 1       | Germany |
| 2       | France  |
| 1       | Germany |
| 2       | France  |
| 4       | Germany |
| 1       | Germany |
+---------+---------+
