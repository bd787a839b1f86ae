# Baking starts a VM, provisions it over IAP, keeps its disk as an image and deletes it. The VM runs as an account without any
# role: what is baked must not depend on a credential. The permissions reach every VM of the project; bake in a project of
# its own where that matters.
resource "google_service_account_iam_member" "bake_vm_user" {
  service_account_id = var.bake_vm
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.this["builder"].member
}

resource "google_project_iam_custom_role" "builder" {
  project     = var.project.id
  role_id     = "${replace(var.name, "-", "_")}_builder"
  title       = "skfleet builder ${var.name}"
  description = "What Packer's googlecompute builder does."
  permissions = [
    "compute.disks.create",
    "compute.disks.delete",
    "compute.disks.get",
    "compute.disks.setLabels",
    "compute.disks.use",
    "compute.disks.useReadOnly",
    "compute.globalOperations.get",
    "compute.images.create",
    "compute.images.deprecate", # called for every image, whether it is to be deprecated or not
    "compute.images.get",
    "compute.images.getFromFamily",
    "compute.images.list",
    "compute.images.setLabels",
    "compute.images.useReadOnly",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.get",
    "compute.instances.getSerialPortOutput",
    "compute.instances.setLabels",
    "compute.instances.setMetadata",
    "compute.instances.setServiceAccount",
    "compute.instances.start",
    "compute.instances.stop",
    "compute.machineTypes.get",
    "compute.networks.get",
    "compute.projects.get",
    "compute.subnetworks.get",
    "compute.subnetworks.use",
    "compute.zoneOperations.get",
    "compute.zones.get",
  ]
}

resource "google_project_iam_member" "builder" {
  project = var.project.id
  role    = google_project_iam_custom_role.builder.id
  member  = google_service_account.this["builder"].member
}

resource "google_project_iam_member" "builder_tunnel" {
  project = var.project.id
  role    = "roles/iap.tunnelResourceAccessor"
  member  = google_service_account.this["builder"].member

  condition {
    title       = "ssh"
    description = "Port 22 alone."
    expression  = "destination.port == 22"
  }
}

# Packer registers a key with OS Login, and Ansible becomes root on the VM.
resource "google_project_iam_member" "builder_login" {
  project = var.project.id
  role    = "roles/compute.osAdminLogin"
  member  = google_service_account.this["builder"].member
}
