SELECT user_id, price * quantity AS amount, price * quantity * 0.19 AS tax,
       CASE WHEN price * quantity > 50 THEN 'big' ELSE 'small' END AS size
FROM input WHERE price * quantity IS NOT NULL
