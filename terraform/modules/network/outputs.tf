output "network" {
  description = "The network: id, name and self link."
  value = {
    id        = google_compute_network.this.id
    name      = google_compute_network.this.name
    self_link = google_compute_network.this.self_link
  }
}

output "subnetworks" {
  description = "Region => self link of the subnet for VMs."
  value       = { for region, s in google_compute_subnetwork.this : region => s.self_link }
}

output "proxy_subnetworks" {
  description = "Region => self link of the proxy-only subnet; forwarding rules depend on it."
  value       = { for region, s in google_compute_subnetwork.proxy : region => s.self_link }
}

output "nat_addresses" {
  description = "Addresses under which VMs appear outside; empty for a region whose addresses Google picks."
  value       = { for region in keys(local.nat) : region => [for k, r in local.nat_addresses : google_compute_address.nat[k].address if r == region] }
}
