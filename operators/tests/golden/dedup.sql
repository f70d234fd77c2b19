SELECT user_id, price FROM (
  SELECT user_id, price, row_number() OVER (PARTITION BY user_id ORDER BY ts DESC) AS r FROM input
) AS latest WHERE r = 1 ORDER BY user_id
