locals {
  numbers = [
    { key = "listeners.iap.port", value = var.edge.listeners.iap.port, min = 1, max = 65535, product = "instance group (named port)" },
    { key = "listeners.internal.port", value = var.edge.listeners.internal.port, min = 1, max = 65535, product = "instance group (named port)" },
    { key = "listeners.health.port", value = var.edge.listeners.health.port, min = 1, max = 65535, product = "health check" },
    { key = "health_checks.liveness.interval_s", value = var.edge.health_checks.liveness.interval_s, min = 1, max = 300, product = "health check" },
    { key = "health_checks.liveness.timeout_s", value = var.edge.health_checks.liveness.timeout_s, min = 1, max = 300, product = "health check" },
    { key = "health_checks.liveness.healthy_threshold", value = var.edge.health_checks.liveness.healthy_threshold, min = 1, max = 10, product = "health check" },
    { key = "health_checks.liveness.unhealthy_threshold", value = var.edge.health_checks.liveness.unhealthy_threshold, min = 1, max = 10, product = "health check" },
    { key = "health_checks.liveness.initial_delay_s", value = var.edge.health_checks.liveness.initial_delay_s, min = 0, max = 3600, product = "autohealing" },
  ]
}

module "bounds" {
  source   = "../bounds"
  document = "edge.yml"
  numbers  = local.numbers
}
