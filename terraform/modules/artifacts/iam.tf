# Prefixes by role. Reading covers the whole bucket on purpose: without storage.objects.list on the bucket itself a missing
# object answers 403 instead of 404, and 'no desired.json yet' could not be told from 'not allowed'. There is no secret in it.
locals {
  objects = "projects/_/buckets/${google_storage_bucket.this.name}/objects"

  readers = merge(
    { for k, m in var.members.readers : "reader-${k}" => m },
    { for k, m in var.members.publishers : "publisher-${k}" => m },
    { for k, m in var.members.deployers : "deployer-${k}" => m },
    { for k, m in var.members.terraform : "terraform-${k}" => m },
  )

  # objectCreator cannot overwrite: what it creates is immutable. objectUser can, and is given where a document changes.
  rules = {
    publisher-create = {
      members     = var.members.publishers
      role        = "roles/storage.objectCreator"
      title       = "publish"
      description = "Create what releases are made of, never change it."
      expression  = join(" || ", [for p in ["models/", "builds/", "bundles/", "releases/"] : "resource.name.startsWith(\"${local.objects}/${p}\")"])
    }
    publisher-latest = {
      members     = var.members.publishers
      role        = "roles/storage.objectUser"
      title       = "latest_model"
      description = "Move models/<name>/latest.json, the default for new releases; no VM reads it."
      expression  = "resource.name.startsWith(\"${local.objects}/models/\") && resource.name.endsWith(\"/latest.json\")"
    }
    deployer-create = {
      members     = var.members.deployers
      role        = "roles/storage.objectCreator"
      title       = "release"
      description = "Create releases, never change one."
      expression  = "resource.name.startsWith(\"${local.objects}/releases/\")"
    }
    deployer-fleets = {
      members     = var.members.deployers
      role        = "roles/storage.objectUser"
      title       = "deploy"
      description = "Desired release, lock and evidence; not the environment, which no rollout may change."
      expression  = "resource.name.startsWith(\"${local.objects}/fleets/\") && !resource.name.endsWith(\"/environment.json\")"
    }
    terraform-environment = {
      members     = var.members.terraform
      role        = "roles/storage.objectUser"
      title       = "environment"
      description = "The fleets' environment.json alone."
      expression  = "resource.name.startsWith(\"${local.objects}/fleets/\") && resource.name.endsWith(\"/environment.json\")"
    }
  }

  writers = merge([
    for name, rule in local.rules : {
      for k, m in rule.members : "${name}-${k}" => merge(rule, { member = m })
    }
  ]...)
}

resource "google_storage_bucket_iam_member" "reader" {
  for_each = local.readers

  bucket = google_storage_bucket.this.name
  role   = "roles/storage.objectViewer"
  member = each.value
}

resource "google_storage_bucket_iam_member" "writer" {
  for_each = local.writers

  bucket = google_storage_bucket.this.name
  role   = each.value.role
  member = each.value.member

  condition {
    title       = each.value.title
    description = each.value.description
    expression  = each.value.expression
  }
}
