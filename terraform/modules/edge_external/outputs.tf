output "address" {
  description = "The public address; DNS of every domain points here."
  value       = google_compute_global_address.this.address
}

output "url" {
  description = "The service's address, which is also the audience of service-account-signed JWTs for IAP."
  value       = "https://${var.domains[0]}"
}

output "backend_service" {
  description = "Name of the backend service; rollouts ask it for the VMs' health."
  value       = google_compute_backend_service.this.name
}

output "url_map" {
  description = "Name of the URL map, by which metrics tell this load balancer from others."
  value       = google_compute_url_map.this.name
}

output "iap_audience" {
  description = "Audience of IAP's signed header. It holds an id that exists only once the backend service does, so it reaches the VMs through environment.json."
  value       = "/projects/${var.project.number}/global/backendServices/${google_compute_backend_service.this.generated_id}"
}

output "certificates" {
  description = "Names of the Google-managed certificates; `skfleet doctor` asks whether they are active."
  value       = [for c in google_compute_managed_ssl_certificate.this : c.name]
}
