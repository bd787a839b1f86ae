# One fleet a region, each with a desired release of its own.
module "fleet" {
  source   = "./modules/fleet"
  for_each = var.regions

  project_id = var.project_id
  name       = "${var.name}-${each.key}"
  region     = { name = each.key, zones = each.value.zones }
  subnetwork = module.network.subnetworks[each.key]
  bucket     = module.artifacts.bucket
  production = var.environment == "prod"
  labels     = local.labels
  edge       = local.edge

  images        = var.fleet.images
  initial_image = coalesce(each.value.initial_image, var.fleet.initial_image)

  autoscaling = merge(var.fleet.autoscaling, { for k, v in each.value.autoscaling : k => v if v != null })
  update      = var.fleet.update
  standby     = var.fleet.standby
  operators   = local.deployers

  depends_on = [google_project_service.this]
}
