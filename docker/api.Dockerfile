# The API: no torch, no compiler. docker build -f docker/api.Dockerfile .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/cpt
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY api api
COPY worker worker
COPY cpt_core cpt_core
COPY cpt_client cpt_client
COPY migrations migrations
COPY recipes recipes
RUN /opt/cpt/bin/pip install --no-cache-dir -c constraints.txt '.[api,otel,s3]'

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="cpt-service-api" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 cpt && install -d -o cpt -g cpt /var/lib/cpt/storage
COPY --from=build /opt/cpt /opt/cpt
ENV PATH=/opt/cpt/bin:$PATH PYTHONUNBUFFERED=1 CPT_HOST=0.0.0.0 CPT_PORT=8000 CPT_STORAGE_URL=/var/lib/cpt/storage
USER cpt
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "api"]
