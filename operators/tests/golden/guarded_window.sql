SELECT country, count(*) AS n FROM input WHERE quantity <> 0 AND 100 / quantity > 10 GROUP BY country ORDER BY country
---
kind: window
reads: quantity, country
column: country Utf8
column: n Int64 not null
+---------+---+
| country | n |
+---------+---+
| at      | 1 |
| de      | 2 |
| fr      | 1 |
|         | 1 |
+---------+---+
