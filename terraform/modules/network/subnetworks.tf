resource "google_compute_subnetwork" "this" {
  #checkov:skip=CKV_GCP_76:The network has no IPv6 at all; there is nothing for private IPv6 access to cover.
  for_each = var.regions

  project                  = var.project_id
  name                     = "${var.name}-${each.key}"
  network                  = google_compute_network.this.id
  region                   = each.key
  ip_cidr_range            = each.value.range
  private_ip_google_access = true

  log_config {
    aggregation_interval = var.flow_logs.interval
    flow_sampling        = var.flow_logs.sampling
    metadata             = "INCLUDE_ALL_METADATA"
  }
}

# Where Google puts the proxies of the internal load balancer. It must outlive the forwarding rules that use it: whoever
# makes one depends on this subnet (see edge_internal).
resource "google_compute_subnetwork" "proxy" {
  #checkov:skip=CKV_GCP_26:Google refuses flow logs on a proxy-only subnet.
  #checkov:skip=CKV_GCP_74:Private Google access cannot be set on a proxy-only subnet.
  #checkov:skip=CKV_GCP_76:Private IPv6 Google access cannot be set on a proxy-only subnet.
  for_each = var.regions

  project       = var.project_id
  name          = "${var.name}-${each.key}-proxy"
  network       = google_compute_network.this.id
  region        = each.key
  ip_cidr_range = each.value.proxy_range
  purpose       = "REGIONAL_MANAGED_PROXY"
  role          = "ACTIVE"
}
