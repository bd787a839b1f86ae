output "url" {
  description = "The service's address inside the network, which is also the audience of callers' ID tokens."
  value       = "https://${var.hostname}"
}

output "addresses" {
  description = "Region => address of its load balancer."
  value       = { for region, a in google_compute_address.this : region => a.address }
}

output "backend_services" {
  description = "Region => name of the backend service; rollouts ask it for the VMs' health."
  value       = { for region, b in google_compute_region_backend_service.this : region => b.name }
}

output "url_map" {
  description = "Name of the URL map in every region, by which metrics tell this load balancer from others."
  value       = "${var.name}-internal"
}

# Google documents the audience of global backend services alone, and its own examples of regional ones differ in `region/`. Both
# name the same backend service, so a VM takes either.
output "iap_audiences" {
  description = "Region => audiences that IAP's signed header may bear, in both forms seen; empty without IAP."
  value = {
    for region, b in google_compute_region_backend_service.this : region => [
      for place in ["region/${region}", region] : "/projects/${var.project.number}/${place}/backendServices/${b.generated_id}"
    ] if var.iap.enabled
  }
}
