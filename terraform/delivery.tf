module "delivery" {
  source = "./modules/delivery"
  count  = var.delivery == null ? 0 : 1

  project      = local.project
  name         = var.name
  bake_vm      = google_service_account.bake_vm.name
  environments = var.delivery.environments
  state_bucket = var.delivery.state_bucket
  github = {
    repository    = var.delivery.repository
    repository_id = var.delivery.repository_id
    owner_id      = var.delivery.owner_id
  }

  depends_on = [google_project_service.this]
}
