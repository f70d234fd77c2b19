WITH bought AS (SELECT user_id, price, quantity FROM input WHERE type = 'purchase')
SELECT user_id AS id, total FROM (SELECT user_id, price * quantity AS total FROM bought) AS t WHERE total > 10
