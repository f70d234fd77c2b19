SELECT user_id, price * quantity AS amount, price * quantity * 0.19 AS tax,
       CASE WHEN price * quantity > 50 THEN 'big' ELSE 'small' END AS size
FROM input WHERE price * quantity IS NOT NULL
---
kind: rows
reads: user_id, price, quantity
column: user_id Int64 not null
column: amount Float64
column: tax Float64
column: size Utf8 not null
+---------+--------+-------+-------+
| user_id | amount | tax   | size  |
+---------+--------+-------+-------+
| 1       | 9.5    | 1.805 | small |
| 2       | 60.0   | 11.4  | big   |
| 1       | 10.5   | 1.995 | small |
| 2       | -20.0  | -3.8  | small |
| 4       | 0.0    | 0.0   | small |
| 5       | 7.0    | 1.33  | small |
| 1       | 1000.0 | 190.0 | big   |
| 6       | 15.0   | 2.85  | small |
+---------+--------+-------+-------+
