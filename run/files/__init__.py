"""What a child process does with a file of rows: read it, check it against its contract, write it as Parquet."""
