# The identity of a VM while an image is baked on it: it has no roles, for what is baked must not depend on a credential. The
# firewall lets ssh through to it, as to the fleet.
resource "google_service_account" "bake_vm" {
  project      = var.project_id
  account_id   = "${var.name}-bake-vm"
  display_name = "skfleet VM while it is baked ${var.name}"
  description  = "Has no roles."

  depends_on = [google_project_service.this]
}
