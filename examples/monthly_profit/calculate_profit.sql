-- MERGE writes this month's row and no other, so the months may be calculated at once and each of them again.
MERGE finance.monthly_profit AS report
USING (
  SELECT sums.period, sums.sales, sums.expenses, sums.sales - sums.expenses AS profit
  FROM (
    SELECT
      @batch_id AS period,
      COALESCE((SELECT SUM(amount) FROM finance.monthly_sales WHERE batch_id = @batch_id), 0) AS sales,
      COALESCE((SELECT SUM(amount) FROM finance.monthly_expenses WHERE batch_id = @batch_id), 0) AS expenses
  ) AS sums
) AS found
ON report.period = found.period
WHEN MATCHED THEN UPDATE SET
  sales = found.sales,
  expenses = found.expenses,
  profit = found.profit
WHEN NOT MATCHED THEN INSERT (period, sales, expenses, profit)
  VALUES (found.period, found.sales, found.expenses, found.profit);
