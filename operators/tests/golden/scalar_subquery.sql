SELECT user_id, price FROM input WHERE price > (SELECT avg(price) FROM input) ORDER BY price
