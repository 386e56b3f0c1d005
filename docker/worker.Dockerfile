# A worker with the training core. docker build -f docker/worker.Dockerfile .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/cpt
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY worker worker
COPY cpt_core cpt_core
COPY cpt_client cpt_client
COPY migrations migrations
RUN /opt/cpt/bin/pip install --no-cache-dir -c constraints.txt '.[worker,otel,s3]'

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="cpt-service-worker" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 cpt && install -d -o cpt -g cpt /var/lib/cpt/storage /var/lib/cpt/data /var/lib/cpt/state
COPY --from=build /opt/cpt /opt/cpt
ENV PATH=/opt/cpt/bin:$PATH PYTHONUNBUFFERED=1 \
    CPT_STORAGE_URL=/var/lib/cpt/storage CPT_DATA_ROOT=/var/lib/cpt/data CPT_STATE_DIR=/var/lib/cpt/state
USER cpt
CMD ["python", "-m", "worker"]
