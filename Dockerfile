# One image for the API, the workers, the migration and every other command: the command decides (docs/operations.md).
# It runs as a user without rights and writes only to /data and /tmp, so the root file system can be read-only.
# Pinned by digest where it is built: docs/operations.md, "What is installed, and whether it is safe".
ARG PYTHON=python:3.13-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock
RUN python -m venv /builder \
    && /builder/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md alembic.ini ./
COPY alembic alembic
COPY app app
COPY workers workers
RUN /builder/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /venv/bin/pip install --no-cache-dir --no-deps /wheels/*.whl

FROM ${PYTHON}
COPY --from=build /venv /venv
RUN mkdir /srv/promidata /data && chown 10001:10001 /data
WORKDIR /srv/promidata
VOLUME /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    HOST=0.0.0.0 PORT=8000 DATA_DIR=/data WORKER_PROBE_FILE=/tmp/worker.probe
USER 10001:10001
EXPOSE 8000
# Asks a worker for its pulse, the API for /healthz, and nothing of a command that ends by itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["promidata-health"]
CMD ["promidata-sync", "api"]
