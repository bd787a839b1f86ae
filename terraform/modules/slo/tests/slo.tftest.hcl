mock_provider "google" {
  override_during = plan

  mock_resource "google_monitoring_slo" {
    defaults = { name = "projects/1/services/skfleet/serviceLevelObjectives/latency" }
  }
  mock_resource "google_monitoring_notification_channel" {
    defaults = { name = "projects/example-project/notificationChannels/1" }
  }
  mock_resource "google_monitoring_uptime_check_config" {
    defaults = { uptime_check_id = "skfleet-external-1" }
  }
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

variables {
  project_id = "example-project"
  name       = "skfleet"
  slo        = yamldecode(file("../../../slo.yml"))
  bucket     = "example-project-skfleet"
  fleets     = ["skfleet-europe-west1"]
  edges = {
    external = { kind = "external", url_map = "skfleet-external" }
    internal = { kind = "internal", url_map = "skfleet-internal" }
  }
  channels = { emails = { oncall = "oncall@example.com" } }
  uptime   = { host = "predict.example.com" }
}

run "availability_burns_over_two_windows" {
  command = plan

  assert {
    condition     = length(google_monitoring_alert_policy.availability) == 8
    error_message = "Every alert of slo.yml must exist for both load balancers."
  }

  assert {
    condition = google_monitoring_alert_policy.availability["external-page-0"].conditions[0].condition_prometheus_query_language[0].query == join("\nand\n", [
      for w in ["3600s", "300s"] :
      "(sum(rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",url_map_name=\"skfleet-external\",response_code_class=\"500\"}[${w}])) / sum(rate(loadbalancing_googleapis_com:https_request_count{monitored_resource=\"https_lb_rule\",url_map_name=\"skfleet-external\",response_code_class!=\"0\"}[${w}]))) > 0.007200"
    ])
    error_message = "The fast page must compare the failed share over 1 h and 5 min with 14.4 × 0.05 %."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.availability["internal-page-1"].conditions[0].condition_prometheus_query_language[0].query, "loadbalancing_googleapis_com:https_internal_request_count{monitored_resource=\"internal_http_lb_rule\",url_map_name=\"skfleet-internal\"") && strcontains(google_monitoring_alert_policy.availability["internal-page-1"].conditions[0].condition_prometheus_query_language[0].query, "[21600s]") && strcontains(google_monitoring_alert_policy.availability["internal-page-1"].conditions[0].condition_prometheus_query_language[0].query, "> 0.003000")
    error_message = "The slow page must judge the internal load balancer by its own metric."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.availability["external-ticket-1"].conditions[0].condition_prometheus_query_language[0].query, "[86400s]") && !strcontains(google_monitoring_alert_policy.availability["external-ticket-1"].conditions[0].condition_prometheus_query_language[0].query, "[259200s]")
    error_message = "Without long look-backs three days must be judged over one."
  }

  assert {
    condition     = alltrue([for k, p in google_monitoring_alert_policy.availability : p.severity == (strcontains(k, "page") ? "CRITICAL" : "WARNING")])
    error_message = "Pages must be critical, tickets warnings."
  }

  assert {
    condition     = alltrue([for p in google_monitoring_alert_policy.availability : p.notification_channels == tolist(["projects/example-project/notificationChannels/1"])])
    error_message = "Somebody must hear of it."
  }
}

run "three_days_with_long_lookback" {
  command = plan

  variables { long_lookback = true }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.availability["external-ticket-1"].conditions[0].condition_prometheus_query_language[0].query, "[259200s]")
    error_message = "With long look-backs the window must be the one of slo.yml."
  }
}

run "latency_by_slices" {
  command = plan

  assert {
    condition     = alltrue([for s in google_monitoring_slo.latency : s.goal <= 0.999 && s.goal == 0.995 && s.rolling_period_days == 30])
    error_message = "The goal must be the share of good slices, within what Cloud Monitoring takes."
  }

  assert {
    condition     = google_monitoring_slo.latency["external"].windows_based_sli[0].window_period == "60s" && google_monitoring_slo.latency["external"].windows_based_sli[0].good_total_ratio_threshold[0].threshold == var.slo.objectives.latency.percentile / 100 && google_monitoring_slo.latency["external"].windows_based_sli[0].good_total_ratio_threshold[0].performance[0].distribution_cut[0].range[0].max == var.slo.objectives.latency.threshold_ms
    error_message = "A slice must be good when its percentile is below the threshold of slo.yml."
  }

  assert {
    condition     = strcontains(google_monitoring_slo.latency["internal"].windows_based_sli[0].good_total_ratio_threshold[0].performance[0].distribution_cut[0].distribution_filter, "loadbalancing.googleapis.com/https/internal/total_latencies")
    error_message = "The internal load balancer must be judged by its own latency."
  }

  assert {
    condition     = length(google_monitoring_alert_policy.latency) == 8 && google_monitoring_alert_policy.latency["external-page-0"].combiner == "AND" && length(google_monitoring_alert_policy.latency["external-page-0"].conditions) == 2
    error_message = "Both windows must burn before anybody is woken."
  }

  assert {
    condition     = google_monitoring_alert_policy.latency["external-page-0"].conditions[0].condition_threshold[0].filter == "select_slo_burn_rate(\"projects/1/services/skfleet/serviceLevelObjectives/latency\", \"3600s\")" && google_monitoring_alert_policy.latency["external-page-0"].conditions[0].condition_threshold[0].threshold_value == 14.4
    error_message = "The burn rate must be compared with the factor."
  }
}

run "memory_uptime_and_rollouts" {
  command = plan

  assert {
    condition     = google_monitoring_alert_policy.health["memory"].conditions[0].condition_prometheus_query_language[0].query == "max by (fleet, instance_name) (skfleet_memory_bytes{fleet=~\"skfleet-europe-west1\"}) > ${var.slo.objectives.memory.max_mib * 1024 * 1024}"
    error_message = "Memory must be judged per VM against slo.yml."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.health["converge_failures"].conditions[0].condition_prometheus_query_language[0].query, "logging_googleapis_com:user_skfleet_converge_failures{monitored_resource=\"gce_instance\"}")
    error_message = "VMs that fail to converge must be alerted on by the metric of their log."
  }

  assert {
    condition = alltrue([
      for p in google_monitoring_alert_policy.health :
      p.severity == (endswith(p.display_name, "page") ? "CRITICAL" : "WARNING") && p.notification_channels == tolist(["projects/example-project/notificationChannels/1"])
    ])
    error_message = "Every alert on VMs must reach somebody, with its severity."
  }

  assert {
    condition     = [for c in google_monitoring_uptime_check_config.this[0].http_check[0].accepted_response_status_codes : c.status_value] == [401] && google_monitoring_uptime_check_config.this[0].http_check[0].headers["X-Requested-With"] == "XMLHttpRequest" && google_monitoring_uptime_check_config.this[0].content_matchers[0].matcher == "NOT_CONTAINS_STRING" && google_monitoring_uptime_check_config.this[0].http_check[0].validate_ssl
    error_message = "Outside IAP's own answers nothing may pass, least of all a 200."
  }

  assert {
    condition     = strcontains(google_monitoring_alert_policy.uptime[0].conditions[0].condition_threshold[0].filter, "skfleet-external-1")
    error_message = "The uptime alert must speak of this check."
  }

  assert {
    condition     = join(",", sort(keys(google_logging_metric.rollouts))) == "desired,environment,evidence" && strcontains(google_logging_metric.rollouts["desired"].filter, "resource.labels.bucket_name=\"example-project-skfleet\"") && google_logging_metric.rollouts["desired"].label_extractors["fleet"] != ""
    error_message = "Rollouts must be counted from the bucket's audit log, by fleet."
  }

  assert {
    condition     = length(jsondecode(google_monitoring_dashboard.this.dashboard_json).gridLayout.widgets) == 11
    error_message = "The dashboard must show both load balancers and the VMs."
  }
}

run "audit_retention_and_budget" {
  command = plan

  variables {
    budget = { billing_account = "000000-000000-000000", amount = 300.5 }
  }

  assert {
    condition     = toset([for c in google_project_iam_audit_config.this["storage.googleapis.com"].audit_log_config : c.log_type]) == toset(["DATA_WRITE"]) && toset([for c in google_project_iam_audit_config.this["iap.googleapis.com"].audit_log_config : c.log_type]) == toset(["DATA_READ", "DATA_WRITE"])
    error_message = "Writes of the bucket and passages of IAP must be recorded."
  }

  assert {
    condition     = google_logging_project_bucket_config.default[0].retention_days == 30 && google_logging_project_bucket_config.default[0].bucket_id == "_Default"
    error_message = "Logs must be kept as long as agreed."
  }

  assert {
    condition     = google_billing_budget.this[0].amount[0].specified_amount[0].units == "300" && google_billing_budget.this[0].budget_filter[0].projects == toset(["projects/123456789012"]) && length(google_billing_budget.this[0].threshold_rules) == 3
    error_message = "The budget must watch this project, in whole units."
  }
}

run "a_second_fleet_of_a_project_leaves_its_settings_alone" {
  command = plan

  variables {
    project_wide = { enabled = false }
    uptime       = null
  }

  assert {
    condition     = length(google_project_iam_audit_config.this) == 0 && length(google_logging_project_bucket_config.default) == 0 && length(google_monitoring_uptime_check_config.this) == 0 && length(google_billing_budget.this) == 0
    error_message = "What exists once a project must have one owner."
  }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "-" }
}

run "refuses_an_objective_without_a_budget" {
  command         = plan
  expect_failures = [var.slo]
  variables { slo = merge(yamldecode(file("../../../slo.yml")), { objectives = merge(yamldecode(file("../../../slo.yml")).objectives, { availability = { target = 1 } }) }) }
}

run "refuses_a_goal_that_google_refuses" {
  command         = plan
  expect_failures = [var.slo]
  variables { slo = merge(yamldecode(file("../../../slo.yml")), { objectives = merge(yamldecode(file("../../../slo.yml")).objectives, { latency = { percentile = 90, threshold_ms = 300, slice_seconds = 60, slices_target = 0.9995 } }) }) }
}

run "refuses_slices_below_a_minute" {
  command         = plan
  expect_failures = [var.slo]
  variables { slo = merge(yamldecode(file("../../../slo.yml")), { objectives = merge(yamldecode(file("../../../slo.yml")).objectives, { latency = { percentile = 90, threshold_ms = 300, slice_seconds = 30, slices_target = 0.995 } }) }) }
}

run "refuses_a_window_without_a_unit" {
  command         = plan
  expect_failures = [var.slo]
  variables { slo = merge(yamldecode(file("../../../slo.yml")), { alerts = { page = [{ long_window = "1", short_window = "5m", factor = 14.4, budget_percent = 2 }] } }) }
}

run "refuses_an_alert_that_can_never_fire" {
  command         = plan
  expect_failures = [var.slo]
  variables { slo = merge(yamldecode(file("../../../slo.yml")), { alerts = { page = [{ long_window = "1h", short_window = "5m", factor = 3000, budget_percent = 2 }] } }) }
}

run "refuses_an_unknown_severity" {
  command         = plan
  expect_failures = [var.slo]
  variables { slo = merge(yamldecode(file("../../../slo.yml")), { alerts = { whisper = [{ long_window = "1h", short_window = "5m", factor = 14.4, budget_percent = 2 }] } }) }
}

run "refuses_an_unknown_edge" {
  command         = plan
  expect_failures = [var.edges]
  variables { edges = { external = { kind = "sideways", url_map = "skfleet-external" } } }
}

run "refuses_an_address_that_is_none" {
  command         = plan
  expect_failures = [var.channels]
  variables { channels = { emails = { oncall = "oncall" } } }
}

run "refuses_a_channel_that_is_none" {
  command         = plan
  expect_failures = [var.channels]
  variables { channels = { existing = ["pagerduty"] } }
}

run "refuses_a_metric_name_that_prometheus_refuses" {
  command         = plan
  expect_failures = [var.memory_metric]
  variables { memory_metric = "memory-bytes" }
}

run "refuses_a_retention_out_of_bounds" {
  command         = plan
  expect_failures = [var.project_wide]
  variables { project_wide = { log_retention_days = 0 } }
}

run "refuses_a_budget_of_nothing" {
  command         = plan
  expect_failures = [var.budget]
  variables { budget = { billing_account = "000000-000000-000000", amount = 0 } }
}

run "refuses_an_answer_that_is_not_the_last" {
  command         = plan
  expect_failures = [var.uptime]
  variables { uptime = { host = "predict.example.com", status = 302 } }
}
