# The API: no torch, no compiler. docker build -f docker/api.Dockerfile .
# Another package index: --build-arg PIP_EXTRA_INDEX_URL=https://… (also PIP_INDEX_URL, PIP_TRUSTED_HOST)
FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends binutils >/dev/null
WORKDIR /src
# What is installed changes less often than our own code: the first layer is found again by most builds.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir api worker cpt_core cpt_client migrations recipes && python -m venv --without-pip /opt/cpt \
 && pip --python /opt/cpt/bin/python install --no-cache-dir --no-compile -c constraints.txt '.[api,otel,s3]'
COPY docker/trim.py docker/
COPY migrations migrations
COPY cpt_core cpt_core
COPY cpt_client cpt_client
COPY recipes recipes
COPY api api
RUN pip --python /opt/cpt/bin/python install --no-cache-dir --no-compile --no-deps --force-reinstall . \
 && python docker/trim.py /opt/cpt/lib/python3.11/site-packages

FROM python:3.11-slim-bookworm
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="cpt-service-api" \
      org.opencontainers.image.description="CPT Service: the HTTP API" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --home-dir /var/lib/cpt cpt && install -d -o cpt -g cpt /var/lib/cpt /var/lib/cpt/storage
COPY --from=build /opt/cpt /opt/cpt
ENV PATH=/opt/cpt/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    CPT_HOST=0.0.0.0 CPT_PORT=8000 CPT_STORAGE_URL=/var/lib/cpt/storage
WORKDIR /var/lib/cpt
USER cpt
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "api"]
