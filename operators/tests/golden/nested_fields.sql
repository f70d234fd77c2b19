SELECT user_id, address['city'] AS city, tags[1] AS first, cardinality(tags) AS n FROM input
