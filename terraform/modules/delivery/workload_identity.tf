# Workflows of one repository, known by its numeric id, exchange GitHub's token for a short-lived one. There are no keys.
resource "google_iam_workload_identity_pool" "this" {
  project                   = var.project.id
  workload_identity_pool_id = "${var.name}-github"
  display_name              = "GitHub workflows"
  description               = "Jobs of ${var.github.repository}."
}

resource "google_iam_workload_identity_pool_provider" "this" {
  #checkov:skip=CKV_GCP_125:The scanner knows one equality on sub. This condition pins the repository by its numeric id and admits jobs of an environment alone; every grant below names one exact subject.
  project                            = var.project.id
  workload_identity_pool_id          = google_iam_workload_identity_pool.this.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub"

  attribute_mapping = {
    "google.subject"          = "assertion.sub"
    "attribute.repository_id" = "assertion.repository_id"
    "attribute.environment"   = "assertion.environment"
    "attribute.ref"           = "assertion.ref"
  }

  # Whoever is refused here has no identity at all, whatever is granted below. Only jobs in an environment carry the claim.
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.github.repository_id}'",
    "assertion.repository_owner_id == '${var.github.owner_id}'",
    "assertion.sub.startsWith('repo:${var.github.repository}:environment:')",
  ])

  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

locals {
  # role => the environments whose jobs take it
  environments = {
    planner   = [var.environments.plan]
    builder   = [var.environments.bake]
    publisher = [var.environments.publish]
    deployer  = var.environments.deploy
  }

  descriptions = {
    planner   = "Reads everything that a plan compares; changes nothing."
    builder   = "Bakes images."
    publisher = "Publishes models, builds and bundles into the bucket."
    deployer  = "Rolls releases out."
  }

  subjects = merge([
    for role, environments in local.environments : {
      for e in environments : "${role}-${e}" => { role = role, environment = e }
    }
  ]...)
}

resource "google_service_account" "this" {
  for_each = local.environments

  project      = var.project.id
  account_id   = "${var.name}-${each.key}"
  display_name = "skfleet delivery: ${each.key}"
  description  = local.descriptions[each.key]
}

# One exact subject, repository and environment: not any job of the repository.
resource "google_service_account_iam_member" "workload" {
  for_each = local.subjects

  service_account_id = google_service_account.this[each.value.role].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.this.name}/subject/repo:${var.github.repository}:environment:${each.value.environment}"
}
