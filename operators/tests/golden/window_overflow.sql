SELECT country, sum(big * 2) AS s FROM input GROUP BY country ORDER BY country
