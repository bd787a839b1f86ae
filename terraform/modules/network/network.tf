resource "google_compute_network" "this" {
  #checkov:skip=CKV2_GCP_18:The rules in firewalls.tf are attached to this network; the scanner does not follow the self link.
  project                 = var.project_id
  name                    = var.name
  auto_create_subnetworks = false
  # A client in one region may use the internal load balancer of another (its global access).
  routing_mode = "GLOBAL"
}
