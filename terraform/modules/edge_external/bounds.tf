# What Google documents for each field that these numbers go to: the discovery document of the Compute API, the provider's documentation
# of the target proxy, and the load balancers' pages on health checks, retries and connection draining.
locals {
  numbers = [
    { key = "listeners.health.port", value = var.edge.listeners.health.port, min = 1, max = 65535, product = "health check" },
    { key = "health_checks.readiness.interval_s", value = var.edge.health_checks.readiness.interval_s, min = 1, max = 300, product = "health check" },
    { key = "health_checks.readiness.timeout_s", value = var.edge.health_checks.readiness.timeout_s, min = 1, max = 300, product = "health check" },
    { key = "health_checks.readiness.healthy_threshold", value = var.edge.health_checks.readiness.healthy_threshold, min = 1, max = 10, product = "health check" },
    { key = "health_checks.readiness.unhealthy_threshold", value = var.edge.health_checks.readiness.unhealthy_threshold, min = 1, max = 10, product = "health check" },
    { key = "timeouts.request_s", value = var.edge.timeouts.request_s, min = 1, max = 2147483647, product = "backend service" },
    { key = "timeouts.drain_s", value = var.edge.timeouts.drain_s, min = 0, max = 3600, product = "connection draining" },
    { key = "timeouts.client_keepalive_s", value = var.edge.timeouts.client_keepalive_s, min = 5, max = 1200, product = "global external Application Load Balancer" },
    # Fixed: another number would only be true of the local fleet.
    { key = "timeouts.backend_keepalive_s", value = var.edge.timeouts.backend_keepalive_s, min = 600, max = 600, product = "global external Application Load Balancer" },
    { key = "retries.attempts", value = var.edge.retries.attempts, min = 1, max = 25, product = "URL map" },
    # A try lasts a non-zero time; a millisecond is the least that Envoy, the local load balancer, tells apart.
    { key = "retries.per_try_timeout_s", value = var.edge.retries.per_try_timeout_s, min = 0.001, max = 315576000000, product = "URL map", whole = false },
    { key = "outliers.consecutive_gateway_failures", value = var.edge.outliers.consecutive_gateway_failures, min = 1, max = 2147483647, product = "outlier detection" },
    { key = "outliers.interval_s", value = var.edge.outliers.interval_s, min = 1, max = 315576000000, product = "outlier detection" },
    { key = "outliers.ejection_s", value = var.edge.outliers.ejection_s, min = 1, max = 315576000000, product = "outlier detection" },
    { key = "outliers.max_ejection_percent", value = var.edge.outliers.max_ejection_percent, min = 0, max = 100, product = "outlier detection" },
  ]
}

module "bounds" {
  source   = "../bounds"
  document = "edge.yml"
  numbers  = local.numbers
}
