# Autohealing's own check. The load balancers ask /readyz; this one asks whether the process answers at all, slower, so that
# nothing but a dead VM is ever recreated.
resource "google_compute_health_check" "liveness" {
  project     = var.project_id
  name        = "${var.name}-liveness"
  description = "Autohealing of ${var.name}."

  check_interval_sec  = var.edge.health_checks.liveness.interval_s
  timeout_sec         = var.edge.health_checks.liveness.timeout_s
  healthy_threshold   = var.edge.health_checks.liveness.healthy_threshold
  unhealthy_threshold = var.edge.health_checks.liveness.unhealthy_threshold

  http_health_check {
    port         = var.edge.listeners.health.port
    request_path = var.edge.health_checks.liveness.path
  }

  log_config {
    enable = true
  }
}
