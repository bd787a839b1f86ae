# Who read and wrote what: rollout metrics live on the writes, and IAP's entries say who passed.
resource "google_project_iam_audit_config" "this" {
  for_each = var.project_wide.enabled ? {
    "storage.googleapis.com" = var.project_wide.audit_reads ? ["DATA_READ", "DATA_WRITE"] : ["DATA_WRITE"]
    "iap.googleapis.com"     = ["DATA_READ", "DATA_WRITE"]
  } : {}

  project = var.project_id
  service = each.key

  dynamic "audit_log_config" {
    for_each = each.value
    content {
      log_type = audit_log_config.value
    }
  }
}

# Requests, flows and audit entries all lie in _Default; how long is a question of cost. Destroying this leaves the bucket as
# it is: Google's own buckets cannot be deleted.
resource "google_logging_project_bucket_config" "default" {
  count = var.project_wide.enabled ? 1 : 0

  project        = var.project_id
  location       = "global"
  bucket_id      = "_Default"
  retention_days = var.project_wide.log_retention_days
}
