SELECT upper("userName") AS name, substr(country, 1, 1) AS c, country || '-' || type AS both, length(userName) AS n FROM input
---
kind: rows
reads: type, country, userName
column: name Utf8
column: c Utf8
column: both Utf8
column: n Int32
+-------+---+-------------+---+
| name  | c | both        | n |
+-------+---+-------------+---+
| ANN   | d | de-view     | 3 |
| BOB   | f | fr-purchase | 3 |
| ANN   | d | de-purchase | 3 |
|       | a | at-view     |   |
| BOB   | f | fr-refund   | 3 |
| DÖRTE | d | de-purchase | 5 |
| EVE   |   |             | 3 |
| ANN   | d | de-purchase | 3 |
| FAY   | a | at-view     | 3 |
+-------+---+-------------+---+
