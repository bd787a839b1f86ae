mock_provider "google" {
  override_during = plan

  mock_resource "google_compute_instance_template" {
    defaults = { self_link_unique = "https://www.googleapis.com/compute/v1/projects/example-project/global/instanceTemplates/t?uniqueId=1" }
  }

  mock_resource "google_compute_health_check" {
    defaults = { id = "projects/example-project/global/healthChecks/liveness" }
  }
}

variables {
  project_id    = "example-project"
  name          = "skfleet-europe-west1"
  region        = { name = "europe-west1", zones = ["europe-west1-b", "europe-west1-c", "europe-west1-d"] }
  subnetwork    = "https://www.googleapis.com/compute/v1/projects/example-project/regions/europe-west1/subnetworks/skfleet"
  bucket        = "example-project-skfleet"
  edge          = yamldecode(file("../../../edge.yml"))
  images        = { first = { source = "projects/example-project/global/images/skfleet-1" } }
  initial_image = "first"
  autoscaling   = { min = 3, max = 10 }
  service_account = {
    email  = "skfleet-dev@example-project.iam.gserviceaccount.com"
    member = "serviceAccount:skfleet-dev@example-project.iam.gserviceaccount.com"
    name   = "projects/example-project/serviceAccounts/skfleet-dev@example-project.iam.gserviceaccount.com"
  }
}

run "template_is_locked_down" {
  command = plan

  assert {
    condition     = alltrue([for t in google_compute_instance_template.this : length(t.network_interface) == 1 && length(t.network_interface[0].access_config) == 0 && length(t.network_interface[0].ipv6_access_config) == 0])
    error_message = "No VM may have a public address."
  }

  assert {
    condition     = alltrue([for t in google_compute_instance_template.this : t.shielded_instance_config[0].enable_secure_boot && t.shielded_instance_config[0].enable_vtpm && t.shielded_instance_config[0].enable_integrity_monitoring])
    error_message = "VMs must be shielded, all three ways."
  }

  assert {
    condition     = google_compute_instance_template.this["first"].metadata["enable-oslogin"] == "TRUE" && google_compute_instance_template.this["first"].metadata["block-project-ssh-keys"] == "TRUE" && google_compute_instance_template.this["first"].metadata["serial-port-enable"] == "FALSE"
    error_message = "OS Login must be on, project keys and the serial port off."
  }

  assert {
    condition     = [for k in keys(google_compute_instance_template.this["first"].metadata) : k if startswith(k, "skfleet")] == ["skfleet-fleet"] && google_compute_instance_template.this["first"].metadata["skfleet-fleet"] == "gs://example-project-skfleet/fleets/skfleet-europe-west1"
    error_message = "Our one metadata key must name the fleet's folder."
  }

  assert {
    condition     = google_compute_instance_template.this["first"].service_account[0].email == "skfleet-dev@example-project.iam.gserviceaccount.com"
    error_message = "VMs must run as an account of their own, never the default one."
  }

  assert {
    condition     = google_compute_instance_template.this["first"].disk[0].source_image == "projects/example-project/global/images/skfleet-1"
    error_message = "The template must pin the image of its entry."
  }

  assert {
    condition     = alltrue([for t in google_compute_instance_template.this : length(t.name_prefix) <= 37 && endswith(t.name_prefix, "-")])
    error_message = "name_prefix must leave room for the provider's suffix."
  }
}

run "group_leaves_replacing_to_the_playbook" {
  command = plan

  assert {
    condition     = google_compute_region_instance_group_manager.this.update_policy[0].type == "OPPORTUNISTIC" && google_compute_region_instance_group_manager.this.update_policy[0].instance_redistribution_type == "NONE"
    error_message = "Nothing may be replaced or moved on its own."
  }

  assert {
    condition     = google_compute_region_instance_group_manager.this.update_policy[0].max_surge_fixed == 3 && google_compute_region_instance_group_manager.this.update_policy[0].max_unavailable_fixed == 0
    error_message = "A replacement surges by at least one VM a zone and takes none away first."
  }

  assert {
    condition     = { for p in google_compute_region_instance_group_manager.this.named_port : p.name => p.port } == { for listener in values(var.edge.listeners) : listener.name => listener.port }
    error_message = "Named ports must be the app's listeners."
  }

  assert {
    condition     = google_compute_region_instance_group_manager.this.instance_lifecycle_policy[0].force_update_on_repair == "NO"
    error_message = "A repair must not bring a new image."
  }

  assert {
    condition     = google_compute_region_instance_group_manager.this.version[0].instance_template == "https://www.googleapis.com/compute/v1/projects/example-project/global/instanceTemplates/t?uniqueId=1"
    error_message = "The group must name its template by the link that is unique."
  }

  assert {
    condition     = google_compute_region_instance_group_manager.this.standby_policy[0].mode == "MANUAL" && google_compute_region_instance_group_manager.this.target_stopped_size == 0 && google_compute_region_instance_group_manager.this.distribution_policy_zones == toset(["europe-west1-b", "europe-west1-c", "europe-west1-d"])
    error_message = "No standby VMs unless asked for, which is said and not left out; the zones must be ours."
  }
}

# The override fills what the configuration leaves open; a value of ours would win over it.
run "target_size_belongs_to_the_autoscaler" {
  command = plan

  override_resource {
    target          = google_compute_region_instance_group_manager.this
    override_during = plan
    values          = { target_size = 4711 }
  }

  assert {
    condition     = google_compute_region_instance_group_manager.this.target_size == 4711
    error_message = "target_size must be left to Google: a value of ours would fight the autoscaler."
  }
}

run "autohealing_is_its_own_and_more_lenient" {
  command = plan

  assert {
    condition     = google_compute_region_instance_group_manager.this.auto_healing_policies[0].health_check == "projects/example-project/global/healthChecks/liveness" && google_compute_region_instance_group_manager.this.auto_healing_policies[0].initial_delay_sec == 300
    error_message = "Autohealing must use its own check and wait for a boot."
  }

  assert {
    condition     = google_compute_health_check.liveness.http_health_check[0].request_path == "/livez" && google_compute_health_check.liveness.http_health_check[0].port == var.edge.listeners.health.port
    error_message = "Autohealing must ask /livez on the health port."
  }

  assert {
    condition     = google_compute_health_check.liveness.check_interval_sec * google_compute_health_check.liveness.unhealthy_threshold > var.edge.health_checks.readiness.interval_s * var.edge.health_checks.readiness.unhealthy_threshold
    error_message = "Autohealing must be slower than the load balancers."
  }
}

run "autoscaler_is_bounded" {
  command = plan

  variables {
    production = true
    autoscaling = {
      min                   = 3
      max                   = 12
      predictive            = true
      load_balancing_target = 0.7
      schedules             = { morning = { min = 6, cron = "0 7 * * 1-5", duration_s = 14400 } }
    }
  }

  assert {
    condition     = google_compute_region_autoscaler.this.autoscaling_policy[0].min_replicas <= google_compute_region_autoscaler.this.autoscaling_policy[0].max_replicas && google_compute_region_autoscaler.this.autoscaling_policy[0].min_replicas >= length(var.region.zones)
    error_message = "In production the minimum covers every zone, and lies within the maximum."
  }

  assert {
    condition     = google_compute_region_autoscaler.this.autoscaling_policy[0].cooldown_period >= var.autoscaling.measured_boot_s
    error_message = "The cool-down must last at least a boot."
  }

  assert {
    condition     = google_compute_region_autoscaler.this.autoscaling_policy[0].scale_in_control[0].max_scaled_in_replicas[0].fixed == 1 && google_compute_region_autoscaler.this.autoscaling_policy[0].scale_in_control[0].time_window_sec == 600
    error_message = "Scale-in must be limited."
  }

  assert {
    condition     = google_compute_region_autoscaler.this.autoscaling_policy[0].cpu_utilization[0].predictive_method == "OPTIMIZE_AVAILABILITY" && google_compute_region_autoscaler.this.autoscaling_policy[0].load_balancing_utilization[0].target == 0.7 && length(google_compute_region_autoscaler.this.autoscaling_policy[0].scaling_schedules) == 1
    error_message = "Every signal asked for must be set."
  }
}

run "a_new_image_is_a_new_template" {
  command = plan

  variables {
    images = {
      first  = { source = "projects/example-project/global/images/skfleet-1" }
      second = { source = "projects/example-project/global/images/skfleet-2", machine_type = "e2-standard-4", spot = true, disk = { kms_key = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k" } }
    }
  }

  assert {
    condition     = length(google_compute_instance_template.this) == 2 && google_compute_region_instance_group_manager.this.version[0].name == "first" && length(google_compute_region_instance_group_manager.this.version) == 1
    error_message = "A new entry must make a template and leave the group as it is."
  }

  assert {
    condition     = google_compute_instance_template.this["second"].scheduling[0].provisioning_model == "SPOT" && !google_compute_instance_template.this["second"].scheduling[0].automatic_restart && google_compute_instance_template.this["second"].disk[0].disk_encryption_key[0].kms_key_self_link != ""
    error_message = "Spot and the customer's key must reach the template."
  }

  assert {
    condition     = google_compute_instance_template.this["first"].scheduling[0].provisioning_model == "STANDARD" && google_compute_instance_template.this["first"].scheduling[0].automatic_restart
    error_message = "An entry must not change when another joins."
  }

  assert {
    condition     = join(",", keys(output.templates)) == "first,second" && output.templates["second"].machine_type == "e2-standard-4"
    error_message = "replace.yml must be told every template."
  }
}

run "standby_vms_are_stopped_ones" {
  command = plan

  variables { standby = { stopped = 2 } }

  override_resource {
    target          = google_compute_region_instance_group_manager.this
    override_during = plan
    values          = { target_suspended_size = 4711 }
  }

  assert {
    condition     = google_compute_region_instance_group_manager.this.target_stopped_size == 2 && google_compute_region_instance_group_manager.this.standby_policy[0].mode == "SCALE_OUT_POOL" && google_compute_region_instance_group_manager.this.target_suspended_size == 4711
    error_message = "Standby VMs must be stopped, never suspended: a suspended one resumes on an old release."
  }
}

run "least_privilege" {
  command = plan

  variables { operators = { ops = "group:ops@example.com" } }

  assert {
    condition     = toset([for m in google_project_iam_member.this : m.role]) == toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"])
    error_message = "In the project the VMs may write logs and metrics, nothing else."
  }

  assert {
    condition     = google_storage_bucket_iam_member.reader.role == "roles/storage.objectViewer" && google_storage_bucket_iam_member.reader.bucket == "example-project-skfleet"
    error_message = "The VMs may read one bucket."
  }

  assert {
    condition     = alltrue([for m in google_project_iam_member.this : !contains(["roles/owner", "roles/editor", "roles/viewer"], m.role)])
    error_message = "No basic roles."
  }

  assert {
    condition     = google_service_account_iam_member.operator["ops"].role == "roles/iam.serviceAccountUser"
    error_message = "Operators must be able to act as the fleet."
  }
}

run "a_long_name_keeps_a_valid_template" {
  command = plan

  variables { name = "skfleet-production-northamerica-northeast1" }

  assert {
    condition     = length(google_compute_instance_template.this["first"].name_prefix) <= 37
    error_message = "The template's prefix must fit."
  }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.name]
  variables { name = "ab" }
}

run "refuses_no_zone" {
  command         = plan
  expect_failures = [var.region]
  variables { region = { name = "europe-west1", zones = [] } }
}

run "refuses_a_zone_elsewhere" {
  command         = plan
  expect_failures = [var.region]
  variables { region = { name = "europe-west1", zones = ["us-central1-a"] } }
}

run "refuses_a_liveness_check_slower_than_its_interval" {
  command         = plan
  expect_failures = [var.edge]
  variables {
    edge = merge(yamldecode(file("../../../edge.yml")), { health_checks = merge(yamldecode(file("../../../edge.yml")).health_checks, { liveness = merge(yamldecode(file("../../../edge.yml")).health_checks.liveness, { timeout_s = 11 }) }) })
  }
}

run "refuses_autohealing_as_quick_as_the_load_balancers" {
  command         = plan
  expect_failures = [var.edge]
  variables {
    edge = merge(yamldecode(file("../../../edge.yml")), { health_checks = merge(yamldecode(file("../../../edge.yml")).health_checks, { liveness = merge(yamldecode(file("../../../edge.yml")).health_checks.liveness, { unhealthy_threshold = 1 }) }) })
  }
}

run "refuses_no_image" {
  command         = plan
  expect_failures = [var.images]
  variables { images = {} }
}

run "refuses_an_image_family" {
  command         = plan
  expect_failures = [var.images]
  variables { images = { first = { source = "projects/example-project/global/images/family/skfleet" } } }
}

run "refuses_a_bad_image_key" {
  command         = plan
  expect_failures = [var.images]
  variables {
    images        = { "First_" = { source = "projects/example-project/global/images/skfleet-1" } }
    initial_image = "First_"
  }
}

run "refuses_a_tiny_disk" {
  command         = plan
  expect_failures = [var.images]
  variables { images = { first = { source = "projects/example-project/global/images/skfleet-1", disk = { size_gb = 5 } } } }
}

run "refuses_an_initial_image_that_is_none" {
  command         = plan
  expect_failures = [var.initial_image]
  variables { initial_image = "gone" }
}

run "refuses_a_minimum_above_the_maximum" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 5, max = 4 } }
}

run "refuses_production_below_one_vm_a_zone" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables {
    production  = true
    autoscaling = { min = 2, max = 4 }
  }
}

run "refuses_a_cool_down_shorter_than_a_boot" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, measured_boot_s = 180, cooldown_s = 120 } }
}

run "refuses_a_target_that_is_no_share" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, cpu_target = 60 } }
}

run "refuses_unlimited_scale_in" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, scale_in = {} } }
}

run "refuses_a_scale_in_of_nothing" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, scale_in = { replicas = 0 } } }
}

run "refuses_a_stabilisation_out_of_bounds" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, stabilization_s = 7200 } }
}

run "refuses_a_stabilisation_that_does_not_reach_google" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, stabilization_s = 0 } }
}

run "refuses_a_cooldown_that_does_not_reach_google" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, measured_boot_s = 0, cooldown_s = 0 } }
}

run "refuses_a_schedule_above_the_maximum" {
  command         = plan
  expect_failures = [var.autoscaling]
  variables { autoscaling = { min = 3, max = 4, schedules = { peak = { min = 9, cron = "0 7 * * *", duration_s = 3600 } } } }
}

run "refuses_a_surge_below_the_zones" {
  command         = plan
  expect_failures = [var.update]
  variables { update = { max_surge = 1 } }
}

run "refuses_neither_surge_nor_unavailable" {
  command         = plan
  expect_failures = [var.update]
  variables { update = { max_surge = 0 } }
}

run "refuses_unavailable_below_the_zones" {
  command         = plan
  expect_failures = [var.update]
  variables { update = { max_unavailable = 1 } }
}

run "refuses_a_negative_standby" {
  command         = plan
  expect_failures = [var.standby]
  variables { standby = { stopped = -1 } }
}

run "refuses_the_public_as_operator" {
  command         = plan
  expect_failures = [var.operators]
  variables { operators = { everyone = "allAuthenticatedUsers" } }
}
