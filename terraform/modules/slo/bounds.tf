locals {
  numbers = concat([
    { key = "window_days", value = var.slo.window_days, min = 1, max = 30, product = "Cloud Monitoring (rolling period of an SLO)" },
    { key = "objectives.availability.target", value = var.slo.objectives.availability.target, min = 0, max = 1, product = "Cloud Monitoring (share of requests)", whole = false },
    { key = "objectives.latency.percentile", value = var.slo.objectives.latency.percentile, min = 0, max = 100, product = "Cloud Monitoring (threshold of a window)", whole = false },
    { key = "objectives.latency.threshold_ms", value = var.slo.objectives.latency.threshold_ms, min = 1, max = 315576000000, product = "Cloud Monitoring (range of a distribution)", whole = false },
    { key = "objectives.latency.slice_seconds", value = var.slo.objectives.latency.slice_seconds, min = 60, max = 86400, product = "Cloud Monitoring (window of an SLO)" },
    { key = "objectives.latency.slices_target", value = var.slo.objectives.latency.slices_target, min = 0, max = 0.999, product = "Cloud Monitoring (goal of an SLO)", whole = false },
    { key = "objectives.memory.max_mib", value = var.slo.objectives.memory.max_mib, min = 1, max = 2147483647, product = "Cloud Monitoring (threshold in PromQL)", whole = false },
    ], [
    for k, a in local.alerts : { key = "alerts.${a.severity}[*].long_window (${a.long_window})", value = a.long_s, min = 60, max = 30 * local.day, product = "Cloud Monitoring (look-back, in seconds)", whole = true }
    ], [
    for k, a in local.alerts : { key = "alerts.${a.severity}[*].short_window (${a.short_window})", value = a.short_s, min = 60, max = local.day, product = "Cloud Monitoring (look-back, in seconds)", whole = true }
    ], [
    for k, a in local.alerts : { key = "alerts.${a.severity}[*].factor", value = a.factor, min = 0.000001, max = 2147483647, product = "Cloud Monitoring (threshold of a burn rate)", whole = false }
  ])
}

module "bounds" {
  source   = "../bounds"
  document = "slo.yml"
  numbers  = local.numbers
}
