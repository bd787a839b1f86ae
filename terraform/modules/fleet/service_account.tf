locals {
  # Google allows 30 characters; a longer name keeps its beginning and stays unique by a digest.
  account_id = length(var.name) <= 30 ? var.name : "${trimsuffix(substr(var.name, 0, 21), "-")}-${substr(sha256(var.name), 0, 8)}"
}

resource "google_service_account" "this" {
  project      = var.project_id
  account_id   = local.account_id
  display_name = "skfleet fleet ${var.name}"
  description  = "Identity of the fleet's VMs: reads the bucket, writes logs and metrics, nothing else."
}

resource "google_project_iam_member" "this" {
  for_each = toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"])

  project = var.project_id
  role    = each.value
  member  = google_service_account.this.member
}

resource "google_storage_bucket_iam_member" "reader" {
  bucket = var.bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.this.member
}

resource "google_service_account_iam_member" "operator" {
  for_each = var.operators

  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}
