mock_provider "google" {
  override_during = plan

  mock_resource "google_compute_region_backend_service" {
    defaults = { id = "projects/example-project/regions/r/backendServices/skfleet-internal", generated_id = 987654321098765432 }
  }
  mock_resource "google_compute_region_ssl_policy" {
    defaults = { id = "projects/example-project/regions/r/sslPolicies/skfleet-internal" }
  }
  mock_resource "google_compute_region_url_map" {
    defaults = { id = "projects/example-project/regions/r/urlMaps/skfleet-internal" }
  }
  mock_resource "google_compute_region_target_https_proxy" {
    defaults = { id = "projects/example-project/regions/r/targetHttpsProxies/skfleet-internal" }
  }
  mock_resource "google_compute_address" {
    defaults = { id = "projects/example-project/regions/r/addresses/skfleet", address = "10.10.0.9" }
  }
  mock_resource "google_compute_forwarding_rule" {
    defaults = { self_link = "https://www.googleapis.com/compute/v1/projects/example-project/regions/r/forwardingRules/skfleet-internal" }
  }
}

variables {
  project = { id = "example-project", number = "123456789012" }
  name    = "skfleet"
  edge    = yamldecode(file("../../../edge.yml"))
  network = "projects/example-project/global/networks/skfleet"
  regions = {
    europe-west1 = {
      instance_group   = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/instanceGroups/skfleet"
      subnetwork       = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/subnetworks/skfleet"
      proxy_subnetwork = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/subnetworks/skfleet-proxy"
      certificates     = ["https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/sslCertificates/internal"]
    }
  }
}

run "internal_managed_over_tls" {
  command = plan

  assert {
    condition     = alltrue([for b in google_compute_region_backend_service.this : b.load_balancing_scheme == "INTERNAL_MANAGED"]) && alltrue([for f in google_compute_forwarding_rule.this : f.load_balancing_scheme == "INTERNAL_MANAGED" && f.port_range == "443" && f.allow_global_access])
    error_message = "Backend and rule must bear the scheme INTERNAL_MANAGED, over 443 alone."
  }

  assert {
    condition     = alltrue([for b in google_compute_region_backend_service.this : one(b.backend).balancing_mode == "RATE" && one(b.backend).max_rate_per_instance == 100 && one(b.backend).capacity_scaler == 1])
    error_message = "The group must be balanced in the same mode as behind the external load balancer."
  }

  assert {
    condition     = google_compute_region_backend_service.this["europe-west1"].port_name == "http-internal" && !google_compute_region_backend_service.this["europe-west1"].iap[0].enabled
    error_message = "Without IAP the traffic belongs to the internal listener."
  }

  assert {
    condition     = google_compute_region_ssl_policy.this["europe-west1"].min_tls_version == "TLS_1_2" && length(google_compute_region_target_https_proxy.this["europe-west1"].ssl_certificates) == 1
    error_message = "TLS 1.2 at least, with the certificate given."
  }

  assert {
    condition     = google_compute_region_health_check.readiness["europe-west1"].http_health_check[0].port == var.edge.listeners.health.port && google_compute_region_health_check.readiness["europe-west1"].http_health_check[0].request_path == "/readyz"
    error_message = "Readiness must be asked on the health port."
  }

  assert {
    condition     = google_compute_region_backend_service.this["europe-west1"].connection_draining_timeout_sec >= google_compute_region_backend_service.this["europe-west1"].timeout_sec
    error_message = "Draining must last at least as long as a request may."
  }

  assert {
    condition     = google_compute_region_url_map.this["europe-west1"].default_route_action[0].retry_policy[0].num_retries == var.edge.retries.attempts && google_compute_region_url_map.this["europe-west1"].default_route_action[0].timeout[0].seconds == "5"
    error_message = "Retries and timeouts must be those of edge.yml."
  }

  assert {
    condition     = google_compute_region_backend_service.this["europe-west1"].outlier_detection[0].consecutive_gateway_failure == var.edge.outliers.consecutive_gateway_failures && google_compute_region_backend_service.this["europe-west1"].outlier_detection[0].max_ejection_percent == 50
    error_message = "A VM that answers nobody must be taken out as edge.yml says."
  }
}

run "a_private_name" {
  command = plan

  assert {
    condition     = google_dns_managed_zone.this.visibility == "private" && google_dns_managed_zone.this.dns_name == "skfleet.internal." && google_dns_record_set.this.name == "skfleet.internal."
    error_message = "The name must live in a private zone."
  }

  assert {
    condition     = google_dns_record_set.this.rrdatas == tolist(["10.10.0.9"]) && length(google_dns_record_set.this.routing_policy) == 0
    error_message = "In one region the name must be the address."
  }

  assert {
    condition     = output.url == "https://skfleet.internal" && length(output.iap_audiences) == 0
    error_message = "The name is the callers' audience; without IAP there is none of IAP's."
  }
}

run "two_regions_answer_by_nearness_and_health" {
  command = plan

  variables {
    regions = {
      for r in ["europe-west1", "us-central1"] : r => {
        instance_group       = "https://www.googleapis.com/compute/v1/projects/example-project/regions/${r}/instanceGroups/skfleet"
        subnetwork           = "https://www.googleapis.com/compute/v1/projects/example-project/regions/${r}/subnetworks/skfleet"
        proxy_subnetwork     = "https://www.googleapis.com/compute/v1/projects/example-project/regions/${r}/subnetworks/skfleet-proxy"
        managed_certificates = ["projects/example-project/locations/${r}/certificates/internal"]
      }
    }
  }

  assert {
    condition     = google_dns_record_set.this.rrdatas == null && length(google_dns_record_set.this.routing_policy[0].geo) == 2 && alltrue([for g in google_dns_record_set.this.routing_policy[0].geo : g.health_checked_targets[0].internal_load_balancers[0].load_balancer_type == "regionalL7ilb"])
    error_message = "In two regions the name must follow the health of both load balancers."
  }

  assert {
    condition     = length(google_compute_forwarding_rule.this) == 2 && alltrue([for p in google_compute_region_target_https_proxy.this : length(p.certificate_manager_certificates) == 1 && p.ssl_certificates == null])
    error_message = "Every region needs a load balancer with its own certificate."
  }
}

run "an_allow_list_is_a_firewall_on_the_load_balancer" {
  command = plan

  variables { allowed_ranges = ["10.10.0.0/24"] }

  assert {
    condition     = google_compute_region_network_firewall_policy_rule.allow["europe-west1"].match[0].src_ip_ranges == tolist(["10.10.0.0/24"]) && google_compute_region_network_firewall_policy_rule.allow["europe-west1"].target_type == "INTERNAL_MANAGED_LB" && google_compute_region_network_firewall_policy_rule.allow["europe-west1"].priority < google_compute_region_network_firewall_policy_rule.deny["europe-west1"].priority
    error_message = "Clients on the list must pass before all others are refused."
  }

  assert {
    condition     = google_compute_region_network_firewall_policy_rule.deny["europe-west1"].action == "deny" && length(google_compute_region_network_firewall_policy_rule.deny["europe-west1"].target_forwarding_rules) == 1
    error_message = "The refusal must speak of this load balancer alone."
  }
}

run "no_allow_list_no_policy" {
  command = plan

  assert {
    condition     = length(google_compute_region_network_firewall_policy.clients) == 0 && length(google_compute_region_network_firewall_policy_association.clients) == 0
    error_message = "Without a list there must be no policy."
  }
}

run "iap_inside_speaks_to_the_iap_listener" {
  command = plan

  variables { iap = { enabled = true, members = { users = "group:users@example.com" } } }

  assert {
    condition     = google_compute_region_backend_service.this["europe-west1"].iap[0].enabled && google_compute_region_backend_service.this["europe-west1"].port_name == "http-iap"
    error_message = "With IAP the traffic belongs to the listener that demands its header."
  }

  assert {
    condition     = output.iap_audiences["europe-west1"] == ["/projects/123456789012/region/europe-west1/backendServices/987654321098765432", "/projects/123456789012/europe-west1/backendServices/987654321098765432"]
    error_message = "A regional audience must be known in both forms."
  }

  assert {
    condition     = google_iap_web_region_backend_service_iam_member.accessor["europe-west1-users"].role == "roles/iap.httpsResourceAccessor"
    error_message = "Accessors must be granted on the regional service."
  }
}

run "refuses_a_region_without_a_proxy_only_subnet" {
  command         = plan
  expect_failures = [google_compute_forwarding_rule.this]
  variables {
    regions = {
      europe-west1 = {
        instance_group   = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/instanceGroups/skfleet"
        subnetwork       = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/subnetworks/skfleet"
        proxy_subnetwork = ""
        certificates     = ["https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/sslCertificates/internal"]
      }
    }
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

run "refuses_a_bad_host_name" {
  command         = plan
  expect_failures = [var.hostname]
  variables { hostname = "skfleet" }
}

run "refuses_no_region" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = {} }
}

run "refuses_a_region_without_a_certificate" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { instance_group = "g", subnetwork = "s", proxy_subnetwork = "p" } } }
}

run "refuses_an_allow_list_of_everyone" {
  command         = plan
  expect_failures = [var.allowed_ranges]
  variables { allowed_ranges = ["0.0.0.0/0"] }
}

run "refuses_the_public" {
  command         = plan
  expect_failures = [var.iap]
  variables { iap = { enabled = true, members = { everyone = "allUsers" } } }
}

run "refuses_members_of_an_iap_that_is_off" {
  command         = plan
  expect_failures = [var.iap]
  variables { iap = { members = { users = "group:users@example.com" } } }
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
    condition     = !google_compute_region_backend_service.this["europe-west1"].log_config[0].enable && google_compute_region_backend_service.this["europe-west1"].log_config[0].sample_rate > 0
    error_message = "The provider does not send a rate of 0: logging must be switched off instead."
  }
}

run "success_rates_eject_nobody" {
  command = plan

  assert {
    condition     = google_compute_region_backend_service.this["europe-west1"].outlier_detection[0].enforcing_success_rate > 0 && google_compute_region_backend_service.this["europe-west1"].outlier_detection[0].success_rate_minimum_hosts > 10000
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

run "refuses_an_ejection_of_everybody" {
  command = plan

  variables { edge = merge(yamldecode(file("../../../edge.yml")), { outliers = { consecutive_gateway_failures = 5, interval_s = 1, ejection_s = 10, max_ejection_percent = 100 } }) }

  expect_failures = [var.edge]
}
