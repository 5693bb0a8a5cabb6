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
# What FUNCTION_MODULES=functions lets workflows call.
COPY functions/ functions/
# The user below may not write here, so what Python would compile at every start is compiled now.
RUN /venv/bin/python -m compileall -q run database migrations functions
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PORT=8080
USER accelerator

# run/serving.py says how many workers and threads, and how a request and the service end.
CMD ["gunicorn", "--config=python:run.serving"]
