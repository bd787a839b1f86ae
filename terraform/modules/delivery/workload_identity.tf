# Workflows of one repository, known by its numeric id, exchange GitHub's token for a short-lived one. There are no keys.
resource "google_iam_workload_identity_pool" "this" {
  project                   = var.project.id
  workload_identity_pool_id = "${var.name}-github"
  display_name              = "GitHub workflows"
  description               = "Jobs of ${var.github.repository}."
}

# Trust is bound to claims that neither a rename nor GitHub's form of the subject changes: the subject reads repo:OWNER/NAME:… in
# repositories made before 15 July 2026 and repo:OWNER@ID/NAME@ID:… in later and renamed ones, and nothing here reads it.
resource "google_iam_workload_identity_pool_provider" "this" {
  #checkov:skip=CKV_GCP_125:The scanner knows one equality on sub. This condition pins the repository and its owner by their numeric ids and admits jobs of the named environments alone.
  project                            = var.project.id
  workload_identity_pool_id          = google_iam_workload_identity_pool.this.workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  display_name                       = "GitHub"

  attribute_mapping = {
    # Google takes 127 bytes, which GitHub's own subject can exceed.
    "google.subject"          = "assertion.repository_id + ':' + assertion.environment"
    "attribute.repository_id" = "assertion.repository_id"
    "attribute.environment"   = "assertion.environment"
    "attribute.ref"           = "assertion.ref"
  }

  # Whoever is refused here has no identity at all, whatever is granted below. A job outside an environment lacks the claim,
  # which is a refusal too.
  attribute_condition = join(" && ", [
    "assertion.repository_id == '${var.github.repository_id}'",
    "assertion.repository_owner_id == '${var.github.owner_id}'",
    "assertion.environment in [${join(", ", [for e in sort(flatten(values(local.environments))) : "'${e}'"])}]",
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

  workloads = merge([
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

# Jobs of one environment each. The pool has one provider, whose condition pins the repository.
resource "google_service_account_iam_member" "workload" {
  for_each = local.workloads

  service_account_id = google_service_account.this[each.value.role].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principalSet://iam.googleapis.com/${google_iam_workload_identity_pool.this.name}/attribute.environment/${each.value.environment}"
}
