# What slo.yml says, turned into one entry an alert.
locals {
  seconds = { m = 60, h = 3600, d = 86400 }
  day     = 86400

  alerts = merge([
    for severity, list in var.slo.alerts : {
      for i, a in list : "${severity}-${i}" => merge(a, {
        severity = severity
        long_s   = tonumber(regex("^([0-9]+)", a.long_window)[0]) * local.seconds[regex("([mhd])$", a.long_window)[0]]
        short_s  = tonumber(regex("^([0-9]+)", a.short_window)[0]) * local.seconds[regex("([mhd])$", a.short_window)[0]]
      })
    }
  ]...)

  # Cloud Monitoring judges at most a day back, unless the preview of longer look-backs is used (PromQL alone).
  windows = {
    for k, a in local.alerts : k => merge(a, {
      promql_long = var.long_lookback ? a.long_s : min(a.long_s, local.day)
      slo_long    = min(a.long_s, local.day)
    })
  }

  policies = merge([
    for edge, e in var.edges : {
      for k, a in local.windows : "${edge}-${k}" => merge(a, e, { edge = edge })
    }
  ]...)

  metrics = {
    external = {
      resource = "https_lb_rule"
      requests = "loadbalancing_googleapis_com:https_request_count"
      latency  = "loadbalancing.googleapis.com/https/total_latencies"
      p_query  = "loadbalancing_googleapis_com:https_total_latencies_bucket"
    }
    internal = {
      resource = "internal_http_lb_rule"
      requests = "loadbalancing_googleapis_com:https_internal_request_count"
      latency  = "loadbalancing.googleapis.com/https/internal/total_latencies"
      p_query  = "loadbalancing_googleapis_com:https_internal_total_latencies_bucket"
    }
  }

  # Class 0 is a client that went away: neither good nor bad.
  selectors = {
    for edge, e in var.edges : edge => {
      all    = "${local.metrics[e.kind].requests}{monitored_resource=\"${local.metrics[e.kind].resource}\",url_map_name=\"${e.url_map}\",response_code_class!=\"0\"}"
      failed = "${local.metrics[e.kind].requests}{monitored_resource=\"${local.metrics[e.kind].resource}\",url_map_name=\"${e.url_map}\",response_code_class=\"500\"}"
      bucket = "${local.metrics[e.kind].p_query}{monitored_resource=\"${local.metrics[e.kind].resource}\",url_map_name=\"${e.url_map}\"}"
    }
  }

  severities = { page = "CRITICAL", ticket = "WARNING" }

  availability_budget = 1 - var.slo.objectives.availability.target
}
