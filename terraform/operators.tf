# What a rollout does in the project, beside the bucket (artifacts.tf) and acting as the fleets' accounts (module fleet):
# read and resize the groups, ask the backends' health, ssh through IAP with OS Login. `skfleet doctor` reads the rest.
resource "google_project_iam_custom_role" "deployer" {
  project     = var.project_id
  role_id     = "${replace(var.name, "-", "_")}_deployer"
  title       = "skfleet deployer ${var.name}"
  description = "Roll releases and images out over the managed groups."
  permissions = [
    "compute.autoscalers.get",
    "compute.autoscalers.list",
    "compute.autoscalers.update",
    "compute.backendServices.get",
    "compute.backendServices.list",
    "compute.globalOperations.get",
    "compute.healthChecks.get",
    "compute.images.get",
    "compute.instanceGroupManagers.get",
    "compute.instanceGroupManagers.list",
    "compute.instanceGroupManagers.update",
    "compute.instanceGroupManagers.use",
    "compute.instanceGroups.get",
    "compute.instanceGroups.list",
    "compute.instanceTemplates.get",
    "compute.instanceTemplates.list",
    "compute.instanceTemplates.useReadOnly",
    "compute.instances.get",
    "compute.instances.getGuestAttributes",
    "compute.instances.list",
    "compute.machineTypes.get",
    "compute.projects.get",
    "compute.regionBackendServices.get",
    "compute.regionBackendServices.list",
    "compute.regionHealthChecks.get",
    "compute.regionOperations.get",
    "compute.regionSslCertificates.get",
    "compute.regionTargetHttpsProxies.get",
    "compute.regions.get",
    "compute.routers.get",
    "compute.routers.list",
    "compute.sslCertificates.get",
    "compute.subnetworks.get",
    "compute.targetHttpsProxies.get",
    "compute.zoneOperations.get",
    "compute.zones.get",
    "compute.zones.list",
    "resourcemanager.projects.get",
    "serviceusage.services.list",
  ]

  depends_on = [google_project_service.this]
}

resource "google_project_iam_member" "deployer" {
  for_each = local.deployers

  project = var.project_id
  role    = google_project_iam_custom_role.deployer.id
  member  = each.value
}

resource "google_project_iam_member" "deployer_login" {
  for_each = local.deployers

  project = var.project_id
  role    = "roles/compute.osAdminLogin"
  member  = each.value
}

resource "google_project_iam_member" "deployer_tunnel" {
  for_each = local.deployers

  project = var.project_id
  role    = "roles/iap.tunnelResourceAccessor"
  member  = each.value

  condition {
    title       = "ssh"
    description = "Port 22 alone."
    expression  = "destination.port == 22"
  }
}
