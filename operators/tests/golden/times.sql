SELECT date_trunc('minute', ts) AS minute, ts + INTERVAL '1 day' AS tomorrow, extract(second FROM ts) AS s FROM input WHERE ts > TIMESTAMP '2023-11-14T22:13:22Z'
---
kind: rows
reads: ts
column: minute Timestamp(ms, "+00:00")
column: tomorrow Timestamp(ms, "+00:00")
column: s Int32
+----------------------+----------------------+----+
| minute               | tomorrow             | s  |
+----------------------+----------------------+----+
| 2023-11-14T22:13:00Z | 2023-11-15T22:13:23Z | 23 |
| 2023-11-14T22:13:00Z | 2023-11-15T22:13:24Z | 24 |
| 2023-11-14T22:14:00Z | 2023-11-15T22:14:25Z | 25 |
| 2023-11-14T22:14:00Z | 2023-11-15T22:14:26Z | 26 |
| 2023-11-14T22:14:00Z | 2023-11-15T22:14:27Z | 27 |
| 2023-11-14T22:14:00Z | 2023-11-15T22:14:28Z | 28 |
+----------------------+----------------------+----+
