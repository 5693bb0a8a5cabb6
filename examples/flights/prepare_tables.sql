-- What the other tasks need and what may be there already, because every month asks for it.
CREATE SCHEMA IF NOT EXISTS flights;

CREATE TABLE IF NOT EXISTS flights.monthly_delays (
  month STRING,
  flights INT64,
  cancelled INT64,
  late INT64,
  mean_delay FLOAT64,
  wind_when_late FLOAT64,
  wind_when_punctual FLOAT64,
  visibility_when_late FLOAT64,
  visibility_when_punctual FLOAT64
);
