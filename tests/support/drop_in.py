"""A `.rr.yaml` with what the files of applications have."""

DROP_IN = """\
version: "2.7"
rpc: {listen: "tcp://127.0.0.1:6001"}
server:
  command: "php app.php"
  relay: pipes
  env:
    - APP_ENV: prod
http:
  address: 0.0.0.0:8080
  middleware: ["gzip", "websockets"]
  max_request_size: 256
  pool: {num_workers: 4, supervisor: {max_worker_memory: 100}}
  ssl: {address: ":8443", cert: server.crt, key: server.key}
websockets:
  broker: default
  allowed_origin: "https://*.example.com"
  path: "/ws"
broadcast:
  default:
    driver: redis
    config:
      addrs: ["${REDIS_ADDR}"]
      password: ${REDIS_PASSWORD}
      dial_timeout: 5s
redis: {addrs: ["localhost:6379"]}
logs: {mode: production, level: info, channels: {websockets: {level: debug}}}
status: {address: "127.0.0.1:2114"}
metrics: {address: "127.0.0.1:2112"}
endure: {grace_period: 30s, log_level: error}
jobs: {consume: []}
"""
