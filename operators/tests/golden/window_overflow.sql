SELECT country, sum(big * 2) AS s FROM input GROUP BY country ORDER BY country
---
kind: window
reads: country, big
column: country Utf8
column: s Int64
+---------+---+
| country | s |
+---------+---+
+---------+---+
error: arithmetic overflow: Overflow happened on: 9223372036854775807 * 2
