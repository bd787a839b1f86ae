# The identity of a fleet's VMs. It belongs to no fleet: firewall rules name it, so it exists before the first image does.
resource "google_service_account" "fleet" {
  for_each = var.regions

  project = var.project_id
  # Google allows 30 characters; a longer name keeps its beginning and stays unique by a digest.
  account_id = (
    length("${var.name}-${each.key}") <= 30
    ? "${var.name}-${each.key}"
    : "${trimsuffix(substr("${var.name}-${each.key}", 0, 21), "-")}-${substr(sha256("${var.name}-${each.key}"), 0, 8)}"
  )
  display_name = "skfleet fleet ${var.name}-${each.key}"
  description  = "Identity of the fleet's VMs: reads the bucket, writes logs and metrics, nothing else."

  depends_on = [google_project_service.this]

  # When a region goes, the firewall stops naming the account before the account is deleted.
  lifecycle {
    create_before_destroy = true
  }
}

# One fleet a region, each with a desired release of its own.
module "fleet" {
  source   = "./modules/fleet"
  for_each = var.regions

  project_id = var.project_id
  name       = "${var.name}-${each.key}"
  region     = { name = each.key, zones = each.value.zones }
  subnetwork = module.network.subnetworks[each.key]
  bucket     = module.artifacts.bucket
  service_account = {
    email  = google_service_account.fleet[each.key].email
    member = google_service_account.fleet[each.key].member
    name   = google_service_account.fleet[each.key].name
  }
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
