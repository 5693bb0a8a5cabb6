# The service, and the job that migrates its database: one image, two commands.

FROM python:3.11-slim-bookworm AS build
RUN python -m venv /venv
COPY requirements.txt constraints.txt /build/
# Wheels only: the image has no compiler, and a source distribution would run code of its own here.
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: -r /build/requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin accelerator
COPY --from=build /venv /venv
WORKDIR /app
COPY run/ run/
COPY database/ database/
COPY migrations/ migrations/
# The user below may not write here, so what Python would compile at every start is compiled now.
RUN /venv/bin/python -m compileall -q run database migrations
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PORT=8080 THREADS=8
USER accelerator

# One worker, because Cloud Run adds instances. No timeout, because Pub/Sub's ack deadline is the limit of a request.
# Cloud Run kills 10 s after its SIGTERM, so requests get 8 s to end in; exec lets that signal reach gunicorn.
CMD ["sh", "-c", "exec gunicorn --bind 0.0.0.0:$PORT --workers 1 --worker-class gthread --threads $THREADS --timeout 0 --graceful-timeout 8 --no-control-socket run.main:app"]
