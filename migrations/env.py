"""How Alembic reaches the database: one upgrade at a time, in one transaction, never waiting long for a lock."""

from __future__ import annotations

import time

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from database.models import Row

#: Any number that no other program takes an advisory lock on in this database.
MIGRATION_LOCK = 5_218_447_301

url = make_url(context.config.get_main_option("sqlalchemy.url", "")).set(drivername="postgresql+psycopg2")
engine = create_engine(url)
with engine.connect() as connection:
    # The lock comes first: two instances that start at once upgrade one after the other. It belongs to the session,
    # because an upgrade has several transactions. It is asked for again and again instead of being waited for: an index
    # that is built CONCURRENTLY waits for everybody who is in a statement, and so for whoever waits here.
    while not connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK}).scalar_one():
        connection.rollback()
        time.sleep(0.2)
    connection.execute(text("SET lock_timeout = '10s'"))
    connection.execute(text("SET statement_timeout = '10min'"))
    connection.commit()
    try:
        context.configure(connection=connection, target_metadata=Row.metadata, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
        connection.commit()
engine.dispose()
