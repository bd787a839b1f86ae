resource "google_compute_global_address" "this" {
  project = var.project.id
  name    = "${var.name}-external"
}

resource "google_dns_record_set" "this" {
  for_each = var.dns_zone == null ? [] : toset(var.domains)

  project      = var.project.id
  managed_zone = var.dns_zone
  name         = "${each.value}."
  type         = "A"
  ttl          = 300
  rrdatas      = [google_compute_global_address.this.address]
}
