locals {
  managed = length(var.certificates) > 0 ? [] : var.domains
}

# Certificates cannot change; one a domain means that a name is added or dropped without a gap for the others.
resource "google_compute_managed_ssl_certificate" "this" {
  for_each = toset(local.managed)

  project = var.project.id
  name    = "${var.name}-${substr(sha256(each.value), 0, 8)}"

  managed {
    domains = [each.value]
  }

  # The proxy lets go of a certificate before it is destroyed.
  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_ssl_policy" "this" {
  project         = var.project.id
  name            = "${var.name}-external"
  min_tls_version = "TLS_1_2"
  profile         = "MODERN"
}
