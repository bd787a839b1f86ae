resource "google_compute_health_check" "readiness" {
  project     = var.project.id
  name        = "${var.name}-readiness"
  description = "Should this VM get traffic? Carries no IAP header, hence a port of its own."

  check_interval_sec  = var.edge.health_checks.readiness.interval_s
  timeout_sec         = var.edge.health_checks.readiness.timeout_s
  healthy_threshold   = var.edge.health_checks.readiness.healthy_threshold
  unhealthy_threshold = var.edge.health_checks.readiness.unhealthy_threshold

  http_health_check {
    port         = var.edge.listeners.health.port
    request_path = var.edge.health_checks.readiness.path
  }

  log_config {
    enable = true
  }
}

resource "google_compute_backend_service" "this" {
  project     = var.project.id
  name        = "${var.name}-external"
  description = "The fleets behind IAP."

  load_balancing_scheme = "EXTERNAL_MANAGED"
  protocol              = "HTTP"
  port_name             = var.edge.listeners.iap.name
  locality_lb_policy    = "ROUND_ROBIN"
  health_checks         = [google_compute_health_check.readiness.id]
  security_policy       = google_compute_security_policy.this.id

  timeout_sec                     = var.edge.timeouts.request_s
  connection_draining_timeout_sec = var.edge.timeouts.drain_s
  custom_response_headers         = ["Strict-Transport-Security: max-age=31536000"]

  # Each proxy by itself takes a VM out that answers it nothing: a hung VM would hold a share of all requests until its health
  # check has failed. Of Google's detectors this one alone: a model that answers 500 to bad rows is no bad VM. The provider
  # does not send a 0, so the success rate is switched off by asking for more VMs than any fleet has; Google's default for
  # enforcing_consecutive_errors is 0. What Google fills in by itself is written out, so that a plan after an apply is empty.
  outlier_detection {
    consecutive_gateway_failure           = var.edge.outliers.consecutive_gateway_failures
    enforcing_consecutive_gateway_failure = 100
    consecutive_errors                    = 5
    enforcing_consecutive_errors          = 0
    enforcing_success_rate                = 1
    success_rate_minimum_hosts            = 1000000
    success_rate_request_volume           = 100
    success_rate_stdev_factor             = 1900
    max_ejection_percent                  = var.edge.outliers.max_ejection_percent
    interval {
      seconds = var.edge.outliers.interval_s
    }
    base_ejection_time {
      seconds = var.edge.outliers.ejection_s
    }
  }

  dynamic "backend" {
    for_each = var.backends
    content {
      group = backend.value.instance_group
      # One group behind two backend services needs one mode in both; a regional group takes a rate per VM alone.
      balancing_mode        = "RATE"
      max_rate_per_instance = var.max_rate_per_instance
      capacity_scaler       = 1
    }
  }

  iap {
    enabled              = true
    oauth2_client_id     = var.iap_oauth_client.client_id
    oauth2_client_secret = var.iap_oauth_client.client_secret
  }

  log_config {
    # The provider does not send a rate of 0, and Google's default is to log everything.
    enable      = var.log_sample_rate > 0
    sample_rate = var.log_sample_rate > 0 ? var.log_sample_rate : 1
  }
}
