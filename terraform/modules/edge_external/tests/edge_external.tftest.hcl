mock_provider "google" {
  override_during = plan

  mock_resource "google_compute_backend_service" {
    defaults = { id = "projects/example-project/global/backendServices/skfleet-external", generated_id = 1234567890123456789 }
  }
  mock_resource "google_compute_security_policy" {
    defaults = { id = "projects/example-project/global/securityPolicies/skfleet-external" }
  }
  mock_resource "google_compute_ssl_policy" {
    defaults = { id = "projects/example-project/global/sslPolicies/skfleet-external" }
  }
  mock_resource "google_compute_url_map" {
    defaults = { id = "projects/example-project/global/urlMaps/skfleet" }
  }
  mock_resource "google_compute_target_https_proxy" {
    defaults = { id = "projects/example-project/global/targetHttpsProxies/skfleet" }
  }
  mock_resource "google_compute_target_http_proxy" {
    defaults = { id = "projects/example-project/global/targetHttpProxies/skfleet" }
  }
  mock_resource "google_compute_managed_ssl_certificate" {
    defaults = { self_link = "https://www.googleapis.com/compute/v1/projects/example-project/global/sslCertificates/managed" }
  }
  mock_resource "google_compute_global_address" {
    defaults = { id = "projects/example-project/global/addresses/skfleet", address = "203.0.113.10" }
  }
}

variables {
  project  = { id = "example-project", number = "123456789012" }
  name     = "skfleet"
  edge     = yamldecode(file("../../../edge.yml"))
  domains  = ["predict.example.com"]
  backends = { europe-west1 = { instance_group = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/instanceGroups/skfleet" } }
  iap      = { members = { users = "group:users@example.com" } }
}

run "external_managed_behind_iap" {
  command = plan

  assert {
    condition     = google_compute_backend_service.this.load_balancing_scheme == "EXTERNAL_MANAGED" && google_compute_global_forwarding_rule.https.load_balancing_scheme == "EXTERNAL_MANAGED" && google_compute_global_forwarding_rule.redirect.load_balancing_scheme == "EXTERNAL_MANAGED"
    error_message = "Backend and rules must bear the scheme EXTERNAL_MANAGED."
  }

  assert {
    condition     = google_compute_backend_service.this.iap[0].enabled && google_compute_backend_service.this.port_name == "http-iap" && google_compute_backend_service.this.protocol == "HTTP"
    error_message = "IAP must be on, in front of the listener that demands its header."
  }

  assert {
    condition     = alltrue([for m in google_iap_web_backend_service_iam_member.accessor : m.role == "roles/iap.httpsResourceAccessor" && !startswith(m.member, "all")])
    error_message = "Accessors must be named, never the public."
  }

  assert {
    condition     = alltrue([for b in google_compute_backend_service.this.backend : b.balancing_mode == "RATE" && b.max_rate_per_instance == 100 && b.capacity_scaler == 1])
    error_message = "A regional group takes a rate per VM, in the mode of the internal load balancer."
  }

  assert {
    condition     = google_compute_backend_service.this.security_policy == "projects/example-project/global/securityPolicies/skfleet-external" && google_compute_backend_service.this.log_config[0].enable
    error_message = "Cloud Armor must stand before it, and requests must be logged."
  }

  assert {
    condition     = google_compute_health_check.readiness.http_health_check[0].port == var.edge.listeners.health.port && google_compute_health_check.readiness.http_health_check[0].request_path == "/readyz"
    error_message = "Readiness must be asked on the health port: a probe carries no IAP header."
  }

  assert {
    condition     = output.iap_audience == "/projects/123456789012/global/backendServices/1234567890123456789"
    error_message = "The audience must be made of the project's number and the generated id, to the last digit."
  }
}

run "tls_and_the_redirect" {
  command = plan

  assert {
    condition     = contains(["TLS_1_2", "TLS_1_3"], google_compute_ssl_policy.this.min_tls_version) && google_compute_ssl_policy.this.profile == "MODERN" && google_compute_target_https_proxy.this.ssl_policy == "projects/example-project/global/sslPolicies/skfleet-external"
    error_message = "TLS 1.2 at least, by a policy that the proxy uses."
  }

  assert {
    condition     = google_compute_global_forwarding_rule.redirect.port_range == "80" && google_compute_url_map.redirect.default_url_redirect[0].https_redirect && google_compute_url_map.redirect.default_service == null && google_compute_url_map.redirect.default_url_redirect[0].redirect_response_code == "PERMANENT_REDIRECT"
    error_message = "Port 80 must redirect and serve nothing."
  }

  assert {
    condition     = google_compute_global_forwarding_rule.https.port_range == "443" && length(google_compute_target_https_proxy.this.ssl_certificates) == 1
    error_message = "Port 443 must have a certificate."
  }
}

run "timeouts_and_retries_are_those_of_edge_yml" {
  command = plan

  assert {
    condition     = google_compute_backend_service.this.connection_draining_timeout_sec >= google_compute_backend_service.this.timeout_sec && google_compute_backend_service.this.timeout_sec == var.edge.timeouts.request_s
    error_message = "Draining must last at least as long as a request may."
  }

  assert {
    condition     = google_compute_url_map.this.default_route_action[0].retry_policy[0].num_retries == var.edge.retries.attempts && google_compute_url_map.this.default_route_action[0].retry_policy[0].retry_conditions == tolist(var.edge.retries.conditions) && google_compute_url_map.this.default_route_action[0].retry_policy[0].per_try_timeout[0].seconds == "1"
    error_message = "Retries must be those that the local fleet uses."
  }

  assert {
    condition     = google_compute_backend_service.this.outlier_detection[0].consecutive_gateway_failure == var.edge.outliers.consecutive_gateway_failures && google_compute_backend_service.this.outlier_detection[0].base_ejection_time[0].seconds == var.edge.outliers.ejection_s && google_compute_backend_service.this.outlier_detection[0].enforcing_consecutive_errors == 0
    error_message = "A VM that answers nobody must be taken out as in the local fleet, and one that answers 500 must not."
  }

  assert {
    condition     = google_compute_url_map.this.default_route_action[0].timeout[0].seconds == "5" && google_compute_target_https_proxy.this.http_keep_alive_timeout_sec == yamldecode(file("../../../edge.yml")).timeouts.client_keepalive_s
    error_message = "Timeouts must be those that the local fleet uses."
  }
}

run "per_try_timeouts_below_a_second" {
  command = plan

  variables {
    edge = merge(yamldecode(file("../../../edge.yml")), { retries = { conditions = ["5xx"], attempts = 1, per_try_timeout_s = 1.5 } })
  }

  assert {
    condition     = google_compute_url_map.this.default_route_action[0].retry_policy[0].per_try_timeout[0].seconds == "1" && google_compute_url_map.this.default_route_action[0].retry_policy[0].per_try_timeout[0].nanos == 500000000
    error_message = "Parts of a second must become nanoseconds."
  }
}

run "armor_by_default" {
  command = plan

  assert {
    condition     = one([for r in google_compute_security_policy.this.rule : r.action if r.priority == 2147483647]) == "allow"
    error_message = "There must be a default rule; without an allow list IAP decides."
  }

  assert {
    condition     = length([for r in google_compute_security_policy.this.rule : r if r.action == "throttle" && contains(r.rate_limit_options[*].exceed_action, "deny(429)") && contains(r.rate_limit_options[*].enforce_on_key, "IP")]) == 1
    error_message = "Every client address must be rate-limited, with 429, which is not retried."
  }

  assert {
    condition     = length([for r in google_compute_security_policy.this.rule : r if r.action == "deny(403)"]) == 7 && length(distinct([for r in google_compute_security_policy.this.rule : r.priority])) == length(google_compute_security_policy.this.rule)
    error_message = "The preconfigured rules must refuse, each at a priority of its own."
  }

  assert {
    condition     = max([for r in google_compute_security_policy.this.rule : r.priority if startswith(r.action, "deny") && r.priority < 2147483647]...) < min([for r in google_compute_security_policy.this.rule : r.priority if r.action == "throttle"]...)
    error_message = "Known attacks must be refused before the rate limit lets them pass."
  }
}

run "armor_with_an_allow_list" {
  command = plan

  variables {
    armor = {
      allowed_ranges = [for i in range(12) : "198.51.100.${i}/32"]
      exempt_ranges  = ["203.0.113.7/32"]
    }
  }

  assert {
    condition     = one([for r in google_compute_security_policy.this.rule : r.action if r.priority == 2147483647]) == "deny(403)"
    error_message = "With an allow list everyone else must be refused."
  }

  assert {
    condition     = length([for r in google_compute_security_policy.this.rule : r if r.action == "throttle"]) == 2 && alltrue([for r in google_compute_security_policy.this.rule : alltrue([for c in r.match[0].config : length(c.src_ip_ranges) <= 10])])
    error_message = "A rule takes ten ranges: the list must be split."
  }

  assert {
    condition     = max([for r in google_compute_security_policy.this.rule : r.priority if r.action == "allow"]...) < min([for r in google_compute_security_policy.this.rule : r.priority if r.action == "throttle"]...)
    error_message = "Exempt addresses must pass before the rate limit."
  }
}

run "certificates_of_your_own_oauth_and_dns" {
  command = plan

  variables {
    certificates     = ["https://www.googleapis.com/compute/v1/projects/example-project/global/sslCertificates/ours"]
    dns_zone         = "example-com"
    iap_oauth_client = { client_id = "id.apps.example.com", client_secret = "only-for-this-test" }
    iap = {
      members              = { users = "group:users@example.com" }
      programmatic_clients = ["123.apps.example.com"]
    }
  }

  assert {
    condition     = length(google_compute_managed_ssl_certificate.this) == 0 && google_compute_target_https_proxy.this.ssl_certificates == tolist(["https://www.googleapis.com/compute/v1/projects/example-project/global/sslCertificates/ours"])
    error_message = "Given certificates must replace managed ones."
  }

  assert {
    condition     = google_dns_record_set.this["predict.example.com"].name == "predict.example.com." && google_dns_record_set.this["predict.example.com"].rrdatas == tolist(["203.0.113.10"])
    error_message = "DNS must point at the address."
  }

  assert {
    condition     = nonsensitive(google_compute_backend_service.this.iap[0].oauth2_client_id) == "id.apps.example.com" && google_compute_backend_service.this.iap[0].enabled
    error_message = "IAP must use the client given."
  }

  assert {
    condition     = google_iap_settings.this[0].access_settings[0].oauth_settings[0].programmatic_clients == tolist(["123.apps.example.com"]) && google_iap_settings.this[0].name == "projects/123456789012/iap_web/compute/services/skfleet-external"
    error_message = "Programmatic clients must be set on this backend service."
  }
}

run "two_regions_and_two_domains" {
  command = plan

  variables {
    domains = ["predict.example.com", "models.example.com"]
    backends = {
      europe-west1 = { instance_group = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/instanceGroups/skfleet" }
      us-central1  = { instance_group = "https://www.googleapis.com/compute/v1/projects/example-project/regions/us-central1/instanceGroups/skfleet" }
    }
  }

  assert {
    condition     = length(google_compute_backend_service.this.backend) == 2
    error_message = "One global backend service must hold every region's group."
  }

  assert {
    condition     = length(google_compute_managed_ssl_certificate.this) == 2 && length(distinct([for c in google_compute_managed_ssl_certificate.this : c.name])) == 2 && alltrue([for c in google_compute_managed_ssl_certificate.this : length(c.managed[0].domains) == 1])
    error_message = "Every domain needs a certificate of its own."
  }

  assert {
    condition     = output.url == "https://predict.example.com"
    error_message = "The first domain is the service's own."
  }
}

run "refuses_a_project_id_for_its_number" {
  command         = plan
  expect_failures = [var.project]
  variables { project = { id = "example-project", number = "example-project" } }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "-" }
}

run "refuses_a_name_without_a_dot" {
  command         = plan
  expect_failures = [var.domains]
  variables { domains = ["predict"] }
}

run "refuses_more_certificates_than_a_proxy_holds" {
  command         = plan
  expect_failures = [var.domains]
  variables { domains = [for i in range(16) : "m${i}.example.com"] }
}

run "refuses_a_certificate_that_is_not_global" {
  command         = plan
  expect_failures = [var.certificates]
  variables { certificates = ["https://www.googleapis.com/compute/v1/projects/p/regions/r/sslCertificates/ours"] }
}

run "refuses_no_backend" {
  command         = plan
  expect_failures = [var.backends]
  variables { backends = {} }
}

run "refuses_draining_shorter_than_a_request" {
  command         = plan
  expect_failures = [var.edge]
  variables { edge = merge(yamldecode(file("../../../edge.yml")), { timeouts = { request_s = 5, drain_s = 4, client_keepalive_s = 600 } }) }
}

run "refuses_retries_that_outlast_the_request" {
  command         = plan
  expect_failures = [var.edge]
  variables { edge = merge(yamldecode(file("../../../edge.yml")), { retries = { conditions = ["5xx"], attempts = 5, per_try_timeout_s = 1 } }) }
}

run "refuses_a_retry_condition_that_google_lacks" {
  command         = plan
  expect_failures = [var.edge]
  variables { edge = merge(yamldecode(file("../../../edge.yml")), { retries = { conditions = ["reset"], attempts = 1, per_try_timeout_s = 1 } }) }
}

run "refuses_a_probe_slower_than_its_interval" {
  command         = plan
  expect_failures = [var.edge]
  variables { edge = merge(yamldecode(file("../../../edge.yml")), { health_checks = { readiness = { path = "/readyz", interval_s = 1, timeout_s = 2, healthy_threshold = 2, unhealthy_threshold = 2 } } }) }
}

run "logs_nothing_at_a_rate_of_nothing" {
  command = plan
  variables { log_sample_rate = 0 }

  assert {
    condition     = !google_compute_backend_service.this.log_config[0].enable && google_compute_backend_service.this.log_config[0].sample_rate > 0
    error_message = "The provider does not send a rate of 0: logging must be switched off instead."
  }
}

run "success_rates_eject_nobody" {
  command = plan

  assert {
    condition     = google_compute_backend_service.this.outlier_detection[0].enforcing_success_rate > 0 && google_compute_backend_service.this.outlier_detection[0].success_rate_minimum_hosts > 10000
    error_message = "The provider does not send a 0, which Google reads as 100: ejection by success rate must be off by its minimum of VMs."
  }
}

run "refuses_a_rate_of_nothing" {
  command         = plan
  expect_failures = [var.max_rate_per_instance]
  variables { max_rate_per_instance = 0 }
}

run "refuses_a_sample_rate_that_is_no_share" {
  command         = plan
  expect_failures = [var.log_sample_rate]
  variables { log_sample_rate = 2 }
}

run "refuses_the_public" {
  command         = plan
  expect_failures = [var.iap]
  variables { iap = { members = { everyone = "allUsers" } } }
}

run "refuses_half_an_oauth_client" {
  command         = plan
  expect_failures = [var.iap_oauth_client]
  variables { iap_oauth_client = { client_id = "id.apps.example.com" } }
}

run "refuses_an_allow_list_of_everyone" {
  command         = plan
  expect_failures = [var.armor]
  variables { armor = { allowed_ranges = ["0.0.0.0/0"] } }
}

run "refuses_an_unknown_sensitivity" {
  command         = plan
  expect_failures = [var.armor]
  variables { armor = { waf = { "sqli-v33-stable" = { sensitivity = 5 } } } }
}

run "refuses_a_rate_interval_that_armor_lacks" {
  command         = plan
  expect_failures = [var.armor]
  variables { armor = { rate_limit = { interval_s = 61 } } }
}

run "refuses_an_ejection_of_everybody" {
  command = plan

  variables { edge = merge(yamldecode(file("../../../edge.yml")), { outliers = { consecutive_gateway_failures = 5, interval_s = 1, ejection_s = 10, max_ejection_percent = 100 } }) }

  expect_failures = [var.edge]
}
