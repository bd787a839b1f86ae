output "provider" {
  description = "Full name of the workload identity provider; the workflows' variable GCP_WORKLOAD_IDENTITY_PROVIDER."
  value       = google_iam_workload_identity_pool_provider.this.name
}

output "service_accounts" {
  description = "Role => service account, as e-mail address and IAM member; the workflows' variables GCP_<ROLE>."
  value       = { for role, sa in google_service_account.this : role => { email = sa.email, member = sa.member } }
}
