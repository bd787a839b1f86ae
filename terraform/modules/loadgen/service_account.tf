# An identity of its own: the load balancers admit it by name, and a load test never runs with an operator's rights.
resource "google_service_account" "this" {
  project      = var.project_id
  account_id   = "${var.name}-loadgen"
  display_name = "skfleet load generators ${var.name}"
}

resource "google_project_iam_member" "this" {
  for_each = toset(["roles/logging.logWriter", "roles/monitoring.metricWriter"])

  project = var.project_id
  role    = each.value
  member  = google_service_account.this.member
}

# IAP takes a JWT that the service account signed with its own key, which Google holds: it must be allowed to ask for one.
resource "google_service_account_iam_member" "sign" {
  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountTokenCreator"
  member             = google_service_account.this.member
}

resource "google_service_account_iam_member" "operator" {
  for_each = var.operators

  service_account_id = google_service_account.this.name
  role               = "roles/iam.serviceAccountUser"
  member             = each.value
}
