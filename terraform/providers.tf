# No default_labels: they would enter the instance templates, and a template in use cannot change.
provider "google" {
  project = var.project_id

  # Some APIs (budgets) charge quota to a project; with a person's credentials it must be named.
  user_project_override = true
  billing_project       = var.project_id
}
