# A worker with the training core. docker build -f docker/worker.Dockerfile .
# PyPI's torch carries CUDA (some 6 GB). For a CPU alone, a quarter of that:
#   --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
# Triton compiles a small C file when a GPU is first used: --build-arg RUNTIME_PACKAGES="gcc libc6-dev", as
# docker-compose.gpu.yml has it; otherwise no build tools are in the image.
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends g++ >/dev/null
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir api worker cpt_core cpt_client migrations && python -m venv --without-pip /opt/cpt \
 && pip --python /opt/cpt/bin/python install --no-cache-dir -c constraints.txt '.[worker,otel,s3]'
COPY migrations migrations
COPY cpt_client cpt_client
COPY cpt_core cpt_core
COPY worker worker
# Into a folder of its own: the large layer below stays the same when our code changes.
RUN pip --python /opt/cpt/bin/python install --no-cache-dir --no-deps --target /opt/own . \
 && test -f /opt/own/cpt_core/quant/_native*.so

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
ARG RUNTIME_PACKAGES
LABEL org.opencontainers.image.title="cpt-service-worker" \
      org.opencontainers.image.description="CPT Service: a worker that trains" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --home-dir /var/lib/cpt/state cpt \
 && install -d -o cpt -g cpt /var/lib/cpt /var/lib/cpt/storage /var/lib/cpt/data /var/lib/cpt/state \
 && if [ -n "$RUNTIME_PACKAGES" ]; then \
      apt-get update -qq && apt-get install -qq -y --no-install-recommends $RUNTIME_PACKAGES >/dev/null \
      && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/cpt /opt/cpt
COPY --from=build /opt/own /opt/own
ENV PATH=/opt/cpt/bin:$PATH PYTHONPATH=/opt/own PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CPT_STORAGE_URL=/var/lib/cpt/storage CPT_DATA_ROOT=/var/lib/cpt/data CPT_STATE_DIR=/var/lib/cpt/state \
    CPT_METRICS_HOST=0.0.0.0 CPT_METRICS_PORT=9100
WORKDIR /var/lib/cpt/state
USER cpt
EXPOSE 9100
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/metrics', timeout=2)"]
CMD ["python", "-m", "worker"]
