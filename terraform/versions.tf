terraform {
  required_version = ">= 1.11"

  required_providers {
    # One version for laptop, plan and drift; README.md says how to raise it. A lock file is not kept: it would name a registry.
    google = {
      source  = "hashicorp/google"
      version = "= 7.45.0"
    }

    # Built in: decode_tfvars (settings.tf).
    terraform = {
      source = "terraform.io/builtin/terraform"
    }
  }

  # Settled at init: -backend-config=bucket=… -backend-config=prefix=… (docs/deploy.md).
  backend "gcs" {}
}
