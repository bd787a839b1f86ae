# Availability: the share of failed requests itself, over two windows. A google_monitoring_slo cannot hold the objective (its
# goal ends at 0.999), so there is none; the arithmetic is the same.
resource "google_monitoring_alert_policy" "availability" {
  for_each = local.policies

  project               = var.project_id
  display_name          = "${var.name} availability, ${each.value.edge}: ${each.value.severity} ${each.value.long_window}"
  combiner              = "OR"
  severity              = local.severities[each.value.severity]
  notification_channels = local.channels
  user_labels           = { fleet = var.name, objective = "availability", severity = each.value.severity, edge = each.value.edge }

  conditions {
    display_name = "error budget burns ${each.value.factor} times too fast"
    condition_prometheus_query_language {
      query = join("\nand\n", [
        for s in [each.value.promql_long, each.value.short_s] :
        "(sum(rate(${local.selectors[each.value.edge].failed}[${s}s])) / sum(rate(${local.selectors[each.value.edge].all}[${s}s]))) > ${format("%.6f", each.value.factor * local.availability_budget)}"
      ])
      duration            = "0s"
      evaluation_interval = "60s"
      rule_group          = replace(var.name, "-", "_")
      alert_rule          = replace("availability_${each.key}", "-", "_")
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name}: requests fail (${each.value.edge})"
    content   = <<-EOT
      At this rate ${each.value.budget_percent} % of the ${var.slo.window_days} days' error budget goes within ${each.value.long_window}
      (objective: ${var.slo.objectives.availability.target * 100} % of requests without a server error).
      %{if each.value.promql_long != each.value.long_s~}
      The long window is judged over 24 hours: Cloud Monitoring looks no further back without long_lookback.
      %{endif~}
      See docs/runbook.md.
    EOT
  }

  alert_strategy {
    auto_close = "1800s"
  }
}
