# From outside, without an identity. Checkers follow redirects, and a browser's 302 would lead them to the sign-in page, whose 200
# says nothing of us. A request that bears a script's header gets IAP's final answer instead: 401. Anything else, a wrong certificate or no
# answer says that users cannot even sign in. With IAP off a VM would answer, also 401, but names the header that it misses.
resource "google_monitoring_uptime_check_config" "this" {
  count = var.uptime == null ? 0 : 1

  project            = var.project_id
  display_name       = "${var.name} external"
  timeout            = "10s"
  period             = "60s"
  checker_type       = "STATIC_IP_CHECKERS"
  log_check_failures = true

  http_check {
    path         = var.uptime.path
    port         = 443
    use_ssl      = true
    validate_ssl = true
    headers      = { "X-Requested-With" = "XMLHttpRequest" }

    accepted_response_status_codes {
      status_value = var.uptime.status
    }
  }

  content_matchers {
    content = "X-Goog-IAP-JWT-Assertion"
    matcher = "NOT_CONTAINS_STRING"
  }

  monitored_resource {
    type = "uptime_url"
    labels = {
      project_id = var.project_id
      host       = var.uptime.host
    }
  }

  # Another host is another check: the alert names it before the old one is deleted.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_monitoring_alert_policy" "uptime" {
  count = var.uptime == null ? 0 : 1

  project               = var.project_id
  display_name          = "${var.name} unreachable: page"
  combiner              = "OR"
  severity              = local.severities.page
  notification_channels = local.channels
  user_labels           = { fleet = var.name, objective = "availability", severity = "page", edge = "external" }

  conditions {
    display_name = "two or more of Google's locations fail"
    condition_threshold {
      filter          = "metric.type=\"monitoring.googleapis.com/uptime_check/check_passed\" AND resource.type=\"uptime_url\" AND metric.labels.check_id=\"${google_monitoring_uptime_check_config.this[0].uptime_check_id}\""
      comparison      = "COMPARISON_GT"
      threshold_value = 1
      duration        = "120s"
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = "ALIGN_NEXT_OLDER"
        cross_series_reducer = "REDUCE_COUNT_FALSE"
        group_by_fields      = ["resource.label.host"]
      }
      trigger {
        count = 1
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name}: unreachable from outside"
    content   = "DNS, certificate, load balancer or IAP: `skfleet doctor` looks at each. See docs/runbook.md."
  }

  alert_strategy {
    auto_close = "1800s"
  }
}
