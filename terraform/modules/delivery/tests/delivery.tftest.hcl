mock_provider "google" {
  override_during = plan

  mock_resource "google_iam_workload_identity_pool" {
    defaults = { name = "projects/123456789012/locations/global/workloadIdentityPools/skfleet-github" }
  }
  mock_resource "google_service_account" {
    defaults = {
      name   = "projects/example-project/serviceAccounts/sa@example-project.iam.gserviceaccount.com"
      member = "serviceAccount:sa@example-project.iam.gserviceaccount.com"
    }
  }
}

variables {
  project = { id = "example-project", number = "123456789012" }
  name    = "skfleet"
  github  = { repository = "example/skfleet", repository_id = "1000", owner_id = "2000" }
  bake_vm = "projects/example-project/serviceAccounts/skfleet-bake-vm@example-project.iam.gserviceaccount.com"
}

run "only_this_repository_in_an_environment" {
  command = plan

  assert {
    condition     = google_iam_workload_identity_pool_provider.this.attribute_condition == "assertion.repository_id == '1000' && assertion.repository_owner_id == '2000' && assertion.environment in ['bake', 'canary', 'plan', 'production', 'publish']"
    error_message = "Identities must be those of this repository's jobs in a known environment."
  }

  assert {
    condition     = !anytrue([for expression in concat([google_iam_workload_identity_pool_provider.this.attribute_condition], values(google_iam_workload_identity_pool_provider.this.attribute_mapping)) : strcontains(expression, "assertion.sub") || strcontains(expression, "assertion.repository ") || strcontains(expression, "example/skfleet")])
    error_message = "Nothing may be bound to the subject's form or to the repository's name: GitHub changes both."
  }

  assert {
    condition     = google_iam_workload_identity_pool_provider.this.oidc[0].issuer_uri == "https://token.actions.githubusercontent.com"
    error_message = "GitHub must be the issuer."
  }

  assert {
    condition     = { for k, m in google_service_account_iam_member.workload : k => m.member } == { for k, e in { planner-plan = "plan", builder-bake = "bake", publisher-publish = "publish", deployer-canary = "canary", deployer-production = "production" } : k => "principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/skfleet-github/attribute.environment/${e}" }
    error_message = "Every role must be taken by the jobs of its environments, never by any job."
  }

  assert {
    condition     = alltrue([for m in google_service_account_iam_member.workload : m.role == "roles/iam.workloadIdentityUser"])
    error_message = "A workload may become its account, nothing else."
  }
}

run "least_privilege" {
  command = plan

  assert {
    condition = alltrue([
      for m in google_project_iam_member.planner : !contains(["roles/owner", "roles/editor", "roles/viewer"], m.role) && can(regex("(browser|viewer|Viewer|reader|securityReviewer|serviceUsageConsumer)$", m.role))
    ])
    error_message = "A plan must only read, without basic roles."
  }

  assert {
    condition     = alltrue([for p in google_project_iam_custom_role.planner.permissions : can(regex("[.](get|list|getIamPolicy|getSettings)$", p))])
    error_message = "The planner's own role must only read."
  }

  assert {
    condition     = google_project_iam_member.builder_tunnel.condition[0].expression == "destination.port == 22"
    error_message = "The builder's tunnel must end at ssh."
  }

  assert {
    condition     = !anytrue([for p in google_project_iam_custom_role.builder.permissions : strcontains(p, "IamPolicy") || startswith(p, "iam.") || strcontains(p, "firewalls")])
    error_message = "The builder must not touch IAM or firewalls."
  }

  assert {
    condition     = google_project_iam_member.builder_login.role == "roles/compute.osAdminLogin"
    error_message = "The builder must be able to log in to the VM that it bakes on, as root."
  }
}

run "state_is_read_where_there_is_one" {
  command = plan

  variables { state_bucket = "example-state" }

  assert {
    condition     = google_storage_bucket_iam_member.planner_state[0].role == "roles/storage.objectViewer"
    error_message = "A plan must only read the state."
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

run "refuses_a_repository_without_an_owner" {
  command         = plan
  expect_failures = [var.github]
  variables { github = { repository = "skfleet", repository_id = "1000", owner_id = "2000" } }
}

run "refuses_a_name_for_an_id" {
  command         = plan
  expect_failures = [var.github]
  variables { github = { repository = "example/skfleet", repository_id = "skfleet", owner_id = "2000" } }
}

run "refuses_an_environment_for_two_roles" {
  command         = plan
  expect_failures = [var.environments]
  variables { environments = { plan = "production" } }
}

run "refuses_an_environment_that_could_leave_its_quotes" {
  command         = plan
  expect_failures = [var.environments]
  variables { environments = { plan = "plan'] || ['x" } }
}

run "refuses_an_address_for_an_account" {
  command         = plan
  expect_failures = [var.bake_vm]
  variables { bake_vm = "skfleet-bake-vm@example-project.iam.gserviceaccount.com" }
}
