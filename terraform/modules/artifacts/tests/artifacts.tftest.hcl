mock_provider "google" {
  override_during = plan

  mock_data "google_storage_project_service_account" {
    defaults = { member = "serviceAccount:service-1@gs-project-accounts.iam.gserviceaccount.com" }
  }
}

variables {
  project_id = "example-project"
  bucket     = { name = "example-project-skfleet", location = "europe-west1" }
  members = {
    publishers = { ci = "serviceAccount:publisher@example-project.iam.gserviceaccount.com" }
    deployers  = { ci = "serviceAccount:deployer@example-project.iam.gserviceaccount.com" }
    terraform  = { admins = "group:admins@example.com" }
    readers    = { auditor = "user:auditor@example.com" }
  }
}

run "bucket_is_private_versioned_and_recoverable" {
  command = plan

  assert {
    condition     = google_storage_bucket.this.uniform_bucket_level_access && google_storage_bucket.this.public_access_prevention == "enforced" && !google_storage_bucket.this.force_destroy
    error_message = "The bucket must be uniform, never public, never emptied by a destroy."
  }

  assert {
    condition     = google_storage_bucket.this.versioning[0].enabled && google_storage_bucket.this.soft_delete_policy[0].retention_duration_seconds == 30 * 86400
    error_message = "Replaced and deleted objects must be recoverable."
  }

  assert {
    condition     = google_storage_bucket.this.location == "EUROPE-WEST1" && length(google_storage_bucket.this.custom_placement_config) == 0
    error_message = "A regional bucket has no placement; upper case is how Google answers, anything else would be a difference for ever."
  }
}

run "lifecycle_never_touches_a_live_object" {
  command = plan

  assert {
    condition = alltrue([
      for rule in google_storage_bucket.this.lifecycle_rule :
      one(rule.condition).with_state == "ARCHIVED" && one(rule.condition).days_since_noncurrent_time >= 30 && one(rule.condition).num_newer_versions >= 10
      if one(rule.action).type == "Delete"
    ])
    error_message = "Delete rules must speak of replaced versions alone: what is desired is live."
  }

  assert {
    condition     = alltrue([for rule in google_storage_bucket.this.lifecycle_rule : contains(["Delete", "AbortIncompleteMultipartUpload"], one(rule.action).type)])
    error_message = "No rule may move live objects elsewhere."
  }
}

run "prefixes_by_role" {
  command = plan

  assert {
    condition     = google_storage_bucket_iam_member.writer["publisher-create-ci"].role == "roles/storage.objectCreator" && google_storage_bucket_iam_member.writer["deployer-create-ci"].role == "roles/storage.objectCreator"
    error_message = "Immutable objects must be created by a role that cannot overwrite."
  }

  assert {
    condition     = google_storage_bucket_iam_member.writer["publisher-create-ci"].condition[0].expression == join(" || ", [for p in ["models/", "builds/", "bundles/", "releases/"] : "resource.name.startsWith(\"projects/_/buckets/example-project-skfleet/objects/${p}\")"])
    error_message = "The publisher must create under models/, builds/, bundles/ and releases/ alone."
  }

  assert {
    condition     = endswith(google_storage_bucket_iam_member.writer["publisher-latest-ci"].condition[0].expression, "resource.name.endsWith(\"/latest.json\")") && strcontains(google_storage_bucket_iam_member.writer["publisher-latest-ci"].condition[0].expression, "/objects/models/")
    error_message = "The publisher may replace models/<name>/latest.json alone."
  }

  assert {
    condition     = google_storage_bucket_iam_member.writer["deployer-fleets-ci"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/example-project-skfleet/objects/fleets/\") && !resource.name.endsWith(\"/environment.json\")"
    error_message = "The deployer must change fleets/ except the environment."
  }

  assert {
    condition     = google_storage_bucket_iam_member.writer["terraform-environment-admins"].condition[0].expression == "resource.name.startsWith(\"projects/_/buckets/example-project-skfleet/objects/fleets/\") && resource.name.endsWith(\"/environment.json\")"
    error_message = "Terraform must write environment.json alone."
  }

  assert {
    condition     = alltrue([for w in google_storage_bucket_iam_member.writer : length(w.condition) == 1 && contains(["roles/storage.objectCreator", "roles/storage.objectUser"], w.role)])
    error_message = "Nobody may write without a condition on the prefix."
  }

  assert {
    condition     = length(google_storage_bucket_iam_member.reader) == 4 && alltrue([for r in google_storage_bucket_iam_member.reader : r.role == "roles/storage.objectViewer"])
    error_message = "Every role reads, and reads only."
  }
}

run "dual_region_and_customer_key" {
  command = plan

  variables {
    bucket = {
      name           = "example-project-skfleet"
      location       = "eu"
      data_locations = ["europe-west1", "europe-west4"]
      turbo          = true
      kms_key        = "projects/example-project/locations/eu/keyRings/r/cryptoKeys/k"
    }
  }

  assert {
    condition     = google_storage_bucket.this.custom_placement_config[0].data_locations == toset(["EUROPE-WEST1", "EUROPE-WEST4"]) && google_storage_bucket.this.rpo == "ASYNC_TURBO" && google_storage_bucket.this.location == "EU"
    error_message = "A dual-region bucket must lie in both regions and replicate turbo when asked."
  }

  assert {
    condition     = google_storage_bucket.this.encryption[0].default_kms_key_name == "projects/example-project/locations/eu/keyRings/r/cryptoKeys/k" && google_kms_crypto_key_iam_member.bucket[0].member == "serviceAccount:service-1@gs-project-accounts.iam.gserviceaccount.com"
    error_message = "Cloud Storage must be granted the customer's key that the bucket uses."
  }
}

run "refuses_a_bad_name" {
  command         = plan
  expect_failures = [var.bucket]
  variables { bucket = { name = "A", location = "europe-west1" } }
}

run "refuses_one_data_location" {
  command         = plan
  expect_failures = [var.bucket]
  variables { bucket = { name = "example-project-skfleet", location = "eu", data_locations = ["europe-west1"] } }
}

run "refuses_turbo_in_one_region" {
  command         = plan
  expect_failures = [var.bucket]
  variables { bucket = { name = "example-project-skfleet", location = "europe-west1", turbo = true } }
}

run "refuses_a_short_soft_delete" {
  command         = plan
  expect_failures = [var.bucket]
  variables { bucket = { name = "example-project-skfleet", location = "europe-west1", soft_delete_days = 1 } }
}

run "refuses_to_forget_replaced_versions_early" {
  command         = plan
  expect_failures = [var.bucket]
  variables { bucket = { name = "example-project-skfleet", location = "europe-west1", noncurrent = { days = 1, keep = 1 } } }
}

run "refuses_the_public" {
  command         = plan
  expect_failures = [var.members]
  variables { members = { readers = { everyone = "allUsers" } } }
}
