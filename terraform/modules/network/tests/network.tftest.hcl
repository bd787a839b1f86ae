mock_provider "google" {
  override_during = plan

  mock_resource "google_compute_address" {
    defaults = { self_link = "https://www.googleapis.com/compute/v1/projects/p/regions/r/addresses/a", address = "203.0.113.7" }
  }
}

variables {
  project_id = "example-project"
  name       = "skfleet"
  listeners  = yamldecode(file("../../../edge.yml")).listeners
  regions = {
    europe-west1 = { range = "10.10.0.0/24", proxy_range = "10.10.8.0/23" }
  }
  service_accounts = { fleet = ["fleet@example-project.iam.gserviceaccount.com"] }
}

run "firewalls_admit_exact_ranges_per_listener" {
  command = plan

  assert {
    condition     = google_compute_firewall.iap.source_ranges == toset(["130.211.0.0/22", "35.191.0.0/16"]) && one(google_compute_firewall.iap.allow).ports == tolist([tostring(var.listeners.iap.port)])
    error_message = "The IAP listener must admit Google's front ends alone, on its own port."
  }

  assert {
    condition     = google_compute_firewall.internal.source_ranges == toset(["10.10.8.0/23"]) && one(google_compute_firewall.internal.allow).ports == tolist([tostring(var.listeners.internal.port)])
    error_message = "The internal listener must admit the proxy-only subnet alone, on its own port."
  }

  assert {
    condition     = google_compute_firewall.health.source_ranges == toset(["130.211.0.0/22", "35.191.0.0/16"]) && one(google_compute_firewall.health.allow).ports == tolist([tostring(var.listeners.health.port)])
    error_message = "The health listener must admit Google's probes alone, on its own port."
  }

  assert {
    condition     = google_compute_firewall.ssh_iap.source_ranges == toset(["35.235.240.0/20"]) && one(google_compute_firewall.ssh_iap.allow).ports == tolist(["22"])
    error_message = "ssh must come from IAP's range alone."
  }

  assert {
    condition     = length(google_compute_firewall.ssh_runner) == 0
    error_message = "Without a runner named there must be no rule for one."
  }

  assert {
    condition = alltrue([
      for f in [google_compute_firewall.iap, google_compute_firewall.internal, google_compute_firewall.health, google_compute_firewall.ssh_iap] :
      !contains(f.source_ranges, "0.0.0.0/0") && length(f.target_service_accounts) > 0 && f.target_tags == null && f.direction == "INGRESS"
    ])
    error_message = "No rule may admit everyone, and every rule must speak of service accounts."
  }

  assert {
    condition     = alltrue([for f in [google_compute_firewall.iap, google_compute_firewall.internal, google_compute_firewall.health] : one(f.allow).protocol == "tcp" && length(f.allow) == 1])
    error_message = "A listener's rule must open one TCP port."
  }
}

run "subnets_are_private_and_logged" {
  command = plan

  assert {
    condition     = alltrue([for s in google_compute_subnetwork.this : s.private_ip_google_access && length(s.log_config) == 1])
    error_message = "VM subnets need private Google access and flow logs."
  }

  assert {
    condition     = alltrue([for s in google_compute_subnetwork.proxy : s.purpose == "REGIONAL_MANAGED_PROXY" && s.role == "ACTIVE"])
    error_message = "Proxy-only subnets must be active regional ones."
  }

  assert {
    condition     = google_compute_network.this.auto_create_subnetworks == false
    error_message = "Subnets must be ours alone."
  }

  assert {
    condition     = google_compute_router_nat.this["europe-west1"].nat_ip_allocate_option == "AUTO_ONLY" && google_compute_router_nat.this["europe-west1"].source_subnetwork_ip_ranges_to_nat == "LIST_OF_SUBNETWORKS"
    error_message = "NAT must serve the VM subnet, with Google's addresses unless some are reserved."
  }

  assert {
    condition     = length(google_compute_router_nat.this["europe-west1"].nat_ips) == 0
    error_message = "Without reserved addresses the list must be written, empty: left out, Google keeps the ones it had."
  }
}

run "two_regions_and_reserved_addresses" {
  command = plan

  variables {
    regions = {
      europe-west1 = { range = "10.10.0.0/24", proxy_range = "10.10.8.0/23", nat = { addresses = 2 } }
      us-central1  = { range = "10.20.0.0/24", proxy_range = "10.20.8.0/23", nat = { enabled = false } }
    }
  }

  assert {
    condition     = length(google_compute_subnetwork.this) == 2 && length(google_compute_subnetwork.proxy) == 2
    error_message = "Every region needs its two subnets."
  }

  assert {
    condition     = google_compute_firewall.internal.source_ranges == toset(["10.10.8.0/23", "10.20.8.0/23"])
    error_message = "The internal listener must admit every region's proxies."
  }

  assert {
    condition     = join(",", keys(google_compute_router_nat.this)) == "europe-west1" && google_compute_router_nat.this["europe-west1"].nat_ip_allocate_option == "MANUAL_ONLY" && length(google_compute_address.nat) == 2
    error_message = "NAT must exist where it is enabled and use the reserved addresses."
  }

  assert {
    condition     = length(output.nat_addresses["europe-west1"]) == 2
    error_message = "Reserved addresses must be told."
  }
}

run "a_runner_may_ssh_from_inside" {
  command = plan

  variables {
    service_accounts = {
      fleet       = ["fleet@example-project.iam.gserviceaccount.com"]
      ssh_targets = ["loadgen@example-project.iam.gserviceaccount.com"]
      ssh_runners = ["runner@example-project.iam.gserviceaccount.com"]
    }
  }

  assert {
    condition     = google_compute_firewall.ssh_runner[0].source_service_accounts == toset(["runner@example-project.iam.gserviceaccount.com"]) && google_compute_firewall.ssh_runner[0].source_ranges == null
    error_message = "The runner must be known by its service account, not by addresses."
  }

  assert {
    condition     = length(google_compute_firewall.ssh_iap.target_service_accounts) == 2 && length(google_compute_firewall.iap.target_service_accounts) == 1
    error_message = "Further ssh targets must take ssh and no predictions."
  }
}

run "internal_iap_lets_the_proxies_reach_the_iap_listener" {
  command = plan

  variables {
    internal_iap = true
  }

  assert {
    condition     = google_compute_firewall.iap.source_ranges == toset(["130.211.0.0/22", "35.191.0.0/16", "10.10.8.0/23"])
    error_message = "With IAP inside, the IAP listener must admit the proxies, and nothing more."
  }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "Skfleet_" }
}

run "refuses_no_region" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = {} }
}

run "refuses_a_range_that_is_none" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { range = "10.10.0.0", proxy_range = "10.10.8.0/23" } } }
}

run "refuses_a_proxy_subnet_that_google_refuses" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { range = "10.10.0.0/24", proxy_range = "10.10.8.0/27" } } }
}

run "refuses_ranges_used_twice" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { range = "10.10.0.0/24", proxy_range = "10.10.0.0/24" } } }
}

run "refuses_an_unknown_nat_log" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { range = "10.10.0.0/24", proxy_range = "10.10.8.0/23", nat = { log = "SOME" } } } }
}

run "refuses_nat_addresses_without_nat" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { range = "10.10.0.0/24", proxy_range = "10.10.8.0/23", nat = { enabled = false, addresses = 1 } } } }
}

run "refuses_listeners_on_one_port" {
  command         = plan
  expect_failures = [var.listeners]
  variables {
    listeners = {
      iap      = { name = "http-iap", port = 9080 }
      internal = { name = "http-internal", port = 9080 }
      health   = { name = "http-health", port = 9082 }
    }
  }
}

run "a_second_port_is_admitted_while_load_balancers_move" {
  command = plan
  variables {
    listeners = {
      iap      = { name = "http-iap", port = 9080, also = 9180 }
      internal = { name = "http-internal", port = 9081 }
      health   = { name = "http-health", port = 9082, also = 9182 }
    }
  }

  assert {
    condition = [
      one(google_compute_firewall.iap.allow).ports,
      one(google_compute_firewall.internal.allow).ports,
      one(google_compute_firewall.health.allow).ports,
    ] == [tolist(["9080", "9180"]), tolist(["9081"]), tolist(["9082", "9182"])]
    error_message = "The firewall must admit both ports of a listener that moves."
  }
}

run "refuses_a_second_port_that_another_listener_has" {
  command         = plan
  expect_failures = [var.listeners]
  variables {
    listeners = {
      iap      = { name = "http-iap", port = 9080, also = 9081 }
      internal = { name = "http-internal", port = 9081 }
      health   = { name = "http-health", port = 9082 }
    }
  }
}

run "refuses_rules_without_a_target" {
  command         = plan
  expect_failures = [var.service_accounts]
  variables { service_accounts = { fleet = [] } }
}

run "refuses_more_targets_than_a_rule_takes" {
  command         = plan
  expect_failures = [var.service_accounts]
  variables { service_accounts = { fleet = [for i in range(11) : "f${i}@example-project.iam.gserviceaccount.com"] } }
}

run "refuses_flow_logs_of_nothing" {
  command         = plan
  expect_failures = [var.flow_logs]
  variables { flow_logs = { sampling = 0 } }
}
