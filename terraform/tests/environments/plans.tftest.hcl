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

# Whatever tfvars file is given: it plans, and keeps what every environment promises.
#   terraform test -test-directory=tests/environments -var-file=environments/prod.tfvars
run "plans_and_keeps_its_promises" {
  command = plan

  assert {
    condition     = length(output.ansible.fleets) == length(var.regions) && alltrue([for region in keys(var.regions) : contains(keys(output.ansible.fleets), "${var.name}-${region}")])
    error_message = "Every region must have a fleet of its own, called <name>-<region>."
  }

  assert {
    condition     = alltrue([for f in output.ansible.fleets : f.min <= f.max && (var.environment != "prod" || f.min >= length(f.zones))])
    error_message = "Minima must lie within maxima, and in prod cover every zone."
  }

  assert {
    condition     = alltrue([for e in output.environments : e.schema_version == 1 && length(e.iap.audiences) > 0 && e.internal.identity == "id-token" && length(e.internal.audiences) > 0 && length(e.internal.allowed_callers) > 0])
    error_message = "Every fleet must be told whom to admit, and admit nobody nameless."
  }

  assert {
    condition     = length(google_storage_bucket_object.environment) == length(var.regions) && alltrue([for o in google_storage_bucket_object.environment : can(regex("^fleets/[^/]+/environment[.]json$", o.name))])
    error_message = "Every fleet's environment must be written into its folder."
  }

  assert {
    condition     = var.environment != "prod" || length(output.alerts.availability) == 8 && length(output.alerts.uptime) == 1
    error_message = "In prod every alert of slo.yml must exist."
  }
}
