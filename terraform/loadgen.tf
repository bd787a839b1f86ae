locals {
  loadgen = merge(var.loadgen, { region = coalesce(var.loadgen.region, sort(keys(local.serving))[0]) })
}

module "loadgen" {
  source = "./modules/loadgen"

  project_id = var.project_id
  name       = var.name

  network = {
    id         = module.network.network.id
    subnetwork = module.network.subnetworks[local.loadgen.region]
    zone       = var.regions[local.loadgen.region].zones[0]
  }

  generators = {
    count        = var.loadgen.count
    machine_type = var.loadgen.machine_type
    image        = var.loadgen.image
    disk_gb      = var.loadgen.disk_gb
    max_hours    = var.loadgen.max_hours
    labels       = local.labels
  }

  operators = local.deployers

  depends_on = [google_project_service.this]
}
