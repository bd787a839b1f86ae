resource "google_iap_web_backend_service_iam_member" "accessor" {
  for_each = var.iap.members

  project             = var.project.id
  web_backend_service = google_compute_backend_service.this.name
  role                = "roles/iap.httpsResourceAccessor"
  member              = each.value
}

# Programs call with a service-account-signed JWT whose audience is the URL; that needs no setting. A client that brings ID
# tokens of an OAuth client instead must be listed here.
resource "google_iap_settings" "this" {
  count = length(var.iap.programmatic_clients) > 0 ? 1 : 0

  name = "projects/${var.project.number}/iap_web/compute/services/${google_compute_backend_service.this.name}"

  access_settings {
    oauth_settings {
      programmatic_clients = var.iap.programmatic_clients
    }
  }
}
