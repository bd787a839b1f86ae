locals {
  per_try_s  = floor(var.edge.retries.per_try_timeout_s)
  per_try_ns = floor((var.edge.retries.per_try_timeout_s - local.per_try_s) * 1000000000)

  # With IAP the traffic belongs to the listener that demands IAP's header; the internal listener asks for ID tokens.
  listener = var.iap.enabled ? var.edge.listeners.iap : var.edge.listeners.internal
}

resource "google_compute_address" "this" {
  for_each = var.regions

  project      = var.project.id
  name         = "${var.name}-internal-${each.key}"
  region       = each.key
  subnetwork   = each.value.subnetwork
  address_type = "INTERNAL"
}

resource "google_compute_region_health_check" "readiness" {
  for_each = var.regions

  project     = var.project.id
  name        = "${var.name}-readiness"
  region      = each.key
  description = "Should this VM get traffic from the internal load balancer?"

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

resource "google_compute_region_backend_service" "this" {
  for_each = var.regions

  project     = var.project.id
  name        = "${var.name}-internal"
  region      = each.key
  description = "The fleet for callers inside the network."

  load_balancing_scheme = "INTERNAL_MANAGED"
  protocol              = "HTTP"
  port_name             = local.listener.name
  locality_lb_policy    = "ROUND_ROBIN"
  health_checks         = [google_compute_region_health_check.readiness[each.key].id]

  timeout_sec                     = var.edge.timeouts.request_s
  connection_draining_timeout_sec = var.edge.timeouts.drain_s

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

  backend {
    group = each.value.instance_group
    # The external load balancer holds the same group in the same mode; Google refuses two.
    balancing_mode        = "RATE"
    max_rate_per_instance = var.max_rate_per_instance
    capacity_scaler       = 1
  }

  # Written when off too: left out, IAP stays as Google holds it and refuses everybody once its members are gone.
  iap {
    enabled = var.iap.enabled
  }

  log_config {
    # The provider does not send a rate of 0, and Google's default is to log everything.
    enable      = var.log_sample_rate > 0
    sample_rate = var.log_sample_rate > 0 ? var.log_sample_rate : 1
  }
}

resource "google_compute_region_url_map" "this" {
  for_each = var.regions

  project         = var.project.id
  name            = "${var.name}-internal"
  region          = each.key
  default_service = google_compute_region_backend_service.this[each.key].id

  default_route_action {
    timeout {
      seconds = tostring(var.edge.timeouts.request_s)
    }

    retry_policy {
      num_retries      = var.edge.retries.attempts
      retry_conditions = var.edge.retries.conditions
      per_try_timeout {
        seconds = tostring(local.per_try_s)
        nanos   = local.per_try_ns
      }
    }
  }
}

resource "google_compute_region_ssl_policy" "this" {
  for_each = var.regions

  project         = var.project.id
  name            = "${var.name}-internal"
  region          = each.key
  min_tls_version = "TLS_1_2"
  profile         = "MODERN"
}

resource "google_compute_region_target_https_proxy" "this" {
  for_each = var.regions

  project    = var.project.id
  name       = "${var.name}-internal"
  region     = each.key
  url_map    = google_compute_region_url_map.this[each.key].id
  ssl_policy = google_compute_region_ssl_policy.this[each.key].id

  ssl_certificates                 = length(each.value.certificates) > 0 ? each.value.certificates : null
  certificate_manager_certificates = length(each.value.managed_certificates) > 0 ? each.value.managed_certificates : null

  http_keep_alive_timeout_sec = var.edge.timeouts.client_keepalive_s
}

resource "google_compute_forwarding_rule" "this" {
  for_each = var.regions

  project               = var.project.id
  name                  = "${var.name}-internal"
  region                = each.key
  load_balancing_scheme = "INTERNAL_MANAGED"
  network               = var.network
  subnetwork            = each.value.subnetwork
  ip_address            = google_compute_address.this[each.key].id
  ip_protocol           = "TCP"
  port_range            = "443"
  target                = google_compute_region_target_https_proxy.this[each.key].id
  allow_global_access   = var.global_access

  lifecycle {
    # A proxy cannot change its keep-alive, and one in use cannot be deleted: both are made anew, as in edge_external.
    replace_triggered_by = [google_compute_region_target_https_proxy.this[each.key].http_keep_alive_timeout_sec]

    # Speaking of the proxy-only subnet is also what orders the two: it is made before this rule and destroyed after it.
    precondition {
      condition     = length(each.value.proxy_subnetwork) > 0
      error_message = "Region ${each.key} has no proxy-only subnet: pass network's proxy_subnetworks[\"${each.key}\"] as proxy_subnetwork."
    }
  }
}
