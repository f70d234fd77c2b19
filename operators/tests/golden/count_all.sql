SELECT count(*) FROM input
---
kind: window
reads: 
column: count(*) Int64 not null
+----------+
| count(*) |
+----------+
| 9        |
+----------+
