# One image for the API, the workers and the migration: the command decides (docs/operations.md).
# Non-root, and nothing is written outside DATA_DIR and /tmp, so that the root file system can be read-only.
FROM python:3.12-slim AS build
WORKDIR /srv
COPY requirements.lock requirements-build.lock pyproject.toml README.md ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock -r requirements-build.lock
COPY app app
COPY workers workers
COPY alembic alembic
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e .

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /srv --shell /usr/sbin/nologin promidata
WORKDIR /srv
COPY --from=build /venv /venv
COPY --from=build /srv /srv
COPY alembic alembic
COPY alembic.ini .
RUN mkdir /data && chown promidata /data
VOLUME /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000 DATA_DIR=/data
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=2)"]
CMD ["promidata-sync", "api"]
