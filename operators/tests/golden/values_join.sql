SELECT i.user_id, c.name FROM input AS i JOIN (VALUES ('de', 'Germany'), ('fr', 'France')) AS c(code, name) ON i.country = c.code ORDER BY i.ts
