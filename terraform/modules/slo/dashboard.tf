locals {
  # Google drops zeros and empty strings from what it stores; none are written here, so that a plan after an apply is empty.
  charts = concat(
    flatten([
      for edge, e in var.edges : [
        {
          title = "Failed share, ${edge} (objective ${format("%.4f", local.availability_budget)})"
          query = "sum(rate(${local.selectors[edge].failed}[5m])) / sum(rate(${local.selectors[edge].all}[5m]))"
        },
        {
          title = "p${var.slo.objectives.latency.percentile}, ${edge}, ms (objective ${var.slo.objectives.latency.threshold_ms})"
          query = "histogram_quantile(${var.slo.objectives.latency.percentile / 100}, sum by (le) (rate(${local.selectors[edge].bucket}[5m])))"
        },
        {
          title = "Requests a second by class, ${edge}"
          query = "sum by (response_code_class) (rate(${local.selectors[edge].all}[5m]))"
        },
      ]
    ]),
    [
      {
        title = "Memory of the service, bytes (objective ${var.slo.objectives.memory.max_mib} MiB)"
        query = "max by (instance_name) (${var.memory_metric})"
      },
      {
        title = "CPU of the VMs"
        query = "avg by (instance_name) (compute_googleapis_com:instance_cpu_utilization{monitored_resource=\"gce_instance\",instance_name=~\"(${join("|", var.fleets)})-.*\"})"
      },
      {
        title = "VMs a fleet"
        query = "sum by (instance_group_name) (compute_googleapis_com:instance_group_size{monitored_resource=\"instance_group\",instance_group_name=~\"${join("|", var.fleets)}\"})"
      },
      {
        title = "Desired releases changed"
        query = "sum by (fleet) (increase(logging_googleapis_com:user_${replace(var.name, "-", "_")}_desired{monitored_resource=\"gcs_bucket\"}[1h]))"
      },
      {
        title = "Failed converges"
        query = "sum(increase(logging_googleapis_com:user_${replace(var.name, "-", "_")}_converge_failures{monitored_resource=\"gce_instance\"}[1h]))"
      },
    ],
  )
}

resource "google_monitoring_dashboard" "this" {
  project = var.project_id

  dashboard_json = jsonencode({
    displayName = var.name
    gridLayout = {
      columns = "2"
      widgets = [
        for c in local.charts : {
          title = c.title
          xyChart = {
            dataSets = [{
              plotType        = "LINE"
              targetAxis      = "Y1"
              timeSeriesQuery = { prometheusQuery = c.query }
            }]
          }
        }
      ]
    }
  })

  depends_on = [google_logging_metric.rollouts, google_logging_metric.converge_failures]
}
