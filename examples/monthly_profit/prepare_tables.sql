-- What the other tasks need and what may be there already, because every month asks for it.
CREATE SCHEMA IF NOT EXISTS finance;

CREATE TABLE IF NOT EXISTS finance.monthly_profit (
  period STRING,
  sales NUMERIC,
  expenses NUMERIC,
  profit NUMERIC
);
