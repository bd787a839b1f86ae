# What the VMs report of themselves: one policy for each entry of alerts.yml. Metrics come from the Ops Agent on each VM.
locals {
  health = yamldecode(templatefile("${path.module}/alerts.yml", {
    vms               = "{fleet=~\"${join("|", var.fleets)}\"}"
    memory_metric     = var.memory_metric
    memory_bytes      = var.slo.objectives.memory.max_mib * 1024 * 1024
    converge_failures = "logging_googleapis_com:user_${replace(var.name, "-", "_")}_converge_failures{monitored_resource=\"gce_instance\"}"
  }))
}

resource "google_monitoring_alert_policy" "health" {
  for_each = local.health

  project               = var.project_id
  display_name          = "${var.name} ${replace(each.key, "_", " ")}: ${each.value.severity}"
  combiner              = "OR"
  severity              = local.severities[each.value.severity]
  notification_channels = local.channels
  user_labels           = { fleet = var.name, objective = each.key, severity = each.value.severity }

  conditions {
    display_name = each.value.summary
    condition_prometheus_query_language {
      query               = each.value.query
      duration            = "${each.value.for_s}s"
      evaluation_interval = "60s"
      rule_group          = replace(var.name, "-", "_")
      alert_rule          = each.key
      # A metric's kind is known only once a VM has sent it.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name}: ${each.value.summary}"
    content   = "${each.value.text} See docs/runbook.md."
  }

  alert_strategy {
    auto_close = "1800s"
  }

  depends_on = [google_logging_metric.converge_failures]
}
