# A plan reads. These roles let it see every kind of resource in this tree, and no object in the bucket beyond what the root
# grants (environment.json). The apply stays with a person: whoever may change IAM may do anything.
resource "google_project_iam_custom_role" "planner" {
  project     = var.project.id
  role_id     = "${replace(var.name, "-", "_")}_planner"
  title       = "skfleet planner ${var.name}"
  description = "What a Terraform plan reads beyond the predefined viewers."
  permissions = [
    "iap.webServices.getIamPolicy",
    "iap.webServices.getSettings",
    "storage.buckets.get",
    "storage.buckets.getIamPolicy",
  ]
}

resource "google_project_iam_member" "planner" {
  for_each = toset([
    "roles/browser",
    "roles/cloudkms.viewer",
    "roles/compute.viewer",
    "roles/dns.reader",
    "roles/iam.securityReviewer",
    "roles/iam.workloadIdentityPoolViewer",
    "roles/logging.viewer",
    "roles/monitoring.viewer",
    "roles/serviceusage.serviceUsageConsumer",
  ])

  project = var.project.id
  role    = each.value
  member  = google_service_account.this["planner"].member
}

resource "google_project_iam_member" "planner_custom" {
  project = var.project.id
  role    = google_project_iam_custom_role.planner.id
  member  = google_service_account.this["planner"].member
}

resource "google_storage_bucket_iam_member" "planner_state" {
  count = var.state_bucket == null ? 0 : 1

  bucket = var.state_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.this["planner"].member
}
