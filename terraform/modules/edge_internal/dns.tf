resource "google_dns_managed_zone" "this" {
  #checkov:skip=CKV_GCP_16:DNSSEC exists for public zones; this one is private to the network.
  project     = var.project.id
  name        = "${var.name}-internal"
  dns_name    = "${var.hostname}."
  description = "The internal load balancer's name."
  visibility  = "private"

  private_visibility_config {
    networks {
      network_url = var.network
    }
  }
}

# In several regions a client gets the nearest load balancer that has a healthy VM.
resource "google_dns_record_set" "this" {
  project      = var.project.id
  managed_zone = google_dns_managed_zone.this.name
  name         = google_dns_managed_zone.this.dns_name
  type         = "A"
  ttl          = 30
  rrdatas      = length(var.regions) == 1 ? [for a in google_compute_address.this : a.address] : null

  dynamic "routing_policy" {
    for_each = length(var.regions) == 1 ? [] : [1]
    content {
      dynamic "geo" {
        for_each = var.regions
        content {
          location = geo.key
          health_checked_targets {
            internal_load_balancers {
              load_balancer_type = "regionalL7ilb"
              ip_address         = google_compute_forwarding_rule.this[geo.key].ip_address
              port               = "443"
              ip_protocol        = "tcp"
              network_url        = var.network
              project            = var.project.id
              region             = geo.key
            }
          }
        }
      }
    }
  }
}
