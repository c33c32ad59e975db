FROM python:3.13-slim AS build
ENV UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/bookstore
WORKDIR /build
RUN pip install --no-cache-dir "uv>=0.9"
COPY pyproject.toml README.md LICENSE ./
RUN uv sync --no-dev --no-install-project
COPY graph graph
COPY domain domain
COPY persistence persistence
COPY migrations migrations
COPY server server
RUN uv sync --no-dev --no-editable

FROM python:3.13-slim
RUN useradd --system --create-home shopkeeper
COPY --from=build /opt/bookstore /opt/bookstore
ENV PATH=/opt/bookstore/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0
USER shopkeeper
WORKDIR /home/shopkeeper
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
CMD ["bookstore", "serve"]
