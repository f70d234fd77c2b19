SELECT DISTINCT country FROM input ORDER BY country
