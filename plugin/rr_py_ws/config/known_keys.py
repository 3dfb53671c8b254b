"""RoadRunner's keys that this program does not read, and why that is right."""

from __future__ import annotations

_PHP_REQUESTS = "for HTTP requests to PHP, which this program does not serve"
_OTHER_PLUGIN = "a section of another RoadRunner plugin"
_RR_TOO = "RoadRunner 2.x reads it and never uses it"
_NEWER = "a key of newer RoadRunner versions"

IGNORED_KEYS: dict[str, str] = {
    **dict.fromkeys(
        (
            "http.access_logs",
            "http.cache",
            "http.env",
            "http.fcgi",
            "http.gzip",
            "http.headers",
            "http.http2",
            "http.internal_error_code",
            "http.max_request_size",
            "http.new_relic",
            "http.otel",
            "http.pool",
            "http.raw_body",
            "http.sendfile",
            "http.static",
            "http.uploads",
        ),
        _PHP_REQUESTS,
    ),
    "http.ssl.acme": "certificates are not fetched by this program; name files in cert and key",
    "http.ssl.redirect": "nothing but websockets.path is served on the plain port",
    "server.after_init": _NEWER,
    "server.on_init.exit_on_error": _NEWER,
    "websockets.middleware": _RR_TOO,
    "websockets.pool.command": "RoadRunner's websockets ignores it too; server.command is used",
    "websockets.pool.dynamic_allocator": _NEWER,
    "websockets.pool.max_queue_size": _NEWER,
    "websockets.pool.reset_timeout": _NEWER,
    "websockets.pubsubs": _RR_TOO,
    "logs.err_output": "RoadRunner 2.x does not read it either; errorOutput is the key",
    "metrics.collect": "metrics of applications are not collected by this program",
    "endure.log_level": "for RoadRunner's plugin container",
    "endure.print_graph": "for RoadRunner's plugin container",
    "endure.retry_on_fail": "for RoadRunner's plugin container",
}

IGNORED_REDIS_OPTIONS: dict[str, str] = {
    **dict.fromkeys(
        ("route_by_latency", "route_randomly", "read_only"),
        "no keys are read, so there is nothing to route",
    ),
    **dict.fromkeys(
        ("pool_size", "min_idle_conns", "idle_timeout", "idle_check_freq", "max_conn_age"),
        "there is no pool: one connection publishes, one is subscribed",
    ),
    "max_retries": "a message is never published twice; connecting again never ends",
}

IGNORED_SECTIONS: dict[str, str] = {
    **dict.fromkeys(
        (
            "amqp",
            "app",
            "beanstalk",
            "boltdb",
            "centrifuge",
            "fileserver",
            "grpc",
            "jobs",
            "kafka",
            "kv",
            "lock",
            "nats",
            "otel",
            "service",
            "sqs",
            "static",
            "tcp",
            "temporal",
        ),
        _OTHER_PLUGIN,
    ),
    "memory": "no broker uses it",
    "redis": "no broker uses it",
    "reload": "workers are not restarted when files change; use `rr-py-ws reset`",
}
