# syntax=docker/dockerfile:1
# The first stage builds, the second one runs. The root file system can be read-only if /tmp and
# /home/shopkeeper/.bookstore (emails without SMTP_URL, a key created in development) are writable.
# `docker buildx build --sbom=true --provenance=true` adds a bill of materials; `just sbom` writes one without Docker.
ARG PYTHON=3.13-slim-trixie

FROM python:${PYTHON} AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/bookstore
WORKDIR /build
RUN pip install --no-cache-dir uv==0.13.9
COPY pyproject.toml README.md LICENSE ./
RUN uv sync --no-dev --no-install-project --no-cache
COPY graph graph
COPY domain domain
COPY persistence persistence
COPY migrations migrations
COPY server server
RUN uv sync --no-dev --no-editable --no-cache

FROM python:${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Bookstore" \
      org.opencontainers.image.description="A GraphQL bookshop server" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie"
RUN useradd --uid 10001 --user-group --create-home shopkeeper \
    && install --directory --owner=shopkeeper --group=shopkeeper --mode=0700 /home/shopkeeper/.bookstore
COPY --from=build /opt/bookstore /opt/bookstore
ENV PATH=/opt/bookstore/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0
USER 10001:10001
WORKDIR /home/shopkeeper
VOLUME ["/home/shopkeeper/.bookstore"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT', '8000')}/health\", timeout=2)"]
CMD ["bookstore", "serve"]
