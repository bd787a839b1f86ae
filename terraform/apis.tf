# Two must be on before the first plan: serviceusage and cloudresourcemanager (docs/deploy.md). They stay on after a destroy:
# turning an API off takes everybody's resources with it.
resource "google_project_service" "this" {
  for_each = toset(concat([
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "iap.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "oslogin.googleapis.com",
    "serviceusage.googleapis.com",
    "storage.googleapis.com",
    ],
    var.artifacts.kms_key == null ? [] : ["cloudkms.googleapis.com"],
    var.delivery == null ? [] : ["sts.googleapis.com"],
    var.observability.budget == null ? [] : ["billingbudgets.googleapis.com", "cloudbilling.googleapis.com"],
  ))

  project            = var.project_id
  service            = each.value
  disable_on_destroy = false

  # All else waits for the APIs, in an apply with -target too: nothing is made from a file with a typo.
  depends_on = [module.settings]
}

data "google_project" "this" {
  project_id = var.project_id
}
