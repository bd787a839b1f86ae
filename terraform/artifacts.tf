module "artifacts" {
  source = "./modules/artifacts"

  project_id = var.project_id
  bucket     = merge(var.artifacts, { name = coalesce(var.artifacts.name, "${var.project_id}-${var.name}"), labels = local.labels })

  # The fleets' own accounts are granted by module fleet, which must order that before its VMs.
  members = {
    readers    = local.workload.planner
    publishers = merge(var.members.publishers, local.workload.publisher)
    deployers  = local.deployers
    terraform  = var.members.terraform
  }

  depends_on = [google_project_service.this]
}
