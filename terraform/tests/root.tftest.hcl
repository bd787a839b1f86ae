mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_service_account" {
    defaults = {
      email  = "sa@example-project.iam.gserviceaccount.com"
      member = "serviceAccount:sa@example-project.iam.gserviceaccount.com"
      name   = "projects/example-project/serviceAccounts/sa@example-project.iam.gserviceaccount.com"
    }
  }
  mock_resource "google_compute_network" {
    defaults = { id = "projects/example-project/global/networks/skfleet", self_link = "https://www.googleapis.com/compute/v1/projects/example-project/global/networks/skfleet" }
  }
  mock_resource "google_compute_subnetwork" {
    defaults = { self_link = "https://www.googleapis.com/compute/v1/projects/example-project/regions/r/subnetworks/s" }
  }
  mock_resource "google_compute_address" {
    defaults = { id = "projects/example-project/regions/r/addresses/a", address = "203.0.113.7", self_link = "https://www.googleapis.com/compute/v1/projects/example-project/regions/r/addresses/a" }
  }
  mock_resource "google_compute_global_address" {
    defaults = { id = "projects/example-project/global/addresses/a", address = "203.0.113.10" }
  }
  mock_resource "google_compute_instance_template" {
    defaults = { self_link_unique = "https://www.googleapis.com/compute/v1/projects/example-project/global/instanceTemplates/t?uniqueId=1" }
  }
  mock_resource "google_compute_region_instance_group_manager" {
    defaults = { id = "projects/example-project/regions/r/instanceGroupManagers/g", instance_group = "https://www.googleapis.com/compute/v1/projects/example-project/regions/r/instanceGroups/g" }
  }
  mock_resource "google_compute_backend_service" {
    defaults = { id = "projects/example-project/global/backendServices/b", generated_id = 1234567890123456789 }
  }
  mock_resource "google_compute_region_backend_service" {
    defaults = { id = "projects/example-project/regions/r/backendServices/b", generated_id = 987654321098765432 }
  }
  mock_resource "google_compute_forwarding_rule" {
    defaults = { self_link = "https://www.googleapis.com/compute/v1/projects/example-project/regions/r/forwardingRules/f", ip_address = "10.10.0.9" }
  }
  mock_resource "google_compute_managed_ssl_certificate" {
    defaults = { self_link = "https://www.googleapis.com/compute/v1/projects/example-project/global/sslCertificates/c" }
  }
  mock_resource "google_compute_health_check" {
    defaults = { id = "projects/example-project/global/healthChecks/h" }
  }
  mock_resource "google_compute_instance" {
    defaults = { zone = "europe-west1-b" }
  }
  mock_resource "google_iam_workload_identity_pool" {
    defaults = { name = "projects/123456789012/locations/global/workloadIdentityPools/p" }
  }
  mock_resource "google_project_iam_custom_role" {
    defaults = { id = "projects/example-project/roles/custom" }
  }
  mock_resource "google_monitoring_notification_channel" {
    defaults = { name = "projects/example-project/notificationChannels/1" }
  }
  mock_resource "google_monitoring_slo" {
    defaults = { name = "projects/1/services/s/serviceLevelObjectives/latency" }
  }
}

variables {
  project_id  = "example-project"
  environment = "dev"
  regions = {
    europe-west1 = {
      zones                 = ["europe-west1-b", "europe-west1-c", "europe-west1-d"]
      range                 = "10.10.0.0/24"
      proxy_range           = "10.10.8.0/23"
      internal_certificates = ["projects/example-project/regions/europe-west1/sslCertificates/internal"]
    }
    us-central1 = {
      zones                 = ["us-central1-a", "us-central1-b", "us-central1-c"]
      range                 = "10.20.0.0/24"
      proxy_range           = "10.20.8.0/23"
      internal_certificates = ["projects/example-project/regions/us-central1/sslCertificates/internal"]
      autoscaling           = { max = 4 }
    }
  }
  fleet = {
    images        = { first = { source = "projects/example-project/global/images/skfleet-1" } }
    initial_image = "first"
    autoscaling   = { min = 2, max = 8 }
  }
  artifacts = { location = "EU" }
  external  = { domains = ["predict.example.com"] }
  internal  = { allowed_callers = ["batch@example-project.iam.gserviceaccount.com"] }
  members = {
    deployers = { sre = "group:sre@example.com" }
    accessors = { users = "group:users@example.com" }
  }
}

run "environment_json_has_the_form_that_the_vms_read" {
  command = plan

  assert {
    condition = jsondecode(nonsensitive(google_storage_bucket_object.environment["europe-west1"].content)) == {
      schema_version = 1
      fleet          = "skfleet-europe-west1"
      iap            = { audiences = ["/projects/123456789012/global/backendServices/1234567890123456789"] }
      internal = {
        identity        = "id-token"
        audiences       = ["https://skfleet.internal"]
        allowed_callers = ["batch@example-project.iam.gserviceaccount.com", "sa@example-project.iam.gserviceaccount.com"]
      }
    }
    error_message = "environment.json must have exactly the form of schema version 1."
  }

  assert {
    condition     = google_storage_bucket_object.environment["us-central1"].name == "fleets/skfleet-us-central1/environment.json" && google_storage_bucket_object.environment["us-central1"].bucket == "example-project-skfleet" && google_storage_bucket_object.environment["us-central1"].content_type == "application/json"
    error_message = "The environment must lie in the fleet's folder."
  }
}

run "one_edge_over_fleets_in_two_regions" {
  command = plan

  assert {
    condition     = join(",", keys(output.ansible.fleets)) == "skfleet-europe-west1,skfleet-us-central1" && output.ansible.fleets["skfleet-us-central1"].max == 4 && output.ansible.fleets["skfleet-us-central1"].min == 2 && output.ansible.fleets["skfleet-europe-west1"].max == 8
    error_message = "A region must take the common settings but for those it names itself."
  }

  assert {
    condition     = output.ansible.fleets["skfleet-europe-west1"].external_backend_service == "skfleet-external" && output.ansible.fleets["skfleet-us-central1"].internal_backend_service == "skfleet-internal"
    error_message = "Rollouts must be told both backend services."
  }

  assert {
    condition     = output.ansible.schema_version == 1 && output.ansible.listeners == { for name, listener in yamldecode(file("../edge.yml")).listeners : name => { name = listener.name, port = listener.port } }
    error_message = "Ansible's contract must name its version and the listeners."
  }
}

run "a_fleet_has_an_account_of_its_own" {
  command = plan

  variables {
    name = "skfleet-production-eu"
    regions = {
      northamerica-northeast1 = {
        zones                 = ["northamerica-northeast1-a"]
        range                 = "10.10.0.0/24"
        proxy_range           = "10.10.8.0/23"
        internal_certificates = ["projects/example-project/regions/northamerica-northeast1/sslCertificates/internal"]
      }
    }
  }

  assert {
    condition     = alltrue([for sa in google_service_account.fleet : length(sa.account_id) <= 30 && can(regex("^[a-z][a-z0-9-]*[a-z0-9]$", sa.account_id))])
    error_message = "The account's id must fit Google's 30 characters."
  }
}

run "a_region_leaves_the_load_balancers_before_it_goes" {
  command = plan

  variables {
    regions = {
      europe-west1 = {
        zones                 = ["europe-west1-b"]
        range                 = "10.10.0.0/24"
        proxy_range           = "10.10.8.0/23"
        internal_certificates = ["projects/example-project/regions/europe-west1/sslCertificates/internal"]
      }
      us-central1 = {
        zones       = ["us-central1-a"]
        range       = "10.20.0.0/24"
        proxy_range = "10.20.8.0/23"
        serving     = false
      }
    }
  }

  assert {
    condition     = length(output.ansible.fleets) == 2 && output.ansible.fleets["skfleet-us-central1"].external_backend_service == null && output.ansible.fleets["skfleet-us-central1"].internal_backend_service == null && length(output.ansible.internal.addresses) == 1
    error_message = "The VMs must stay while no load balancer speaks to them."
  }
}

run "deployers_get_what_a_rollout_does" {
  command = plan

  assert {
    condition     = toset([google_project_iam_member.deployer["sre"].role, google_project_iam_member.deployer_login["sre"].role, google_project_iam_member.deployer_tunnel["sre"].role]) == toset(["projects/example-project/roles/custom", "roles/compute.osAdminLogin", "roles/iap.tunnelResourceAccessor"]) && google_project_iam_member.deployer_tunnel["sre"].condition[0].expression == "destination.port == 22"
    error_message = "A deployer must get the custom role, OS Login and a tunnel to ssh."
  }

  assert {
    condition     = !anytrue([for p in google_project_iam_custom_role.deployer.permissions : strcontains(p, "IamPolicy") || strcontains(p, ".delete") || strcontains(p, "firewalls") || startswith(p, "iam.") || startswith(p, "storage.")])
    error_message = "A deployer must not delete, nor touch IAM, firewalls or the bucket by this role."
  }
}

run "apis_stay_on" {
  command = plan

  assert {
    condition     = alltrue([for s in google_project_service.this : !s.disable_on_destroy]) && alltrue([for s in ["compute", "iap", "dns", "storage", "monitoring", "logging", "iam", "iamcredentials", "oslogin"] : contains(keys(google_project_service.this), "${s}.googleapis.com")])
    error_message = "Every API needed must be on, and none be turned off by a destroy."
  }
}

run "workflows_join_by_role" {
  command = plan

  variables {
    delivery = { repository = "example/skfleet", repository_id = "1000", owner_id = "2000" }
  }

  assert {
    condition     = join(",", sort(keys(output.delivery.service_accounts))) == "builder,deployer,planner,publisher" && contains(keys(google_project_iam_member.deployer), "workflow-deploy")
    error_message = "The deploying workflow must be a deployer like any other."
  }

  assert {
    condition     = contains(keys(google_project_service.this), "sts.googleapis.com")
    error_message = "Token exchange needs its API."
  }
}

run "an_open_internal_listener_is_said_loudly" {
  command         = plan
  expect_failures = [check.internal_identity]
  variables { internal = { identity = "none" } }
}

run "refuses_a_project_number" {
  command         = plan
  expect_failures = [var.project_id]
  variables { project_id = "123456789012" }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "a-name-that-is-far-too-long" }
}

run "refuses_an_unknown_environment" {
  command         = plan
  expect_failures = [var.environment]
  variables { environment = "staging" }
}

run "refuses_no_region_in_service" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1 = { zones = ["europe-west1-b"], range = "10.10.0.0/24", proxy_range = "10.10.8.0/23", serving = false } } }
}

run "refuses_a_zone_for_a_region" {
  command         = plan
  expect_failures = [var.regions]
  variables { regions = { europe-west1-b = { zones = ["europe-west1-b"], range = "10.10.0.0/24", proxy_range = "10.10.8.0/23" } } }
}

run "refuses_an_unknown_identity" {
  command         = plan
  expect_failures = [var.internal]
  variables { internal = { identity = "some" } }
}

run "refuses_an_open_listener_in_prod" {
  command         = plan
  expect_failures = [var.internal]
  variables {
    environment = "prod"
    fleet = {
      images        = { first = { source = "projects/example-project/global/images/skfleet-1" } }
      initial_image = "first"
      autoscaling   = { min = 3, max = 8 }
    }
    internal      = { identity = "none" }
    observability = { channels = { emails = { oncall = "oncall@example.com" } } }
  }
}

run "refuses_callers_that_are_no_addresses" {
  command         = plan
  expect_failures = [var.internal]
  variables { internal = { allowed_callers = ["serviceAccount:batch@example-project.iam.gserviceaccount.com"] } }
}

run "refuses_ssh_runners_that_are_no_addresses" {
  command         = plan
  expect_failures = [var.ssh_runners]
  variables { ssh_runners = ["serviceAccount:runner@example-project.iam.gserviceaccount.com"] }
}

run "refuses_prod_without_anybody_to_wake" {
  command         = plan
  expect_failures = [var.observability]
  variables {
    environment = "prod"
    fleet = {
      images        = { first = { source = "projects/example-project/global/images/skfleet-1" } }
      initial_image = "first"
      autoscaling   = { min = 3, max = 8 }
    }
  }
}

run "refuses_load_from_nowhere" {
  command         = plan
  expect_failures = [var.loadgen]
  variables { loadgen = { region = "asia-east1" } }
}
