-- One row for each month: how late its flights left, and the weather at that hour at their airport.
-- A flight is late when it leaves 15 minutes or more behind its schedule; one without a delay was cancelled.
-- MERGE writes this month's row and no other, so the months may run at once and each of them again.
MERGE flights.monthly_delays AS report
USING (
  SELECT
    @batch_id AS month,
    COUNT(*) AS flights,
    COUNTIF(f.dep_delay IS NULL) AS cancelled,
    COUNTIF(f.dep_delay >= 15) AS late,
    AVG(f.dep_delay) AS mean_delay,
    AVG(IF(f.dep_delay >= 15, w.wind_speed, NULL)) AS wind_when_late,
    AVG(IF(f.dep_delay < 15, w.wind_speed, NULL)) AS wind_when_punctual,
    AVG(IF(f.dep_delay >= 15, w.visib, NULL)) AS visibility_when_late,
    AVG(IF(f.dep_delay < 15, w.visib, NULL)) AS visibility_when_punctual
  FROM flights.departures AS f
  LEFT JOIN flights.weather AS w
    ON w.batch_id = f.batch_id AND w.origin = f.origin AND w.time_hour = f.time_hour
  WHERE f.batch_id = @batch_id
) AS found
ON report.month = found.month
WHEN MATCHED THEN UPDATE SET
  flights = found.flights,
  cancelled = found.cancelled,
  late = found.late,
  mean_delay = found.mean_delay,
  wind_when_late = found.wind_when_late,
  wind_when_punctual = found.wind_when_punctual,
  visibility_when_late = found.visibility_when_late,
  visibility_when_punctual = found.visibility_when_punctual
WHEN NOT MATCHED THEN INSERT (
  month, flights, cancelled, late, mean_delay,
  wind_when_late, wind_when_punctual, visibility_when_late, visibility_when_punctual
) VALUES (
  found.month, found.flights, found.cancelled, found.late, found.mean_delay,
  found.wind_when_late, found.wind_when_punctual, found.visibility_when_late, found.visibility_when_punctual
);
