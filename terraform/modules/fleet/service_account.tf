# The account itself is made by the caller: the network's firewall rules name it, and the network comes first.
resource "google_project_iam_member" "this" {
  for_each = toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"])

  project = var.project_id
  role    = each.value
  member  = var.service_account.member
}

resource "google_storage_bucket_iam_member" "reader" {
  bucket = var.bucket
  role   = "roles/storage.objectViewer"
  member = var.service_account.member
}

resource "google_service_account_iam_member" "operator" {
  for_each = var.operators

  service_account_id = var.service_account.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}
