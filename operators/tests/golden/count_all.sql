SELECT count(*) FROM input
