SELECT * EXCEPT (tags, address, ts) FROM input WHERE quantity >= 5
