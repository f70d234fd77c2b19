SELECT * EXCEPT (tags, address, ts) FROM input WHERE quantity >= 5
---
kind: rows
reads: user_id, type, price, quantity, ts, country, tags, address, userName, big
column: user_id Int64 not null
column: type Utf8
column: price Float64
column: quantity Int64
column: country Utf8
column: userName Utf8
column: big Int64
+---------+----------+-------+----------+---------+----------+---------------------+
| user_id | type     | price | quantity | country | userName | big                 |
+---------+----------+-------+----------+---------+----------+---------------------+
| 5       |          | 1.0   | 7        |         | eve      | 9223372036854775807 |
| 1       | purchase | 100.0 | 10       | de      | ann      | 8                   |
| 6       | view     | 3.0   | 5        | at      | fay      | 9                   |
+---------+----------+-------+----------+---------+----------+---------------------+
