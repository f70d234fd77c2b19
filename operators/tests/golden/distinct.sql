SELECT DISTINCT country FROM input ORDER BY country
---
kind: window
reads: country
column: country Utf8
+---------+
| country |
+---------+
| at      |
| de      |
| fr      |
|         |
+---------+
