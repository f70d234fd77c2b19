SELECT user_id, address['city'] AS city, tags[1] AS first, cardinality(tags) AS n FROM input
---
kind: rows
reads: user_id, tags, address
column: user_id Int64 not null
column: city Utf8
column: first Utf8
column: n UInt64
+---------+------+-------+---+
| user_id | city | first | n |
+---------+------+-------+---+
| 1       | Ulm  | a     | 2 |
| 2       | Lyon | b     | 1 |
| 1       | Ulm  |       | 0 |
| 3       |      |       |   |
| 2       |      | c     | 3 |
| 4       | Köln | a     | 1 |
| 5       | Wien |       | 2 |
| 1       | Ulm  | a     | 2 |
| 6       | Graz | b     | 1 |
+---------+------+-------+---+
