SELECT upper("userName") AS name, substr(country, 1, 1) AS c, country || '-' || type AS both, length(userName) AS n FROM input
