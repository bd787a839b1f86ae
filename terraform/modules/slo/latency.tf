# Latency: a slice (a minute) is good when its percentile lies below the threshold; the objective is the share of good
# slices. A 90 % objective on requests could not burn faster than 10 times its budget.
resource "google_monitoring_custom_service" "this" {
  project      = var.project_id
  service_id   = var.name
  display_name = var.name
}

resource "google_monitoring_slo" "latency" {
  for_each = var.edges

  project             = var.project_id
  service             = google_monitoring_custom_service.this.service_id
  slo_id              = "latency-${each.key}"
  display_name        = "p${var.slo.objectives.latency.percentile} below ${var.slo.objectives.latency.threshold_ms} ms, ${each.key}"
  goal                = var.slo.objectives.latency.slices_target
  rolling_period_days = var.slo.window_days

  windows_based_sli {
    window_period = "${var.slo.objectives.latency.slice_seconds}s"

    good_total_ratio_threshold {
      threshold = var.slo.objectives.latency.percentile / 100
      performance {
        distribution_cut {
          distribution_filter = join(" AND ", [
            "metric.type=\"${local.metrics[each.value.kind].latency}\"",
            "resource.type=\"${local.metrics[each.value.kind].resource}\"",
            "resource.labels.url_map_name=\"${each.value.url_map}\"",
          ])
          range {
            max = var.slo.objectives.latency.threshold_ms
          }
        }
      }
    }
  }
}

resource "google_monitoring_alert_policy" "latency" {
  for_each = local.policies

  project               = var.project_id
  display_name          = "${var.name} latency, ${each.value.edge}: ${each.value.severity} ${each.value.long_window}"
  combiner              = "AND"
  severity              = local.severities[each.value.severity]
  notification_channels = local.channels
  user_labels           = { fleet = var.name, objective = "latency", severity = each.value.severity, edge = each.value.edge }

  dynamic "conditions" {
    for_each = { long = each.value.slo_long, short = each.value.short_s }
    content {
      display_name = "slow slices burn the budget ${each.value.factor} times too fast (${conditions.key} window)"
      condition_threshold {
        filter          = "select_slo_burn_rate(\"${google_monitoring_slo.latency[each.value.edge].name}\", \"${conditions.value}s\")"
        comparison      = "COMPARISON_GT"
        threshold_value = each.value.factor
        duration        = "0s"
      }
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name}: answers are slow (${each.value.edge})"
    content   = <<-EOT
      At this rate ${each.value.budget_percent} % of the ${var.slo.window_days} days' budget of slow slices goes within ${each.value.long_window}
      (objective: p${var.slo.objectives.latency.percentile} below ${var.slo.objectives.latency.threshold_ms} ms in ${var.slo.objectives.latency.slices_target * 100} % of slices of ${var.slo.objectives.latency.slice_seconds} s).
      %{if each.value.slo_long != each.value.long_s~}
      The long window is judged over 24 hours: burn rates look no further back.
      %{endif~}
      See docs/runbook.md.
    EOT
  }

  alert_strategy {
    auto_close = "1800s"
  }
}
