mock_provider "google" {
  override_during = plan

  mock_resource "google_service_account" {
    defaults = {
      email  = "skfleet-loadgen@example-project.iam.gserviceaccount.com"
      member = "serviceAccount:skfleet-loadgen@example-project.iam.gserviceaccount.com"
      name   = "projects/example-project/serviceAccounts/skfleet-loadgen@example-project.iam.gserviceaccount.com"
    }
  }
}

variables {
  project_id = "example-project"
  name       = "skfleet"
  network    = { id = "projects/example-project/global/networks/skfleet", subnetwork = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/subnetworks/skfleet", zone = "europe-west1-b" }
  generators = { count = 3, image = "projects/example-project/global/images/skfleet-loadgen-1" }
}

run "generators_are_private_capped_and_their_own" {
  command = plan

  assert {
    condition     = alltrue([for i in google_compute_instance.this : length(i.network_interface[0].access_config) == 0 && i.metadata["enable-oslogin"] == "TRUE" && i.metadata["serial-port-enable"] == "FALSE"])
    error_message = "No public address; OS Login on, serial port off."
  }

  assert {
    condition     = alltrue([for i in google_compute_instance.this : i.scheduling[0].max_run_duration[0].seconds == 4 * 3600 && i.scheduling[0].instance_termination_action == "STOP"])
    error_message = "A forgotten generator must stop by itself."
  }

  assert {
    condition     = alltrue([for i in google_compute_instance.this : i.service_account[0].email == "skfleet-loadgen@example-project.iam.gserviceaccount.com" && i.shielded_instance_config[0].enable_secure_boot])
    error_message = "Generators must be shielded and run as their own account."
  }

  assert {
    condition     = length([for i in google_compute_instance.this : i if i.labels["skfleet-loadgen"] == "leader"]) == 1 && length(google_compute_instance.this) == 3
    error_message = "One of them leads."
  }

  assert {
    condition     = google_compute_firewall.locust.source_service_accounts == toset(["skfleet-loadgen@example-project.iam.gserviceaccount.com"]) && google_compute_firewall.locust.source_ranges == null
    error_message = "Only generators may speak to each other."
  }

  assert {
    condition     = toset([for m in google_project_iam_member.this : m.role]) == toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"]) && google_service_account_iam_member.sign.role == "roles/iam.serviceAccountTokenCreator" && google_service_account_iam_member.sign.service_account_id == "projects/example-project/serviceAccounts/skfleet-loadgen@example-project.iam.gserviceaccount.com"
    error_message = "They may write logs and metrics, and sign for themselves alone."
  }
}

run "none_by_default" {
  command = plan

  variables { generators = {} }

  assert {
    condition     = length(google_compute_instance.this) == 0
    error_message = "Load generators cost money: none unless asked for."
  }
}

run "operators_act_as_the_generators" {
  command = plan

  variables { operators = { ops = "group:ops@example.com" } }

  assert {
    condition     = google_service_account_iam_member.operator["ops"].role == "roles/iam.serviceAccountUser"
    error_message = "OS Login asks for it."
  }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "-" }
}

run "refuses_a_region_for_a_zone" {
  command         = plan
  expect_failures = [var.network]
  variables { network = { id = "n", subnetwork = "s", zone = "europe-west1" } }
}

run "refuses_an_army" {
  command         = plan
  expect_failures = [var.generators]
  variables { generators = { count = 21, image = "projects/example-project/global/images/skfleet-loadgen-1" } }
}

run "refuses_generators_without_an_image" {
  command         = plan
  expect_failures = [var.generators]
  variables { generators = { count = 1 } }
}

run "refuses_generators_without_an_end" {
  command         = plan
  expect_failures = [var.generators]
  variables { generators = { max_hours = 0 } }
}

run "refuses_the_public_as_operator" {
  command         = plan
  expect_failures = [var.operators]
  variables { operators = { everyone = "allUsers" } }
}
