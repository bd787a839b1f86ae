locals {
  per_try_s  = floor(var.edge.retries.per_try_timeout_s)
  per_try_ns = floor((var.edge.retries.per_try_timeout_s - local.per_try_s) * 1000000000)
}

resource "google_compute_url_map" "this" {
  project         = var.project.id
  name            = "${var.name}-external"
  default_service = google_compute_backend_service.this.id

  default_route_action {
    timeout {
      seconds = tostring(var.edge.timeouts.request_s)
    }

    # A prediction is idempotent: a POST may be tried again on another VM.
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

resource "google_compute_target_https_proxy" "this" {
  project          = var.project.id
  name             = "${var.name}-external"
  url_map          = google_compute_url_map.this.id
  ssl_policy       = google_compute_ssl_policy.this.id
  ssl_certificates = concat(var.certificates, [for d in local.managed : google_compute_managed_ssl_certificate.this[d].self_link])

  http_keep_alive_timeout_sec = var.edge.timeouts.client_keepalive_s
}

resource "google_compute_global_forwarding_rule" "https" {
  project               = var.project.id
  name                  = "${var.name}-external"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.this.id
  ip_protocol           = "TCP"
  port_range            = "443"
  target                = google_compute_target_https_proxy.this.id

  # A proxy cannot change its keep-alive, and one in use cannot be deleted: both are made anew, seconds apart. Made first instead,
  # the proxy would force the same upon everything below it, down to the group, whose name is taken.
  lifecycle {
    replace_triggered_by = [google_compute_target_https_proxy.this.http_keep_alive_timeout_sec]
  }
}

# Port 80 does nothing but send clients to 443.
resource "google_compute_url_map" "redirect" {
  project = var.project.id
  name    = "${var.name}-redirect"

  default_url_redirect {
    https_redirect         = true
    redirect_response_code = "PERMANENT_REDIRECT" # 308 keeps the method: a POST stays one
    strip_query            = false
  }
}

resource "google_compute_target_http_proxy" "redirect" {
  project = var.project.id
  name    = "${var.name}-redirect"
  url_map = google_compute_url_map.redirect.id
}

resource "google_compute_global_forwarding_rule" "redirect" {
  project               = var.project.id
  name                  = "${var.name}-redirect"
  load_balancing_scheme = "EXTERNAL_MANAGED"
  ip_address            = google_compute_global_address.this.id
  ip_protocol           = "TCP"
  port_range            = "80"
  target                = google_compute_target_http_proxy.redirect.id
}
