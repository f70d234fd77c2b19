SELECT * FROM input
---
kind: rows
reads: user_id, type, price, quantity, ts, country, tags, address, userName, big
column: user_id Int64 not null
column: type Utf8
column: price Float64
column: quantity Int64
column: ts Timestamp(ms, "+00:00")
column: country Utf8
column: tags List(Utf8)
column: address Struct("city": Utf8)
column: userName Utf8
column: big Int64
+---------+----------+-------+----------+----------------------+---------+-----------+--------------+----------+---------------------+
| user_id | type     | price | quantity | ts                   | country | tags      | address      | userName | big                 |
+---------+----------+-------+----------+----------------------+---------+-----------+--------------+----------+---------------------+
| 1       | view     | 9.5   | 1        | 2023-11-14T22:13:20Z | de      | [a, b]    | {city: Ulm}  | ann      | 1                   |
| 2       | purchase | 20.0  | 3        | 2023-11-14T22:13:21Z | fr      | [b]       | {city: Lyon} | bob      | 2                   |
| 1       | purchase | 5.25  | 2        | 2023-11-14T22:13:22Z | de      | []        | {city: Ulm}  | ann      | 3                   |
| 3       | view     |       | 0        | 2023-11-14T22:13:23Z | at      |           |              |          | 4                   |
| 2       | refund   | 20.0  | -1       | 2023-11-14T22:13:24Z | fr      | [c, a, b] | {city: }     | bob      | 5                   |
| 4       | purchase | 0.0   | 0        | 2023-11-14T22:14:25Z | de      | [a]       | {city: Köln} | dörte    | 6                   |
| 5       |          | 1.0   | 7        | 2023-11-14T22:14:26Z |         | [, z]     | {city: Wien} | eve      | 9223372036854775807 |
| 1       | purchase | 100.0 | 10       | 2023-11-14T22:14:27Z | de      | [a, a]    | {city: Ulm}  | ann      | 8                   |
| 6       | view     | 3.0   | 5        | 2023-11-14T22:14:28Z | at      | [b]       | {city: Graz} | fay      | 9                   |
+---------+----------+-------+----------+----------------------+---------+-----------+--------------+----------+---------------------+
