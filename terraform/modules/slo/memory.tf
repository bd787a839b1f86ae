resource "google_monitoring_alert_policy" "memory" {
  project               = var.project_id
  display_name          = "${var.name} memory: ticket"
  combiner              = "OR"
  severity              = local.severities.ticket
  notification_channels = local.channels
  user_labels           = { fleet = var.name, objective = "memory", severity = "ticket" }

  conditions {
    display_name = "control group above ${var.slo.objectives.memory.max_mib} MiB"
    condition_prometheus_query_language {
      query               = "max by (instance) (${var.memory_metric}) > ${var.slo.objectives.memory.max_mib * 1024 * 1024}"
      duration            = "300s"
      evaluation_interval = "60s"
      rule_group          = replace(var.name, "-", "_")
      alert_rule          = "memory"
      # The metric's kind is known only once a VM has sent it.
      disable_metric_validation = true
    }
  }

  documentation {
    mime_type = "text/markdown"
    subject   = "${var.name}: a VM's service outgrows its memory"
    content   = "The service's control group exceeds its objective for five minutes; workers are recycled before the kernel steps in. See docs/runbook.md."
  }

  alert_strategy {
    auto_close = "1800s"
  }
}
