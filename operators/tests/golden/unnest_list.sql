SELECT user_id, unnest(tags) AS tag FROM input
