"""What the service remembers: tables, legal moves and every SQL statement; it knows neither HTTP nor Pub/Sub."""
