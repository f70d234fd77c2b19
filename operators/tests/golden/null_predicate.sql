SELECT user_id FROM input WHERE type <> 'view'
