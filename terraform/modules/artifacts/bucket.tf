locals {
  days = 86400 # seconds
}

# The fleet's memory. Nothing in it is deleted while it is live: publishers only create, the few documents that change are
# replaced under a precondition on their generation, and every replaced version stays for a while.
resource "google_storage_bucket" "this" {
  #checkov:skip=CKV_GCP_62:Access is recorded by Cloud Audit Logs (data access for Cloud Storage, module slo), not by usage logs in a further bucket.
  project  = var.project_id
  name     = var.bucket.name
  location = upper(var.bucket.location)
  labels   = var.bucket.labels

  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false
  rpo                         = length(var.bucket.data_locations) == 0 ? null : (var.bucket.turbo ? "ASYNC_TURBO" : "DEFAULT")

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = var.bucket.soft_delete_days * local.days
  }

  # Only versions that something newer has replaced: a live object, which is all that a release or a fleet can name, matches
  # no rule whatever its age.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      with_state                 = "ARCHIVED"
      days_since_noncurrent_time = var.bucket.noncurrent.days
      num_newer_versions         = var.bucket.noncurrent.keep
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  dynamic "custom_placement_config" {
    for_each = length(var.bucket.data_locations) == 0 ? [] : [1]
    content {
      data_locations = [for l in var.bucket.data_locations : upper(l)]
    }
  }

  dynamic "encryption" {
    for_each = var.bucket.kms_key == null ? [] : [1]
    content {
      default_kms_key_name = var.bucket.kms_key
    }
  }

  lifecycle {
    prevent_destroy = true
  }

  # The bucket is refused while Cloud Storage cannot use the key.
  depends_on = [google_kms_crypto_key_iam_member.bucket]
}

data "google_storage_project_service_account" "this" {
  count = var.bucket.kms_key == null ? 0 : 1

  project = var.project_id
}

resource "google_kms_crypto_key_iam_member" "bucket" {
  count = var.bucket.kms_key == null ? 0 : 1

  crypto_key_id = var.bucket.kms_key
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = data.google_storage_project_service_account.this[0].member
}
