SELECT country, count(*) AS n, sum(price * quantity) AS amount, max(ts) AS last FROM input GROUP BY country ORDER BY country
