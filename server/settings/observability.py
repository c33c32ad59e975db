"""The settings of logs, metrics and traces."""

from urllib.parse import urlsplit

from pydantic import BaseModel, Field, field_validator


class ObservabilitySettings(BaseModel):
    """Observability."""

    log_level: str = Field(
        "info",
        pattern="(?i)^(debug|info|warning|error)$",
        description="Lowest level that is logged: `debug`, `info`, `warning` or `error`.",
    )
    log_format: str | None = Field(
        None,
        pattern="^(pretty|json)$",
        description="`pretty` or `json`. Unset: `json` in production, else `pretty`.",
        examples=["json"],
    )
    metrics_host: str = Field("127.0.0.1", description="Address on which metrics are served.")
    metrics_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port on which Prometheus metrics are served (docs/how-to/observe.md). 0 disables them.",
        examples=[9000],
    )
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        description="Collector for traces, by OTLP over HTTP (docs/how-to/observe.md). Unset: no traces.",
        examples=["http://localhost:4318"],
    )
    otel_traces_sampler_arg: float = Field(1.0, ge=0, le=1, description="Fraction of traces that are sent.")
    otel_service_name: str = Field("bookstore", description="Name of this service in traces.")

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _validate_otlp_endpoint(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith(("http://", "https://")) and urlsplit(value).hostname):
            raise ValueError(
                "must be the URL of a collector that accepts OTLP over HTTP, such as http://localhost:4318"
            )
        return value
