locals {
  accessors = merge([
    for region in keys(var.regions) : {
      for k, m in var.iap.members : "${region}-${k}" => { region = region, member = m }
    }
  ]...)
}

resource "google_iap_web_region_backend_service_iam_member" "accessor" {
  for_each = local.accessors

  project                    = var.project.id
  region                     = each.value.region
  web_region_backend_service = google_compute_region_backend_service.this[each.value.region].name
  role                       = "roles/iap.httpsResourceAccessor"
  member                     = each.value.member
}
