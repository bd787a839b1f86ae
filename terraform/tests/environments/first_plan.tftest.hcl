# The first plan in an empty project: nothing that Google computes is known yet. The other tests fill such values in; here a
# for_each, a count or a validation that leans on one fails as it would against Google.
mock_provider "google" {
  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
}

run "plans_with_nothing_known" {
  command = plan

  assert {
    condition     = length(google_storage_bucket_object.environment) == length(var.regions)
    error_message = "Every fleet's environment must be planned from the start."
  }
}
