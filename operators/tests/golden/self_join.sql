SELECT a.user_id, a.type AS first, b.type AS then FROM input AS a JOIN input AS b ON a.user_id = b.user_id AND a.ts < b.ts ORDER BY a.ts, b.ts
